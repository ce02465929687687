#include "tools/driver/Upcycler.h"

#include "passes/pipeline/Registry.h"

using namespace moec;

llvm::Error moec::upcycleModule(Module &module, llvm::StringRef options,
                                std::vector<Remark> *remarks) {
  PassManager manager;
  MOEC_ASSIGN(Pipeline pipeline,
              parsePipeline(("upcycle{" + options + "}").str(), allPasses(),
                            "the upcycle options"));
  manager.add(std::move(pipeline));
  llvm::Error err = manager.run(module);
  if (remarks)
    remarks->assign(manager.remarks().begin(), manager.remarks().end());
  return err;
}
