//===- main.cpp - the table of commands, errors and exit codes ------------===//
//
// Exit codes: 0 done, 1 diagnosed error, 2 usage, 130 interrupted, 141 the
// reader of standard output went away.
//
//===----------------------------------------------------------------------===//

#include "ir/support/Escape.h"
#include "ir/support/FileFaults.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Memory.h"
#include "tools/moec/Help.h"
#include "tools/recipes/Yaml.h"
#include "llvm/ADT/STLExtras.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

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

static constexpr int kUsage = 2, kReaderGone = 141;

static int failUsage(llvm::StringRef command, llvm::StringRef problem) {
  llvm::errs() << "moec " << command << ": error: " << escapeControls(problem)
               << "\nsee 'moec " << command << " --help'\n";
  return kUsage;
}

static int finish(llvm::StringRef command, llvm::Error err) {
  if (!err)
    return 0;
  // What was told before the error stands before it.
  llvm::outs().flush();
  if (isInterrupted(err)) {
    llvm::consumeError(std::move(err)); // The user knows.
    endInterrupted();
  }
  if (err.isA<UsageError>())
    return failUsage(command, toText(std::move(err)));
  // A Diagnostic says `place: error: message` itself; of what lies in no file
  // the command is the place.
  std::string text = toText(std::move(err));
  if (llvm::StringRef(text).starts_with("error: "))
    text = ("moec " + command + ": " + text).str();
  llvm::errs() << text << "\n";
  return 1;
}

/// What was printed reaches the reader, or the answer is not whole. A reader
/// that has seen enough, such as `head`, is told nothing.
static int flushOutput(int code) {
  llvm::outs().flush();
  if (!llvm::outs().has_error())
    return code;
  std::error_code problem = llvm::outs().error();
  llvm::outs().clear_error();
  if (problem == std::errc::broken_pipe)
    return kReaderGone;
  llvm::errs() << "moec: error: cannot write to standard output: "
               << problem.message() << "\n";
  return 1;
}

static const Command *findCommand(llvm::StringRef name) {
  const Command *found =
      llvm::find_if(allCommands(), [&](const Command &command) {
        return command.flags->getName() == name;
      });
  return found == allCommands().end() ? nullptr : found;
}

static int failUnknown(llvm::StringRef name) {
  std::vector<llvm::StringRef> names;
  for (const Command &command : allCommands())
    names.push_back(command.flags->getName());
  llvm::errs() << "moec: error: unknown command '" << escapeControls(name)
               << "'";
  if (auto near = nearest(name, names))
    llvm::errs() << "; did you mean '" << *near << "'?";
  llvm::errs() << "\n'moec --help' lists the commands\n";
  return kUsage;
}

/// `moec --help`, `moec help COMMAND`.
static int help(llvm::ArrayRef<std::string> names) {
  if (names.empty()) {
    printOverview(llvm::outs());
    return flushOutput(0);
  }
  const Command *command = findCommand(names.front());
  if (!command)
    return failUnknown(names.front());
  printHelp(*command, llvm::outs());
  return flushOutput(0);
}

/// LLVM tells some problems to a stream of ours and others to standard error,
/// which is a file in memory meanwhile.
static bool parseFlags(int argc, char **argv, std::string &said) {
  int saved = dup(STDERR_FILENO);
  int memory = memfd_create("problems", MFD_CLOEXEC);
  bool caught = saved >= 0 && memory >= 0 && dup2(memory, STDERR_FILENO) >= 0;
  llvm::raw_string_ostream os(said);
  bool good = llvm::cl::ParseCommandLineOptions(argc, argv, "", &os);
  if (caught) {
    dup2(saved, STDERR_FILENO);
    char part[512];
    lseek(memory, 0, SEEK_SET);
    for (ssize_t got; (got = read(memory, part, sizeof(part))) > 0;)
      os << llvm::StringRef(part, got);
  }
  for (int descriptor : {saved, memory})
    if (descriptor >= 0)
      close(descriptor);
  return good;
}

/// https://no-color.org
static void obeyNoColor() {
  const char *value = std::getenv("NO_COLOR");
  if (!value || !*value)
    return;
  llvm::outs().enable_colors(false);
  llvm::errs().enable_colors(false);
}

/// A stream that is closed stays so: else the next file that is opened would
/// take its number, and what is printed would go into it.
static void keepStandardStreams() {
  // Those of input and output in the wrong direction, so that their use fails.
  constexpr std::pair<int, int> kStreams[] = {{STDIN_FILENO, O_WRONLY},
                                              {STDOUT_FILENO, O_RDONLY},
                                              {STDERR_FILENO, O_WRONLY}};
  for (auto [stream, mode] : kStreams)
    if (fcntl(stream, F_GETFD) < 0)
      // The lowest free number is this one.
      (void)open("/dev/null", mode);
}

static int runMain(int argc, char **argv) {
  arguments.assign(argv, argv + argc);
  obeyNoColor();
  // A reader that went away is an error of ours to report, not a signal.
  signal(SIGPIPE, SIG_IGN);
  llvm::StringRef first = argc > 1 ? argv[1] : "";
  if (first.empty()) {
    printOverview(llvm::errs());
    return kUsage;
  }
  if (first == "--version" || first == "version") {
    llvm::outs() << "moec " MOEC_VERSION "\n";
    return flushOutput(0);
  }
  auto rest = llvm::ArrayRef(arguments).drop_front(2);
  if (first == "--help" || first == "-h" || first == "help")
    return help(rest);
  const Command *chosen = findCommand(first);
  if (!chosen)
    return failUnknown(first);
  if (wantsHelp(*chosen, rest))
    return help(llvm::ArrayRef(arguments).slice(1, 1));
  llvm::cl::SetVersionPrinter(
      [](llvm::raw_ostream &os) { os << "moec " MOEC_VERSION "\n"; });
  std::string said;
  if (!parseFlags(argc, argv, said))
    return failUsage(first, usageProblem(*chosen, said));
  if (std::string problem = emptyValue(*chosen, rest); !problem.empty())
    return failUsage(first, problem);
  installInterruptHandler();
  llvm::Error err = chosen->run();
  // What is done is done, however late the signal came.
  if (!err)
    setInterruptRequested(false);
  return flushOutput(finish(first, std::move(err)));
}

int main(int argc, char **argv) {
  installMemoryHandler();
  installFileFaultHandler();
  keepStandardStreams();
  int code = runMain(argc, argv);
  // Where standard error cannot be written, nobody can be told.
  llvm::errs().clear_error();
  return code;
}
