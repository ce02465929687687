#include "passes/upcycle/Neurons.h"

#include "passes/upcycle/Upcycle.h"

using namespace moec;

llvm::Expected<ExprRef> moec::refTo(Weight *weight) {
  return Expr::make(ExprKind::Ref, {}, nullptr, weight);
}

llvm::Expected<ExprRef> moec::sliced(ExprRef expr, int64_t axis, int64_t start,
                                     int64_t size) {
  if (!start && size == expr->type.dim(axis).constant())
    return expr;
  auto attrs = std::make_unique<SliceExprAttrs>();
  attrs->axis = axis;
  attrs->start = start;
  attrs->size = size;
  return Expr::make(ExprKind::Slice, {std::move(expr)}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::scaled(ExprRef expr, double factor) {
  if (factor == 1)
    return expr;
  auto attrs = std::make_unique<FactorAttrs>();
  attrs->factor = factor;
  return Expr::make(ExprKind::Scale, {std::move(expr)}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::castTo(ExprRef expr, ElementType element) {
  if (!isFloat(element) && element != ElementType::q8_0)
    element = ElementType::f32;
  if (expr->type.element() == element)
    return expr;
  auto attrs = std::make_unique<ElementAttrs>();
  attrs->element = element;
  return Expr::make(ExprKind::Cast, {std::move(expr)}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::readable(ExprRef expr) {
  if (!isBlockQuantized(expr->type.element()))
    return expr;
  return Expr::make(ExprKind::Dequantize, {std::move(expr)}, nullptr);
}

llvm::Expected<ExprRef> moec::zeros(llvm::ArrayRef<int64_t> shape) {
  auto attrs = std::make_unique<FillAttrs>();
  attrs->shape = shape;
  return Expr::make(ExprKind::Fill, {}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::shuffled(ExprRef expr, int64_t axis, int64_t seed,
                                       std::string name, int64_t number) {
  auto attrs = std::make_unique<PermuteAttrs>();
  attrs->axis = axis;
  attrs->seed = seed;
  attrs->weight = std::move(name);
  attrs->expert = number;
  return Expr::make(ExprKind::Permute, {std::move(expr)}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::joined(std::vector<ExprRef> parts, int64_t axis) {
  if (parts.size() == 1)
    return parts[0];
  auto attrs = std::make_unique<AxisAttrs>();
  attrs->axis = axis;
  return Expr::make(ExprKind::Concat, std::move(parts), std::move(attrs));
}

llvm::Expected<ExprRef> moec::inlined(const ExprRef &expr) {
  if (expr->kind == ExprKind::Ref)
    return inlined(expr->weight->expr);
  std::vector<ExprRef> args;
  bool changed = false;
  for (const ExprRef &arg : expr->args) {
    MOEC_ASSIGN(ExprRef copy, inlined(arg));
    changed |= copy != arg;
    args.push_back(std::move(copy));
  }
  if (!changed)
    return expr;
  return Expr::make(expr->kind, std::move(args), expr->attributes->clone(),
                    nullptr, expr->file);
}

llvm::Expected<ExprRef> moec::denseOf(const DenseMatrix &matrix) {
  MOEC_ASSIGN(ExprRef dense, refTo(matrix.weight));
  return readable(std::move(dense));
}

llvm::Expected<SourceFile *> moec::calibrationFile(const Module &module,
                                                   llvm::StringRef purpose) {
  if (SourceFile *file = module.findFile("calibration"))
    return file;
  return error() << purpose
                 << " needs calibration data, but the module has no file "
                    "'@calibration'";
}

llvm::Expected<ExprRef> moec::neurons(const DenseFfn &ffn,
                                      const DenseMatrix &matrix, int64_t start,
                                      int64_t count) {
  // Of a bank that is copied as it is nothing is read, quantised or not.
  bool whole =
      matrix.neuronAxis < 0 || (ffn.options.splitBy == SplitBy::contiguous &&
                                !start && count == ffn.width);
  if (whole)
    return refTo(matrix.weight);
  MOEC_ASSIGN(ExprRef dense, denseOf(matrix));
  switch (ffn.options.splitBy) {
  case SplitBy::contiguous:
    return sliced(dense, matrix.neuronAxis, start, count);
  case SplitBy::random: {
    MOEC_ASSIGN(ExprRef order,
                shuffled(dense, matrix.neuronAxis, ffn.options.seed, ffn.base,
                         /*number=*/-1));
    return sliced(order, matrix.neuronAxis, start, count);
  }
  case SplitBy::order: {
    MOEC_ASSIGN(SourceFile * file,
                calibrationFile(ffn.module, "split_by=order"));
    auto key = std::make_unique<SourceAttrs>();
    key->key = "layers." + std::to_string(ffn.layer) + ".order";
    key->shape = {ffn.width};
    key->element = ElementType::i64;
    MOEC_ASSIGN(ExprRef order, Expr::make(ExprKind::Source, {}, std::move(key),
                                          nullptr, file));
    auto attrs = std::make_unique<TakeAttrs>();
    attrs->axis = matrix.neuronAxis;
    attrs->start = start;
    attrs->count = count;
    attrs->permutation = true;
    return Expr::make(ExprKind::Take, {dense, order}, std::move(attrs));
  }
  }
  llvm_unreachable("every order has an expression");
}

llvm::Expected<ExprRef> moec::routedNeurons(const DenseFfn &ffn,
                                            const DenseMatrix &matrix,
                                            int64_t expert) {
  MOEC_ASSIGN(ExprRef routed,
              neurons(ffn, matrix, ffn.firstRouted, ffn.routedWidth()));
  if (!ffn.options.permute || matrix.neuronAxis < 0)
    return routed;
  MOEC_ASSIGN(routed, readable(routed));
  return shuffled(routed, matrix.neuronAxis, ffn.options.seed, ffn.base,
                  expert);
}
