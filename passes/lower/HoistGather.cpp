//===- HoistGather.cpp - rows that nobody reads are not computed ----------===//
//
// Before:  %h = linear %attention, @o : [tokens, n]
//          %x = add %residual, %h : [tokens, n]
//          %y = gather_rows %x, %rows : [rows, n]
//
// After:   %a = gather_rows %attention, %rows
//          %r = gather_rows %residual, %rows
//          %h = linear %a, @o : [rows, n]
//          %y = add %r, %h : [rows, n]
//
// Why:     a prompt needs the logits of its last token only, so what follows
//          the last attention is computed for that one: about a thirtieth of
//          the work of 30 layers.
// Legal:   through ops that make each row of their result from the same row of
//          their operands, and that nothing but the gather reads. A mixture's
//          rows meet in its counters and its capacity, so it stays.
// Order:   after specialize, so that the module that a plan carries is the
//          model; before expand-ffn and form-kernels.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "passes/Passes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace moec;

/// Whether operand `index` of `op` is [rows, columns] with the result's rows.
static bool hasRowsOfResult(const Operation &op, unsigned index) {
  const TensorType &type = op.operand(index).type();
  return type.rank() == 2 && type.dim(0) == op.result().type().dim(0);
}

/// The operands whose row i alone, beside weights, makes row i of the result;
/// none if `op` is not that simple.
static llvm::SmallVector<unsigned, 2> rowOperands(const Operation &op) {
  switch (op.kind()) {
  case OpKind::Activation:
  case OpKind::Cast:
  case OpKind::Clamp:
  case OpKind::Ffn:
  case OpKind::LayerNorm:
  case OpKind::Linear:
  case OpKind::RmsNorm:
  case OpKind::Scale:
    if (!hasRowsOfResult(op, 0))
      return {};
    return {0};
  case OpKind::Add:
  case OpKind::Mul:
  case OpKind::Sub: {
    // Else one row, which serves every row.
    llvm::SmallVector<unsigned, 2> indices;
    for (unsigned i : {0, 1})
      if (op.operand(i).type().rank() == 2) {
        if (!hasRowsOfResult(op, i) || op.operand(i).weight())
          return {};
        indices.push_back(i);
      }
    return indices;
  }
  default:
    return {};
  }
}

/// The ops between `gather` and where it can go, in program order.
static std::vector<Operation *> opsToNarrow(Operation &gather) {
  llvm::SetVector<Operation *> inside;
  // Backwards, so that an op's readers are known before it is.
  for (Operation *op = gather.previous(); op; op = op->previous()) {
    if (op->numResults() != 1 || rowOperands(*op).empty())
      continue;
    auto users = op->result().users();
    bool onlyHere = llvm::all_of(users, [&](Operation *user) {
      if (user == &gather)
        return user->operand(0) == op->result();
      return inside.contains(user) &&
             llvm::all_of(llvm::enumerate(user->operands()), [&](auto operand) {
               return operand.value() != op->result() ||
                      llvm::is_contained(rowOperands(*user), operand.index());
             });
    });
    if (!users.empty() && onlyHere)
      inside.insert(op);
  }
  std::vector<Operation *> ops(inside.begin(), inside.end());
  std::reverse(ops.begin(), ops.end());
  return ops;
}

static void hoist(Operation &gather, llvm::ArrayRef<Operation *> ops) {
  Value rows = gather.operand(1);
  Dim count = gather.result().type().dim(0);
  Builder b(&gather);
  auto narrow = [&](const TensorType &type) {
    return TensorType({count, type.dim(1)}, type.element());
  };
  llvm::DenseMap<Value, Value> narrowed;
  auto narrowedValue = [&](Value value) {
    Value &known = narrowed[value];
    if (!known) {
      b.setLoc(gather.loc());
      known = b.make(OpKind::GatherRows, {value, rows}, narrow(value.type()));
    }
    return known;
  };
  // First the gathers, so that they form one kernel.
  llvm::DenseSet<Operation *> inside(ops.begin(), ops.end());
  for (Operation *op : ops)
    for (unsigned i : rowOperands(*op)) {
      Operation *maker = op->operand(i).definingOp();
      if (!maker || !inside.contains(maker))
        narrowedValue(op->operand(i));
    }
  for (Operation *op : ops) {
    llvm::SmallVector<Value, 8> operands(op->operands());
    for (unsigned i : rowOperands(*op))
      operands[i] = narrowedValue(operands[i]);
    b.setLoc(op->loc());
    narrowed[op->result()] = b.make(
        op->kind(), operands, narrow(op->result().type()), op->attrs().clone());
  }
  gather.result().replaceAllUsesWith(narrowedValue(gather.operand(0)));
  gather.erase();
  for (Operation *op : llvm::reverse(ops))
    op->erase();
}

namespace {
class HoistGather final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    for (auto &program : module.programs()) {
      std::vector<Operation *> gathers;
      for (Operation &op : program->body().ops())
        if (op.is(OpKind::GatherRows))
          gathers.push_back(&op);
      for (Operation *gather : gathers) {
        std::vector<Operation *> ops = opsToNarrow(*gather);
        // Several small gathers for one pay where they save a product.
        if (llvm::none_of(ops, [](Operation *op) {
              return op->is(OpKind::Linear) || op->is(OpKind::Ffn);
            })) {
          context.remark(*gather, "not moved up: no product behind it makes "
                                  "rows for it alone");
          continue;
        }
        hoist(*gather, ops);
        context.count("hoisted");
      }
    }
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createHoistGather() {
  return std::make_unique<HoistGather>();
}
