#include "passes/analysis/Flops.h"

#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeOps.h"
#include "llvm/ADT/MapVector.h"

using namespace moec;

namespace {
class CostCounter {
public:
  explicit CostCounter(int64_t context) : context(context) {}

  void visit(const Block &block);
  ModelCost finish();

private:
  /// For one token.
  static double extent(Dim dim) {
    auto value = dim.polynomial().hostBound().evaluate(
        [](const DimSymbol *) { return int64_t(1); });
    // Bounds of a verified module do not overflow.
    return double(value.value_or(0));
  }
  static double elements(const TensorType &type) {
    double count = 1;
    for (Dim dim : type.shape())
      count *= extent(dim);
    return count;
  }
  void visit(const Operation &op);
  void visitExperts(const Operation &op);
  void attend(const Operation &op);
  /// `bank` has experts in front, of which `chosen` work for a token.
  void readBank(Value bank, double chosen);
  void read(Value value, double share);
  /// The weight behind an argument of a kernel's body.
  static Value outside(Value value);

  int64_t context;
  double flops = 0;
  /// The share of each weight that one token reads.
  llvm::MapVector<const Weight *, double> shares;
};
} // namespace

Value CostCounter::outside(Value value) {
  Block *block = value.argumentOf();
  return block && block->parentOp ? block->parentOp->operand(value.index())
                                  : value;
}

void CostCounter::read(Value value, double share) {
  if (const Weight *weight = outside(value).weight()) {
    double &known = shares[weight];
    known = std::min(1.0, std::max(known, share));
  }
}

void CostCounter::readBank(Value bank, double chosen) {
  double experts = extent(bank.type().dim(0));
  read(bank, experts ? std::min(1.0, chosen / experts) : 0);
}

void CostCounter::attend(const Operation &op) {
  const auto &attrs = op.attrs<AttentionAttrs>();
  double seen = attrs.window ? std::min(attrs.window, context) : context;
  // Scores and the weighted sum of values: one product each.
  flops += 2 * seen *
           (elements(op.operand(0).type()) + elements(op.result().type()));
}

void CostCounter::visitExperts(const Operation &op) {
  bool bank = op.is(OpKind::MoeExperts);
  const auto &attrs = op.attrs<FfnAttrs>();
  double rows = extent(op.result().type().dim(0));
  unsigned first = bank ? 3 : 1;
  for (unsigned i = first; i < op.numOperands(); ++i) {
    Value weight = op.operand(i);
    if (bank)
      readBank(weight, rows);
    if (i < first + attrs.numWeights())
      flops += 2 * rows * extent(weight.type().dim(-1)) *
               extent(weight.type().dim(-2));
  }
}

void CostCounter::visit(const Operation &op) {
  if (op.body())
    return visit(*op.body());
  if (op.is(OpKind::Ffn) || op.is(OpKind::MoeExperts))
    visitExperts(op);
  else if (op.is(OpKind::Linear))
    flops +=
        2 * elements(op.result().type()) * extent(op.operand(1).type().dim(1));
  else if (op.is(OpKind::MoeGroupedLinear)) {
    flops +=
        2 * elements(op.result().type()) * extent(op.operand(3).type().dim(2));
    for (unsigned i = 3; i < op.numOperands(); ++i)
      readBank(op.operand(i), extent(op.result().type().dim(0)));
  } else if (op.is(OpKind::Attention))
    attend(op);
  // Whatever else is read is read whole.
  bool bank = op.is(OpKind::MoeExperts) || op.is(OpKind::MoeGroupedLinear);
  for (unsigned i = 0; i < (bank ? 3 : op.numOperands()); ++i)
    read(op.operand(i), 1);
}

void CostCounter::visit(const Block &block) {
  for (const Operation &op : block.ops())
    visit(op);
}

ModelCost CostCounter::finish() {
  ModelCost cost;
  cost.flopsPerToken = flops;
  for (auto [weight, share] : shares) {
    uint64_t count = weight->type().staticElements().value_or(0);
    uint64_t bytes = byteSize(weight->type().element(), count).value_or(0);
    cost.parameters += count;
    cost.weightBytes += bytes;
    // A share is a whole number of experts.
    cost.activeParameters += uint64_t(double(count) * share + 0.5);
    cost.activeWeightBytes += uint64_t(double(bytes) * share + 0.5);
  }
  return cost;
}

ModelCost moec::costOf(const Program &program, int64_t context) {
  CostCounter counter(context);
  counter.visit(program.body());
  return counter.finish();
}
