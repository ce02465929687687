#include "passes/driver/PassManager.h"

#include "ir/core/Module.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "ir/verify/Verifier.h"
#include "passes/driver/Reproducer.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"

#include <chrono>
#include <map>

using namespace moec;

PassManager::PassManager(InstrumentationOptions options)
    : options(std::move(options)), log(&llvm::errs()) {}

void PassManager::add(std::unique_ptr<Pass> pass) {
  assert(!pass->name().empty() && "the registry names passes");
  pipeline.push_back(std::move(pass));
}

void PassManager::add(Pipeline more) {
  for (std::unique_ptr<Pass> &pass : more)
    add(std::move(pass));
}

namespace {
using Clock = std::chrono::steady_clock;

/// One run of a pipeline over one module.
class Run final : public PassContext {
public:
  Run(Module &module, llvm::ArrayRef<std::unique_ptr<Pass>> pipeline,
      const InstrumentationOptions &options, llvm::raw_ostream &log,
      std::vector<Remark> &remarks)
      : module(module), pipeline(pipeline), options(options), log(log),
        remarks(remarks) {}

  llvm::Error runAll();
  void report() const;

  void count(llvm::StringRef statistic, uint64_t by) override {
    statistics[{current, statistic.str()}] += by;
  }
  void remark(const Operation &op, const llvm::Twine &reason) override {
    remarks.push_back({pipeline[current]->name(), op.mnemonic().str(), op.loc(),
                       reason.str()});
  }

private:
  llvm::Error runPass(Pass &pass);
  Reproducer makeReproducer() const;
  llvm::Error writeReproducer(llvm::Error err);
  llvm::Error writeTree(llvm::StringRef name);
  void printIr(llvm::StringRef when, llvm::StringRef pass) {
    log << "// ----- IR " << when << " '" << pass << "' -----\n";
    PrintOptions print = options.print;
    print.elideAssets |= options.printElided;
    printModule(module, log, print);
  }
  bool wants(const std::vector<std::string> &names, bool all) const {
    return all || llvm::is_contained(names, pipeline[current]->name());
  }
  bool keepsText() const {
    return options.printAfterChange || !options.reproducer.empty();
  }

  Module &module;
  llvm::ArrayRef<std::unique_ptr<Pass>> pipeline;
  const InstrumentationOptions &options;
  llvm::raw_ostream &log;
  std::vector<Remark> &remarks;
  unsigned current = 0;
  /// The module before the current pass, where somebody needs it.
  std::string textBefore;
  std::unique_ptr<CrashWriter> crashWriter;
  /// By position of the pass, then by name.
  std::map<std::pair<unsigned, std::string>, uint64_t> statistics;
  std::vector<double> passSeconds;
  double verifySeconds = 0;
};
} // namespace

static double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The module before the current pass, and the passes from there on.
Reproducer Run::makeReproducer() const {
  Reproducer reproducer;
  reproducer.pipeline = pipelineText(pipeline.drop_front(current));
  reproducer.flags = options.flags;
  reproducer.ir = textBefore;
  return reproducer;
}

/// Keeps the module before the pass that failed, and adds where it is.
llvm::Error Run::writeReproducer(llvm::Error err) {
  if (isInterrupted(err))
    return err;
  if (llvm::Error failed =
          writeFileAtomically(options.reproducer, makeReproducer().text())) {
    llvm::handleAllErrors(std::move(failed), [&](const Diagnostic &reason) {
      err = withNote(std::move(err), reason.loc,
                     "there is no reproducer: " + reason.message);
    });
    return err;
  }
  return withNote(std::move(err), Location::inFile(options.reproducer),
                  "a reproducer is here");
}

llvm::Error Run::writeTree(llvm::StringRef name) {
  if (options.treeFolder.empty())
    return llvm::Error::success();
  if (std::error_code code =
          llvm::sys::fs::create_directories(options.treeFolder))
    return error(Location::inFile(options.treeFolder))
           << "cannot create the folder: " << code.message();
  unsigned number = name == "input" ? 0 : options.treeStart + current + 1;
  llvm::SmallString<128> path(options.treeFolder);
  llvm::sys::path::append(path, (number < 10 ? "0" : "") +
                                    std::to_string(number) + "-" + name.str() +
                                    ".moe");
  return writeFileAtomically(path, printModule(module, options.print));
}

llvm::Error Run::runPass(Pass &pass) {
  if (keepsText())
    textBefore = printModule(module);
  if (crashWriter)
    crashWriter->setText(makeReproducer().text());
  if (wants(options.printBefore, options.printBeforeAll))
    printIr("before", pass.name());

  Clock::time_point start = Clock::now();
  llvm::Error err = pass.run(module, *this);
  passSeconds.push_back(secondsSince(start));
  if (!err && options.verifyEach) {
    start = Clock::now();
    err = verify(module);
    verifySeconds += secondsSince(start);
    if (err)
      err = withNote(std::move(err), {},
                     "pass '" + pass.name() + "' left an invalid module");
  } else if (err) {
    err = withNote(std::move(err), {}, "in pass '" + pass.name() + "'");
  }
  if (err) {
    if (options.printAfterFailure)
      printIr("after failed", pass.name());
    return err;
  }
  bool named = wants(options.printAfter, options.printAfterAll);
  if (named || (options.printAfterChange && textBefore != printModule(module)))
    printIr("after", pass.name());
  return writeTree(pass.name());
}

llvm::Error Run::runAll() {
  if (llvm::Error err = verify(module))
    return withNote(std::move(err), {}, "before the first pass");
  if (!options.treeStart)
    MOEC_TRY(writeTree("input"));
  if (!options.reproducer.empty())
    crashWriter = std::make_unique<CrashWriter>(options.reproducer);
  for (current = 0; current < pipeline.size(); ++current) {
    MOEC_TRY(checkInterrupt());
    if (llvm::Error err = runPass(*pipeline[current])) {
      crashWriter.reset();
      return options.reproducer.empty() ? std::move(err)
                                        : writeReproducer(std::move(err));
    }
  }
  return llvm::Error::success();
}

void Run::report() const {
  if (options.timing) {
    double total = verifySeconds;
    for (double seconds : passSeconds)
      total += seconds;
    auto line = [&](double seconds, llvm::StringRef name) {
      log << llvm::format("%10.6f %5.1f%%  ", seconds,
                          total > 0 ? 100 * seconds / total : 0.0)
          << name << "\n";
    };
    log << "// ----- pass timing -----\n   seconds  share  pass\n";
    for (auto [seconds, pass] : llvm::zip(passSeconds, pipeline))
      line(seconds, pass->name());
    line(verifySeconds, "(verifier)");
    line(total, "(total)");
  }
  if (options.statistics) {
    log << "// ----- pass statistics -----\n";
    for (const auto &[key, value] : statistics)
      log << llvm::format("%10llu  ", (unsigned long long)value)
          << pipeline[key.first]->name() << ": " << key.second << "\n";
  }
}

llvm::Error PassManager::run(Module &module) {
  Run run(module, pipeline, options, *log, remarkList);
  run.target = target;
  run.reader = reader;
  llvm::Error err = run.runAll();
  run.report();
  return err;
}
