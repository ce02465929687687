#include "tools/driver/Upcycler.h"

#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
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

llvm::Expected<std::unique_ptr<Module>> moec::copyGraph(Module &module) {
  auto assets = std::move(module.assets);
  module.assets.clear();
  auto copy = parseModule(printModule(module), module.name());
  module.assets = std::move(assets);
  if (copy)
    (*copy)->baseFolder = module.baseFolder;
  return copy;
}
