//===- ExpandFfn.cpp - feed-forward nodes as matrix products --------------===//
//
// Before:  %y = ffn %x, @gate, @up, @down
// After:   %g = linear %x, @gate
//          %u = linear %x, @up
//          %h = mul (activation %g), %u
//          %y = linear %h, @down
//          (moe.experts: the same with moe.grouped_linear, and moe.weigh on
//          %h with weighted_hidden)
//
// Why:     kernels are formed around matrix products.
// Legal:   always; the typed interpreter rounds %h as the attribute says.
// Order:   after upcycling, which matches ffn; before form-kernels.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/ops/MoeOps.h"
#include "passes/Passes.h"

using namespace moec;

namespace {
class Expansion {
public:
  explicit Expansion(Operation &op)
      : op(op), attrs(op.attrs<FfnAttrs>()), bank(op.is(OpKind::MoeExperts)),
        first(bank ? 3 : 1), b(&op) {
    b.setLoc(op.loc());
  }

  void run() {
    unsigned weights = attrs.numWeights();
    Value x = op.operand(0);
    Value h = product(x, 0, /*gather=*/true, ElementType::f32);
    Value up = attrs.gated ? product(x, 1, true, ElementType::f32) : Value();
    ActivationAttrs activation;
    activation.fn = attrs.fn;
    ElementType last =
        attrs.gated || attrs.weightedHidden ? ElementType::f32 : attrs.hidden;
    h = b.make(OpKind::Activation, {h}, h.type().withElement(last), activation);
    // Rounded where the block is done, and not before.
    if (up)
      h = b.make(OpKind::Mul, {h, up},
                 h.type().withElement(attrs.weightedHidden ? ElementType::f32
                                                           : attrs.hidden));
    if (attrs.weightedHidden)
      h = b.make(OpKind::MoeWeigh, {h, op.operand(op.numOperands() - 1)},
                 h.type().withElement(attrs.hidden));
    Value y = product(h, weights - 1, false, op.result().type().element());
    op.result().replaceAllUsesWith(y);
    op.erase();
  }

private:
  Value product(Value x, unsigned i, bool gather, ElementType element) {
    Value weight = op.operand(first + i);
    llvm::SmallVector<Value, 5> operands{x};
    if (bank)
      operands.append({op.operand(1), op.operand(2)});
    operands.push_back(weight);
    if (attrs.biased)
      operands.push_back(op.operand(first + attrs.numWeights() + i));
    Dim rows = op.result().type().dim(0);
    TensorType type({rows, weight.type().dim(-2)}, element);
    if (!bank)
      return b.make(OpKind::Linear, operands, type);
    GroupedLinearAttrs grouped;
    grouped.gather = gather;
    return b.make(OpKind::MoeGroupedLinear, operands, type, grouped);
  }

  Operation &op;
  const FfnAttrs attrs;
  bool bank;
  unsigned first;
  Builder b;
};
} // namespace

namespace {
class ExpandFfn final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    for (auto &program : module.programs())
      for (Operation &op : llvm::make_early_inc_range(program->body().ops()))
        if (op.is(OpKind::Ffn) || op.is(OpKind::MoeExperts)) {
          Expansion(op).run();
          context.count("expanded");
        }
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createExpandFfn() {
  return std::make_unique<ExpandFfn>();
}
