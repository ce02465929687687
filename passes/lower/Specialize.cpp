//===- Specialize.cpp - a second program for small batches ----------------===//
//
// Before:  program @step          After:  program @step, program @decode
//
// Why:     a step of a few tokens should touch only the experts it chose and
//          never sort; a long prompt should group its pairs by expert.
// Legal:   the copy is the same program; form-kernels lowers it differently.
//          A program without experts is not copied.
// Order:   after what rewrites the graph, so that it is done once.
//
//===----------------------------------------------------------------------===//

#include "passes/lower/Specialize.h"

#include "ir/core/Clone.h"
#include "passes/Passes.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

namespace {
class Specialize final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    Program *step = module.findProgram(facts::kStep);
    bool routed = step && llvm::any_of(step->body().ops(), [](Operation &op) {
                    return op.is(OpKind::MoeRoute);
                  });
    if (routed && cloneProgram(module, *step, kSmallBatchProgram))
      context.count("copied");
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createSpecialize() {
  return std::make_unique<Specialize>();
}
