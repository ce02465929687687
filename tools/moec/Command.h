//===- Command.h - a subcommand, and what all share -----------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "passes/driver/Instrumentation.h"
#include "tools/driver/AnyModel.h"
#include "tools/driver/Table.h"
#include "tools/moec/NumberFlags.h"
#include "tools/moec/Outputs.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/JSON.h"

#include <mutex>

namespace moec {

struct Command {
  llvm::cl::SubCommand *flags;
  llvm::Error (*run)();
};

#define COMMAND(Name) extern const Command k##Name##Command;
#include "tools/moec/Commands.def"

/// The commands, in the order that help shows them.
llvm::ArrayRef<Command> allCommands();
/// `argv` as the user gave it, for receipts and reproducers.
llvm::ArrayRef<std::string> commandLine();

/// Flags that do not go together: exit code 2.
class UsageError final : public llvm::ErrorInfo<UsageError> {
public:
  static char ID;
  explicit UsageError(std::string message) : message(std::move(message)) {}
  void log(llvm::raw_ostream &os) const override { os << message; }
  std::error_code convertToErrorCode() const override {
    return llvm::inconvertibleErrorCode();
  }

private:
  std::string message;
};

/// Options that several commands have are made per command, never at top level.
struct ModelFlags {
  explicit ModelFlags(llvm::cl::SubCommand &command);
  llvm::cl::opt<std::string> path;
  llvm::cl::opt<std::string> tokenizer;
  llvm::cl::opt<bool> longContext;
  /// Opens the model and prints its warnings; first of all, checks what is to
  /// be written.
  llvm::Expected<AnyModel> open(const Outputs &outputs = {}) const;
};

struct RunFlags {
  explicit RunFlags(llvm::cl::SubCommand &command);
  llvm::cl::opt<std::string> dtype;
  llvm::cl::opt<std::string> variant;
  NumberFlag<uint32_t> threads;
  llvm::cl::opt<bool> verify;
  /// A model with its weights loaded, ready to run.
  llvm::Expected<std::shared_ptr<const runtime::Model>>
  load(AnyModel model) const;
};

struct PassFlags {
  explicit PassFlags(llvm::cl::SubCommand &command);
  llvm::cl::list<std::string> printBefore, printAfter;
  llvm::cl::opt<bool> printBeforeAll, printAfterAll, printAfterChange,
      printAfterFailure;
  llvm::cl::opt<std::string> treeFolder;
  llvm::cl::opt<bool> timing, statistics, verifyEach;
  llvm::cl::opt<std::string> reproducer;
  InstrumentationOptions options() const;
  /// Fails where a flag names a pass that there is not.
  llvm::Error check() const;
};

llvm::Expected<Precision> parsePrecision(llvm::StringRef name);
/// `--format is 'x', expects text or json`: exit code 2.
llvm::Error wrongFlag(const llvm::cl::Option &flag, llvm::StringRef value,
                      const llvm::Twine &expected);

/// A JSON value as answers have it, with a newline.
std::string jsonAnswer(const llvm::json::Value &value);
/// Writes that to standard output.
void printJson(const llvm::json::Value &value);
/// `warning: ...` on standard error.
void warn(const llvm::Twine &message);
/// What passes say of every layer, told once.
void warnOf(llvm::ArrayRef<Remark> remarks);

/// Columns of the terminal that a descriptor is; `fallback` where it is none.
unsigned terminalColumns(int descriptor, unsigned fallback);

/// One line that is rewritten while work goes on; silent where standard error
/// is no terminal, or one that cannot rewrite a line. Several threads may
/// update it.
class Progress {
public:
  explicit Progress(std::string what);
  ~Progress();
  void update(uint64_t done, uint64_t total);

private:
  std::string what;
  bool wanted;
  std::mutex mutex;
  bool shown = false;
  double last = 0;
  uint64_t farthest = 0, lastTotal = 0;
};

/// Peak anonymous and resident memory of this process, in bytes.
struct PeakMemory {
  uint64_t anonymous = 0;
  uint64_t resident = 0;
};
/// Samples RssAnon while it lives.
class MemoryWatch {
public:
  MemoryWatch();
  ~MemoryWatch();
  PeakMemory peak() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace moec
