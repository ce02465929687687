#include "tools/driver/OptDriver.h"

#include "ir/binary/Binary.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "ir/text/Lexer.h"
#include "ir/text/Printer.h"
#include "passes/driver/PassManager.h"
#include "passes/driver/Reproducer.h"
#include "tools/driver/ExpectedDiagnostics.h"

using namespace moec;

namespace {
/// Runs over one module after the other.
class OptRun {
public:
  OptRun(llvm::StringRef file, const PassRegistry &registry,
         const OptOptions &options, llvm::raw_ostream &out,
         llvm::raw_ostream &log)
      : file(file), registry(registry), options(options), out(out), log(log) {}

  llvm::Error runOne(llvm::StringRef bytes);

private:
  llvm::Error transform(llvm::StringRef bytes, std::unique_ptr<Module> &module,
                        std::vector<Remark> &remarks);
  llvm::Error print(Module &module);

  llvm::StringRef file;
  const PassRegistry &registry;
  const OptOptions &options;
  llvm::raw_ostream &out, &log;
};
} // namespace

llvm::Error OptRun::transform(llvm::StringRef bytes,
                              std::unique_ptr<Module> &module,
                              std::vector<Remark> &remarks) {
  MOEC_ASSIGN(module, readModule(bytes, file));
  PassManager manager(options.instrumentation);
  manager.setTarget(options.target);
  manager.setLog(log);
  MOEC_ASSIGN(Pipeline pipeline,
              parsePipeline(options.passes, registry, "--passes"));
  manager.add(std::move(pipeline));
  llvm::Error err = manager.run(*module);
  remarks.assign(manager.remarks().begin(), manager.remarks().end());
  return attachSource(std::move(err), file, bytes);
}

llvm::Error OptRun::print(Module &module) {
  if (options.output == ModuleForm::text) {
    printModule(module, out, options.instrumentation.print);
    return llvm::Error::success();
  }
  MOEC_ASSIGN(std::string bytes, writeBinary(module));
  out << bytes;
  return llvm::Error::success();
}

llvm::Error OptRun::runOne(llvm::StringRef bytes) {
  std::unique_ptr<Module> module;
  std::vector<Remark> remarks;
  if (!options.verifyDiagnostics) {
    llvm::Error err = transform(bytes, module, remarks);
    if (options.remarks == RemarkForm::text)
      printRemarks(remarks, log);
    else if (options.remarks == RemarkForm::json)
      printRemarksJson(remarks, log);
    return err ? std::move(err) : print(*module);
  }
  MOEC_ASSIGN(ExpectedDiagnostics expected,
              ExpectedDiagnostics::find(bytes, file));
  return expected.check(transform(bytes, module, remarks), remarks);
}

llvm::Error moec::runOpt(llvm::StringRef bytes, llvm::StringRef file,
                         const PassRegistry &registry,
                         const OptOptions &options, llvm::raw_ostream &out,
                         llvm::raw_ostream &log) {
  OptRun run(file, registry, options, out, log);
  if (!options.splitInputFile || looksLikeBinary(bytes))
    return run.runOne(bytes);
  llvm::Error failures = llvm::Error::success();
  std::string part;
  bool first = true;
  for (bool more = true; more;) {
    llvm::StringRef line;
    more = bytes.contains('\n');
    std::tie(line, bytes) = bytes.split('\n');
    bool separator = line.rtrim() == "// -----";
    if (!separator)
      part += line;
    if (separator || !more) {
      if (!first && !options.verifyDiagnostics)
        out << "// -----\n";
      first = false;
      failures = llvm::joinErrors(std::move(failures), run.runOne(part));
      // What came before stays as empty lines, so that numbers are right.
      std::string blank(llvm::StringRef(part).count('\n'), '\n');
      part = std::move(blank);
    }
    part += '\n';
  }
  return failures;
}

llvm::Error moec::replayOpt(llvm::StringRef bytes, llvm::StringRef file,
                            const PassRegistry &registry, OptOptions options,
                            llvm::raw_ostream &out, llvm::raw_ostream &log) {
  MOEC_ASSIGN(Reproducer reproducer, Reproducer::parse(bytes, file));
  options.passes = reproducer.pipeline;
  options.splitInputFile = false;
  return runOpt(bytes, file, registry, options, out, log);
}
