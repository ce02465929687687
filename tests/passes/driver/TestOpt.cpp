//===- TestOpt.cpp - `moec opt` with passes that only tests need ----------===//
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "passes/Passes.h"
#include "passes/driver/Pipeline.h"
#include "tools/driver/OptDriver.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moec;
namespace cl = llvm::cl;

namespace {
/// Ends the process by a signal.
struct Crash final : Pass {
  llvm::Error run(Module &, PassContext &) override { __builtin_trap(); }
};

struct FailOptions final : AttrsOf<FailOptions> {
  std::string message = "this pass always fails";
  template <typename V> void fields(V &v) { v.field("message", message); }
};
struct Fail final : PassWith<FailOptions> {
  llvm::Error run(Module &module, PassContext &) override {
    // Half of the work is done when it fails.
    module.setName("half_done");
    return error() << options().message;
  }
};

/// Makes the first op read its own result.
struct Invalidate final : Pass {
  llvm::Error run(Module &module, PassContext &) override {
    Operation &op = module.programs().front()->body().ops().front();
    op.setOperand(0, op.result());
    return llvm::Error::success();
  }
};

struct OptionsOfAllKinds final : AttrsOf<OptionsOfAllKinds> {
  int64_t integer = 1;
  double real = 0.5;
  bool flag = false;
  std::string text;
  ElementType element = ElementType::f32;
  std::vector<int64_t> integers;
  std::vector<double> reals;
  StateKind kind = StateKind::kv;
  template <typename V> void fields(V &v) {
    v.field("integer", integer);
    v.field("real", real);
    v.field("flag", flag);
    v.field("text", text);
    v.field("element", element);
    v.field("integers", integers);
    v.field("reals", reals);
    v.field("kind", kind);
  }
};
/// Remarks on every op and counts it.
struct Remarker final : PassWith<OptionsOfAllKinds> {
  llvm::Error run(Module &module, PassContext &context) override {
    for (const auto &program : module.programs())
      for (const Operation &op : program->body().ops()) {
        context.count("ops");
        context.remark(op, "is left alone, options are '" +
                               llvm::Twine(options().str()) + "'");
      }
    return llvm::Error::success();
  }
};

template <typename T> std::unique_ptr<Pass> make() {
  return std::make_unique<T>();
}

constexpr PassInfo kPasses[] = {
    {"cse", "one op for several that are equal", createCse},
    {"dce", "removes what nobody reads", createDce},
    {"simplify", "canonical forms", createSimplify},
    {"test-crash", "crashes", make<Crash>},
    {"test-fail", "fails", make<Fail>},
    {"test-invalidate", "leaves an invalid module", make<Invalidate>},
    {"test-remark", "remarks on every op", make<Remarker>},
};

struct Flags {
  cl::opt<std::string> input{cl::Positional, cl::init("-")};
  cl::opt<std::string> passes{"passes"};
  cl::opt<std::string> output{"o", cl::init("-")};
  cl::opt<bool> binary{"binary"};
  cl::opt<bool> split{"split-input-file"};
  cl::opt<bool> verifyDiagnostics{"verify-diagnostics"};
  cl::opt<bool> verifyEach{"verify-each", cl::init(true)};
  cl::opt<bool> replay{"replay"};
  cl::opt<std::string> reproducer{"reproducer"};
  cl::list<std::string> printBefore{"print-ir-before", cl::CommaSeparated};
  cl::list<std::string> printAfter{"print-ir-after", cl::CommaSeparated};
  cl::opt<bool> printAfterFailure{"print-ir-after-failure"};
  cl::opt<std::string> treeFolder{"print-ir-tree-dir"};
  cl::opt<bool> timing{"pass-timing"};
  cl::opt<bool> statistics{"pass-statistics"};
  cl::opt<bool> elide{"elide"};
  cl::opt<bool> hideLocations{"hide-locations"};
  cl::opt<std::string> remarks{"remarks"};

  OptOptions toOptions() const;
};
} // namespace

OptOptions Flags::toOptions() const {
  OptOptions options;
  options.passes = passes;
  options.splitInputFile = split;
  options.verifyDiagnostics = verifyDiagnostics;
  options.output = binary ? ModuleForm::binary : ModuleForm::text;
  options.remarks = remarks == "text"   ? RemarkForm::text
                    : remarks == "json" ? RemarkForm::json
                                        : RemarkForm::none;
  InstrumentationOptions &watch = options.instrumentation;
  for (const std::string &name : printBefore)
    if (name == "all")
      watch.printBeforeAll = true;
    else
      watch.printBefore.push_back(name);
  for (const std::string &name : printAfter)
    if (name == "all")
      watch.printAfterAll = true;
    else if (name == "change")
      watch.printAfterChange = true;
    else
      watch.printAfter.push_back(name);
  watch.printAfterFailure = printAfterFailure;
  watch.treeFolder = treeFolder;
  watch.timing = timing;
  watch.statistics = statistics;
  watch.verifyEach = verifyEach;
  watch.reproducer = reproducer;
  if (verifyEach)
    watch.flags.push_back("--verify-each");
  watch.print.elideAssets = elide;
  watch.print.maxListElements = elide ? 2 : 0;
  watch.print.locations = !hideLocations;
  return options;
}

int main(int argc, char **argv) {
  Flags flags;
  cl::ParseCommandLineOptions(argc, argv, "moec opt for tests\n");
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(flags.input);
  if (!buffer) {
    llvm::errs() << "cannot read " << flags.input << "\n";
    return 1;
  }
  std::error_code code;
  llvm::raw_fd_ostream out(flags.output, code);
  if (code) {
    llvm::errs() << "cannot write " << flags.output << "\n";
    return 1;
  }
  llvm::StringRef bytes = (*buffer)->getBuffer();
  std::string file = flags.input == "-" ? "<stdin>" : flags.input.getValue();
  PassRegistry registry(kPasses);
  OptOptions options = flags.toOptions();
  llvm::Error err =
      flags.replay
          ? replayOpt(bytes, file, registry, options, out, llvm::errs())
          : runOpt(bytes, file, registry, options, out, llvm::errs());
  if (!err)
    return 0;
  llvm::errs() << toText(std::move(err)) << "\n";
  return 1;
}
