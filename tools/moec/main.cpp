//===- main.cpp - the table of commands, errors and exit codes ------------===//
//
// Exit codes: 0 done, 1 diagnosed error, 2 usage, 130 interrupted.
//
//===----------------------------------------------------------------------===//

#include "ir/support/Interrupt.h"
#include "tools/moec/Command.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/WithColor.h"

#include <csignal>

using namespace moec;

static std::vector<std::string> arguments;

llvm::ArrayRef<Command> moec::allCommands() {
  static const Command list[] = {
#define COMMAND(Name) k##Name##Command,
#include "tools/moec/Commands.def"
  };
  return list;
}

llvm::ArrayRef<std::string> moec::commandLine() { return arguments; }

static void printOverview(llvm::raw_ostream &os) {
  os << "moec " MOEC_VERSION ": compiles mixture-of-experts language models\n\n"
        "usage: moec COMMAND [options]\n"
        "       moec COMMAND --help\n\n";
  for (const Command &command : allCommands()) {
    std::string name = command.flags->getName().str();
    os << "  " << name << std::string(12 - name.size(), ' ')
       << command.flags->getDescription() << "\n";
  }
  os << "\nMODEL is anything that holds a model: a Hugging Face directory, a\n"
        "GGUF file, a llama2.c checkpoint (with --tokenizer), a .moe, a "
        ".moep.\n"
        "\nA first session:\n"
        "  moec generate MODEL --prompt 'Once upon a time'\n"
        "  moec upcycle MODEL -o model.moe --experts 8 --top-k 2\n"
        "  moec compile model.moe -o model.moep\n"
        "  moec generate model.moep --prompt 'Once upon a time'\n";
}

char UsageError::ID = 0;

static int finish(llvm::StringRef command, llvm::Error err) {
  if (!err)
    return 0;
  if (isInterrupted(err)) {
    llvm::consumeError(std::move(err)); // The user knows.
    llvm::errs() << "interrupted\n";
    return 130;
  }
  if (err.isA<UsageError>()) {
    llvm::errs() << "moec " << command << ": " << toText(std::move(err))
                 << "\nsee 'moec " << command << " --help'\n";
    return 2;
  }
  // A Diagnostic says `place: error: message` itself.
  llvm::errs() << toText(std::move(err)) << "\n";
  return 1;
}

/// What was printed reaches the reader, or the answer is not whole.
static int flushOutput(int code) {
  llvm::outs().flush();
  if (!llvm::outs().has_error())
    return code;
  std::error_code problem = llvm::outs().error();
  llvm::outs().clear_error();
  llvm::errs() << "moec: error: cannot write to standard output: "
               << problem.message() << "\n";
  return 1;
}

int main(int argc, char **argv) {
  arguments.assign(argv, argv + argc);
  // A reader that went away is an error of ours to report, not a signal.
  signal(SIGPIPE, SIG_IGN);
  llvm::StringRef first = argc > 1 ? argv[1] : "";
  if (first == "--version") {
    llvm::outs() << "moec " MOEC_VERSION "\n";
    return flushOutput(0);
  }
  if (first.empty() || first == "--help" || first == "-h" || first == "help") {
    printOverview(first.empty() ? llvm::errs() : llvm::outs());
    return flushOutput(first.empty() ? 2 : 0);
  }
  const Command *chosen =
      llvm::find_if(allCommands(), [&](const Command &command) {
        return command.flags->getName() == first;
      });
  if (chosen == allCommands().end()) {
    llvm::errs() << "moec: error: unknown command '" << first
                 << "'; 'moec --help' lists them\n";
    return 2;
  }
  std::string problems;
  llvm::raw_string_ostream os(problems);
  if (!llvm::cl::ParseCommandLineOptions(argc, argv, "", &os)) {
    llvm::errs() << problems << "see 'moec " << first << " --help'\n";
    return 2;
  }
  installInterruptHandler();
  return flushOutput(finish(first, chosen->run()));
}
