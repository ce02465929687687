#include "tools/driver/Upcycler.h"

#include "passes/pipeline/Registry.h"

using namespace moec;

llvm::Error moec::rewriteModule(Module &module, llvm::StringRef pipeline,
                                llvm::StringRef place,
                                std::vector<Remark> *remarks) {
  PassManager manager;
  MOEC_ASSIGN(Pipeline passes, parsePipeline(pipeline, allPasses(), place));
  manager.add(std::move(passes));
  llvm::Error err = manager.run(module);
  if (remarks)
    remarks->assign(manager.remarks().begin(), manager.remarks().end());
  return err;
}

llvm::Error moec::upcycleModule(Module &module, llvm::StringRef options,
                                std::vector<Remark> *remarks) {
  return rewriteModule(module, ("upcycle{" + options + "}").str(),
                       "the upcycle options", remarks);
}
