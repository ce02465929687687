//===- Dce.cpp - what nobody reads ----------------------------------------===//
//
// Before:  weight @unused ...              After:  %b = cast %x
//          %a = linear %x, @unused                 return %b
//          %b = cast %x
//          return %b
//
// Why:     passes may leave what they replaced to this one; a weight that no
//          program reads need not be materialised.
// Legal:   ops have no effect beyond their results. Arguments are the
//          program's interface and stay, and so do the states behind them;
//          weights stay while another weight refers to them.
// Order:   last of the clean-up passes.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

/// From the back, so that an op goes after its readers.
static void dropOps(Block &block, PassContext &context) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block.ops()))) {
    if (op.body())
      dropOps(*op.body(), context);
    if (!isPure(op) || op.hasUses())
      continue;
    op.erase();
    context.count("ops");
  }
}

/// The weights and expressions that a weight needs.
static void markNeeded(const Expr &expr, llvm::DenseSet<const void *> &needed) {
  if (!needed.insert(&expr).second)
    return;
  if (expr.weight && needed.insert(expr.weight).second)
    markNeeded(*expr.weight->expr, needed);
  for (const ExprRef &arg : expr.args)
    markNeeded(*arg, needed);
}

static void dropWeights(Module &module, PassContext &context) {
  llvm::DenseSet<const void *> needed;
  for (const auto &weight : module.weights())
    if (!weight->value().isUnused() && needed.insert(weight.get()).second)
      markNeeded(*weight->expr, needed);
  llvm::SmallVector<Weight *> dead;
  for (const auto &weight : module.weights())
    if (!needed.contains(weight.get()))
      dead.push_back(weight.get());
  // The last first: a weight refers to those before it only.
  for (Weight *weight : llvm::reverse(dead)) {
    module.eraseWeight(weight);
    context.count("weights");
  }
}

static void dropStates(Module &module, PassContext &context) {
  llvm::DenseSet<const State *> taken;
  for (const auto &program : module.programs())
    for (unsigned i = 0; i < program->body().numArguments(); ++i)
      taken.insert(program->body().argument(i).state());
  llvm::SmallVector<State *> dead;
  for (const auto &state : module.states())
    if (!taken.contains(state.get()))
      dead.push_back(state.get());
  for (State *state : dead) {
    module.eraseState(state);
    context.count("states");
  }
}

namespace {
struct Dce final : Pass {
  llvm::Error run(Module &module, PassContext &context) override {
    for (const auto &program : module.programs())
      dropOps(program->body(), context);
    // A module without programs is a set of weights; all are wanted.
    if (module.programs().empty())
      return llvm::Error::success();
    dropWeights(module, context);
    dropStates(module, context);
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createDce() { return std::make_unique<Dce>(); }
