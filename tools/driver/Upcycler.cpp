#include "tools/driver/Upcycler.h"

#include "passes/pipeline/Registry.h"

using namespace moec;

llvm::Error moec::upcycleModule(Module &module, llvm::StringRef options) {
  PassManager manager;
  MOEC_ASSIGN(Pipeline pipeline,
              parsePipeline(("upcycle{" + options + "}").str(), allPasses(),
                            "the upcycle options"));
  manager.add(std::move(pipeline));
  return manager.run(module);
}
