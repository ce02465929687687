//===- Simplify.cpp - canonical forms -------------------------------------===//
//
// Before:  %a = scale %x {factor = 1.0}      After:  %b = slice %x
//          %s = slice %a {size = 8}                    {start = 2, size = 4}
//          %b = slice %s {start = 2, size = 4}
//
// Why:     importers and other passes need not care; fewer shapes reach the
//          passes that match them.
// Legal:   a rule changes no bit of any result (TensorRules.cpp).
// Order:   anywhere; before cse, which then finds more equal ops.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "passes/Passes.h"
#include "passes/simplify/TensorRules.h"

using namespace moec;

namespace {
struct Simplify final : Pass {
  llvm::Error run(Module &module, PassContext &context) override {
    for (const auto &program : module.programs())
      rewrite(*program, tensorRules(),
              [&](llvm::StringRef rule) { context.count(rule); });
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createSimplify() {
  return std::make_unique<Simplify>();
}
