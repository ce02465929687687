#include "frontend/exporter/CanonicalWeights.h"

#include "ir/weights/Materialize.h"

using namespace moec;

std::vector<int64_t> moec::shapeOf(const Expr &expr) {
  std::vector<int64_t> shape;
  for (const Dim &dim : expr.type.shape())
    shape.push_back(dim.constant());
  return shape;
}

/// `layers.3.moe.experts.5.up` as expert 5 of the bank `layers.3.moe.up`.
static bool splitExpert(llvm::StringRef name, std::string &bank,
                        int64_t &expert) {
  auto [head, tail] = name.split(".moe.experts.");
  auto [number, part] = tail.split('.');
  if (part.empty() || number.getAsInteger(10, expert))
    return false;
  bank = (head + ".moe." + part).str();
  return true;
}

bool CanonicalWeights::has(llvm::StringRef name) const {
  std::string bank;
  int64_t expert;
  return changed.count(name) || module.findWeight(name) ||
         (splitExpert(name, bank, expert) && module.findWeight(bank));
}

/// One slice of a bank.
static llvm::Expected<ExprRef> expertOf(Weight *bank, int64_t expert) {
  const Expr &whole = resolve(*bank->expr);
  if (whole.kind == ExprKind::Stack)
    return whole.args[size_t(expert)];
  auto slice = std::make_unique<SliceExprAttrs>();
  slice->start = expert;
  slice->size = 1;
  auto shape = std::make_unique<ShapeAttrs>();
  shape->shape = shapeOf(whole);
  shape->shape.erase(shape->shape.begin());
  MOEC_ASSIGN(ExprRef ref, Expr::make(ExprKind::Ref, {}, nullptr, bank));
  MOEC_ASSIGN(ExprRef part,
              Expr::make(ExprKind::Slice, {ref}, std::move(slice)));
  return Expr::make(ExprKind::Reshape, {part}, std::move(shape));
}

llvm::Expected<CanonicalWeight>
CanonicalWeights::find(llvm::StringRef name) const {
  CanonicalWeight result;
  auto at = changed.find(name);
  if (at != changed.end()) {
    result.expr = at->second;
    return result;
  }
  std::string bank;
  // A bank says what the experts are; weights of their own may be left over.
  if (splitExpert(name, bank, result.expert)) {
    result.weight = module.findWeight(bank);
    if (!result.weight ||
        result.expert >= result.weight->type().dim(0).constant())
      return CanonicalWeight();
    MOEC_ASSIGN(result.expr, expertOf(result.weight, result.expert));
    return result;
  }
  result.weight = module.findWeight(name);
  if (result.weight) {
    MOEC_ASSIGN(result.expr,
                Expr::make(ExprKind::Ref, {}, nullptr, result.weight));
  }
  return result;
}

llvm::Error CanonicalWeights::setZeros(std::string name,
                                       llvm::ArrayRef<int64_t> shape) {
  auto attrs = std::make_unique<FillAttrs>();
  attrs->shape = shape.vec();
  MOEC_ASSIGN(ExprRef zeros, Expr::make(ExprKind::Fill, {}, std::move(attrs)));
  set(std::move(name), std::move(zeros));
  return llvm::Error::success();
}

llvm::Error CanonicalWeights::scale(const std::string &name, double factor) {
  auto attrs = std::make_unique<FactorAttrs>();
  attrs->factor = factor;
  MOEC_ASSIGN(CanonicalWeight weight, find(name));
  MOEC_ASSIGN(ExprRef scaled,
              Expr::make(ExprKind::Scale, {weight.expr}, std::move(attrs)));
  set(name, std::move(scaled));
  return llvm::Error::success();
}

llvm::Error CanonicalWeights::pad(const std::string &name, int64_t axis,
                                  int64_t size) {
  MOEC_ASSIGN(CanonicalWeight weight, find(name));
  auto zeros = std::make_unique<FillAttrs>();
  zeros->shape = shapeOf(*weight.expr);
  zeros->shape[size_t(axis)] = size - zeros->shape[size_t(axis)];
  MOEC_ASSIGN(ExprRef rest, Expr::make(ExprKind::Fill, {}, std::move(zeros)));
  // Concatenation joins one element type.
  MOEC_ASSIGN(ExprRef numbers, Expr::make(ExprKind::Cast, {weight.expr},
                                          std::make_unique<ElementAttrs>()));
  auto along = std::make_unique<AxisAttrs>();
  along->axis = axis;
  MOEC_ASSIGN(ExprRef padded,
              Expr::make(ExprKind::Concat, {numbers, rest}, std::move(along)));
  set(name, std::move(padded));
  return llvm::Error::success();
}
