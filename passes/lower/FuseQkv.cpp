//===- FuseQkv.cpp - one product for q, k and v ---------------------------===//
//
// Before:  %q = linear %x, @q       After:  weight @qkv = concat(@q, @k, @v)
//          %k = linear %x, @k               %s = linear %x, @qkv
//          %v = linear %x, @v               %q = slice %s {start = 0, ...} ...
//
// Why:     one launch instead of three, and x is read once.
// Legal:   only for consecutive linears of one input, equal element types and
//          all with or all without bias. Every output keeps its own sum, so
//          results do not change.
// Order:   after convert-types; before form-kernels.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/ops/TensorOps.h"
#include "passes/Passes.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

namespace {
using Group = llvm::SmallVector<Operation *, 3>;
} // namespace

static bool joins(const Group &group, const Operation &op) {
  const Operation &head = *group.front();
  return op.is(OpKind::Linear) && op.operand(0) == head.operand(0) &&
         op.numOperands() == head.numOperands() &&
         op.result().type().element() == head.result().type().element() &&
         op.operand(1).weight() && head.operand(1).weight() &&
         op.operand(1).type().element() == head.operand(1).type().element();
}

static bool isConcatOf(const Expr &expr, llvm::ArrayRef<ExprRef> refs) {
  return expr.kind == ExprKind::Concat && !expr.attrs<AxisAttrs>().axis &&
         llvm::equal(expr.args, refs, [](const ExprRef &a, const ExprRef &b) {
           return a->kind == ExprKind::Ref && a->weight == b->weight;
         });
}

/// A weight that is the others, row after row.
static llvm::Expected<Value> join(Module &module, const Group &group,
                                  unsigned operand) {
  std::vector<ExprRef> parts;
  std::string name;
  for (Operation *op : group) {
    Weight *weight = op->operand(operand).weight();
    MOEC_ASSIGN(ExprRef ref, Expr::make(ExprKind::Ref, {}, nullptr, weight));
    parts.push_back(std::move(ref));
    name += (name.empty() ? "" : "+") +
            (name.empty() ? weight->name
                          : weight->name.substr(weight->name.rfind('.') + 1));
  }
  // Another program may have joined the same weights; a weight that only has
  // the name is another one.
  while (Weight *known = module.findWeight(name)) {
    if (isConcatOf(*known->expr, parts))
      return known->value();
    name += "'";
  }
  MOEC_ASSIGN(ExprRef joined,
              Expr::make(ExprKind::Concat, std::move(parts), nullptr));
  return module
      .addWeight(name, joined, group.front()->operand(operand).weight()->loc)
      ->value();
}

static llvm::Error fuse(Module &module, const Group &group) {
  Operation *head = group.front();
  Builder b(head);
  b.setLoc(head->loc());
  MOEC_ASSIGN(Value weight, join(module, group, 1));
  llvm::SmallVector<Value, 3> operands{head->operand(0), weight};
  if (head->numOperands() == 3) {
    MOEC_ASSIGN(Value bias, join(module, group, 2));
    operands.push_back(bias);
  }
  TensorType type({head->result().type().dim(0), weight.type().dim(0)},
                  head->result().type().element());
  Value joined = b.make(OpKind::Linear, operands, type);
  int64_t start = 0;
  for (Operation *op : group) {
    SliceAttrs attrs;
    attrs.start = start;
    attrs.size = op->result().type().dim(1).constant();
    start += attrs.size;
    op->result().replaceAllUsesWith(
        b.make(OpKind::Slice, {joined}, op->result().type(), attrs));
  }
  for (Operation *op : group)
    op->erase();
  return llvm::Error::success();
}

static llvm::Error fuseProgram(Module &module, Program &program,
                               PassContext &context) {
  std::vector<Group> groups;
  for (Operation &op : program.body().ops()) {
    if (!op.is(OpKind::Linear))
      continue;
    // Gate and up of an FFN are joined by their kernel instead.
    bool feedsActivation = op.result().hasOneUse() &&
                           (op.result().users()[0]->is(OpKind::Activation) ||
                            op.result().users()[0]->is(OpKind::Mul));
    Operation *previous = op.previous();
    bool follows = !groups.empty() && previous == groups.back().back();
    if (follows && !feedsActivation) {
      if (joins(groups.back(), op)) {
        groups.back().push_back(&op);
        continue;
      }
      if (op.operand(0) == groups.back().front()->operand(0))
        context.remark(op,
                       "not joined with the linear before it: their biases or "
                       "element types differ");
    }
    if (!feedsActivation)
      groups.push_back({&op});
  }
  for (const Group &group : groups)
    if (group.size() > 1) {
      MOEC_TRY(fuse(module, group));
      context.count("fused");
    }
  return llvm::Error::success();
}

namespace {
class FuseQkv final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    for (auto &program : module.programs())
      MOEC_TRY(fuseProgram(module, *program, context));
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createFuseQkv() {
  return std::make_unique<FuseQkv>();
}
