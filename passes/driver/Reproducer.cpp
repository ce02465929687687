#include "passes/driver/Reproducer.h"

#include "ir/core/Attribute.h"
#include "ir/text/AttrText.h"

#include <atomic>
#include <cassert>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

using namespace moec;

static constexpr llvm::StringLiteral kFirstLine = "// moec reproducer 1";

std::string Reproducer::text() const {
  std::string result = kFirstLine.str() + "\n";
  result += "// pipeline: " + quote(pipeline) + "\n";
  for (const std::string &flag : flags)
    result += "// flag: " + quote(flag) + "\n";
  return result + ir;
}

/// The string of `// key: "string"`; columns count from the start of the line.
static llvm::Expected<std::string> stringOf(llvm::StringRef line,
                                            size_t keyBytes, unsigned number,
                                            llvm::StringRef file) {
  std::string blanked = std::string(number - 1, '\n') +
                        std::string(keyBytes, ' ') +
                        line.drop_front(keyBytes).str();
  TokenStream tokens(blanked, file);
  MOEC_ASSIGN(Token token, tokens.expect(TokenKind::string, "a string"));
  if (!tokens.peek().is(TokenKind::end))
    return tokens.unexpected("the end of the line");
  return token.name();
}

llvm::Expected<Reproducer> Reproducer::parse(llvm::StringRef text,
                                             llvm::StringRef file) {
  Reproducer result;
  result.ir = text.str();
  bool hasPipeline = false;
  auto [first, rest] = text.split('\n');
  if (first.rtrim() != kFirstLine)
    return error(Location::atLine(file.str(), 1, 1))
           << "expected a reproducer, whose first line is '" << kFirstLine
           << "'";
  for (unsigned number = 2; rest.starts_with("// "); ++number) {
    llvm::StringRef line;
    std::tie(line, rest) = rest.split('\n');
    llvm::StringRef pipelineKey = "// pipeline: ", flagKey = "// flag: ";
    if (line.starts_with(pipelineKey)) {
      MOEC_ASSIGN(result.pipeline,
                  stringOf(line, pipelineKey.size(), number, file));
      hasPipeline = true;
    } else if (line.starts_with(flagKey)) {
      MOEC_ASSIGN(std::string flag,
                  stringOf(line, flagKey.size(), number, file));
      result.flags.push_back(std::move(flag));
    }
  }
  if (!hasPipeline)
    return error(Location::atLine(file.str(), 2, 1))
           << "expected a line '// pipeline: \"...\"'";
  return result;
}

//===----------------------------------------------------------------------===//
// Crashes
//===----------------------------------------------------------------------===//

namespace {
/// What the handler writes; plain pointers, since it may not allocate.
struct CrashRecord {
  const char *path, *temporary, *text;
  size_t textBytes;
};
} // namespace

static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
static std::atomic<const CrashRecord *> activeRecord = nullptr;
static struct sigaction previousActions[std::size(kSignals)];
/// A stack overflow needs another stack to run the handler on.
static char handlerStack[64 * 1024];
static stack_t previousStack;

static bool writeAll(int descriptor, const char *bytes, size_t count) {
  while (count) {
    ssize_t written = ::write(descriptor, bytes, count);
    if (written <= 0)
      return false;
    bytes += written;
    count -= written;
  }
  return true;
}

static void restoreActions() {
  for (size_t i = 0; i < std::size(kSignals); ++i)
    ::sigaction(kSignals[i], &previousActions[i], nullptr);
}

/// Calls nothing but async-signal-safe functions.
static void writeOnCrash(int signal) {
  restoreActions();
  if (const CrashRecord *record = activeRecord.exchange(nullptr)) {
    int file = ::open(record->temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool whole = file >= 0 && writeAll(file, record->text, record->textBytes);
    if (file >= 0)
      ::close(file);
    if (whole && ::rename(record->temporary, record->path) == 0) {
      const char before[] = "moec: crashed; a reproducer is in ";
      writeAll(2, before, sizeof(before) - 1);
      writeAll(2, record->path, __builtin_strlen(record->path));
      writeAll(2, "\n", 1);
    } else if (file >= 0) {
      ::unlink(record->temporary); // Half of it helps nobody.
    }
  }
  ::raise(signal);
}

CrashWriter::CrashWriter(std::string target)
    : path(std::move(target)), temporary(path + ".tmp") {
  stack_t stack = {};
  stack.ss_sp = handlerStack;
  stack.ss_size = sizeof(handlerStack);
  ::sigaltstack(&stack, &previousStack);
  struct sigaction action = {};
  action.sa_handler = writeOnCrash;
  // The signal is raised again from the handler.
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < std::size(kSignals); ++i)
    ::sigaction(kSignals[i], &action, &previousActions[i]);
}

CrashWriter::~CrashWriter() {
  restoreActions();
  ::sigaltstack(&previousStack, nullptr);
  delete activeRecord.exchange(nullptr);
}

void CrashWriter::setText(std::string newText) {
  // A crash in between writes nothing, rather than half of each.
  delete activeRecord.exchange(nullptr);
  text = std::move(newText);
  activeRecord = new CrashRecord{path.c_str(), temporary.c_str(), text.data(),
                                 text.size()};
}
