//===- NarrowWeights.cpp - matrices stay in the type they are stored in ---===//
//
// Before:  weight @w : f32 = cast(source(..., element = bf16))
//          weight @bank : f32 = stack(@w, @w)
// After:   weight @w : bf16 = source(..., element = bf16)
//          weight @bank : bf16 = stack(@w, @w)
//          The ops that read them stay as they are.
//
// Why:     decode is bound by the bytes of the weights, and half of those of a
//          widened matrix say nothing.
// Legal:   a matrix whose numbers are moved from narrower tensors, never
//          computed, and that programs only multiply by or look rows up in.
//          Products compute in f32 from either type, in one order of k, so
//          every bit of every result stays. The target must have such products.
// Order:   after convert-types, whose casts go; before fuse-qkv, which joins
//          weights of one type. Not part of what imports or upcycling write:
//          training needs weights that are wide.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "ir/target/TargetQueries.h"
#include "passes/Passes.h"
#include "passes/lower/Matrices.h"

#include <map>

using namespace moec;

/// Whether the results have the numbers of the first argument, all or some, in
/// some order.
static bool movesNumbers(ExprKind kind) {
  switch (kind) {
  case ExprKind::Concat:
  case ExprKind::Permute:
  case ExprKind::Repeat:
  case ExprKind::Reshape:
  case ExprKind::RotaryToHalf:
  case ExprKind::Slice:
  case ExprKind::Stack:
  case ExprKind::Take:
  case ExprKind::Transpose:
    return true;
  default:
    return false;
  }
}

static llvm::Expected<ExprRef> withArguments(const Expr &expr,
                                             std::vector<ExprRef> args) {
  return Expr::make(expr.kind, std::move(args), expr.attributes->clone(),
                    expr.weight, expr.file);
}

namespace {
/// Expressions once weights have become narrower. Every node is rebuilt once,
/// so that what was shared stays shared.
class Rebuilder {
public:
  /// The same numbers in `element`, if they are moved from tensors of that
  /// type; null if some are computed or come from another type.
  llvm::Expected<ExprRef> narrowed(const ExprRef &expr, ElementType element);
  /// The same, where weights that are referred to are narrower now.
  llvm::Expected<ExprRef> refreshed(const ExprRef &expr);

private:
  llvm::Expected<ExprRef> narrow(const ExprRef &expr, ElementType element);
  llvm::Expected<ExprRef> refresh(const ExprRef &expr);

  // Keys own what they stand for, so that no other expression takes its place.
  std::map<std::pair<ExprRef, ElementType>, ExprRef> narrowOf;
  std::map<ExprRef, ExprRef> freshOf;
};
} // namespace

llvm::Expected<ExprRef> Rebuilder::narrowed(const ExprRef &expr,
                                            ElementType element) {
  std::pair key(expr, element);
  auto known = narrowOf.find(key);
  if (known != narrowOf.end())
    return known->second;
  MOEC_ASSIGN(ExprRef result, narrow(expr, element));
  return narrowOf[key] = std::move(result);
}

llvm::Expected<ExprRef> Rebuilder::narrow(const ExprRef &expr,
                                          ElementType element) {
  if (expr->kind == ExprKind::Ref) {
    if (expr->weight->type().element() != element)
      return ExprRef();
    return refreshed(expr);
  }
  // What is made narrow is as it should be, whatever it is made of.
  if (expr->type.element() == element)
    return refreshed(expr);
  if (expr->type.element() != ElementType::f32)
    return ExprRef();
  if (expr->kind == ExprKind::Cast || expr->kind == ExprKind::Dequantize)
    return narrowed(expr->args[0], element);
  if (!movesNumbers(expr->kind))
    return ExprRef();
  std::vector<ExprRef> args = expr->args;
  for (ExprRef &arg : args) {
    bool indices = expr->kind == ExprKind::Take && &arg != &args.front();
    if (indices)
      continue;
    MOEC_ASSIGN(arg, narrowed(arg, element));
    if (!arg)
      return ExprRef();
  }
  return withArguments(*expr, std::move(args));
}

llvm::Expected<ExprRef> Rebuilder::refreshed(const ExprRef &expr) {
  auto known = freshOf.find(expr);
  if (known != freshOf.end())
    return known->second;
  MOEC_ASSIGN(ExprRef result, refresh(expr));
  return freshOf[expr] = std::move(result);
}

llvm::Expected<ExprRef> Rebuilder::refresh(const ExprRef &expr) {
  if (expr->kind == ExprKind::Ref) {
    if (expr->type == expr->weight->type())
      return expr;
    return Expr::make(ExprKind::Ref, {}, nullptr, expr->weight);
  }
  std::vector<ExprRef> args;
  for (const ExprRef &arg : expr->args) {
    MOEC_ASSIGN(ExprRef fresh, refreshed(arg));
    // Its numbers were f32 to this expression and are again.
    if (fresh->type != arg->type) {
      auto attrs = std::make_unique<ElementAttrs>();
      attrs->element = arg->type.element();
      MOEC_ASSIGN(fresh, Expr::make(ExprKind::Cast, {std::move(fresh)},
                                    std::move(attrs)));
    }
    args.push_back(std::move(fresh));
  }
  if (args == expr->args)
    return expr;
  return withArguments(*expr, std::move(args));
}

/// Whether programs read the weight as a matrix only, and the target has the
/// products that they then need.
static bool mayBe(ElementType element, const Weight &weight,
                  PassContext &context) {
  for (Operation *op : weight.value().users()) {
    MatrixOperands matrices = matrixOperands(*op);
    for (unsigned i = 0; i < op->numOperands(); ++i)
      if (op->operand(i) == weight.value() && !matrices.contains(i))
        return false;
    // Every matrix of a feed-forward network is multiplied by one of these.
    llvm::SmallVector<ElementType, 2> activations;
    if (op->is(OpKind::Embedding))
      activations = {op->result().type().element()};
    else
      activations = {op->operand(0).type().element()};
    if (op->is(OpKind::Ffn) || op->is(OpKind::MoeExperts))
      activations.push_back(op->attrs<FfnAttrs>().hidden);
    for (ElementType activation : activations) {
      if (!context.target || context.target->takesWeights(element, activation))
        continue;
      context.remark(*op, "reads '" + weight.name +
                              "' widened; the target does not multiply " +
                              elementTypeName(activation) + " by " +
                              elementTypeName(element) +
                              ", in which it is stored");
      return false;
    }
  }
  return true;
}

namespace {
class NarrowWeights final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    Rebuilder rebuilder;
    // Weights refer to earlier ones.
    for (auto &weight : module.weights()) {
      MOEC_ASSIGN(ExprRef expr, narrow(*weight, rebuilder, context));
      if (expr) {
        context.count("narrowed");
      } else {
        MOEC_ASSIGN(expr, asBefore(*weight, rebuilder));
      }
      if (expr != weight->expr)
        module.redefine(weight.get(), std::move(expr));
    }
    return llvm::Error::success();
  }

private:
  /// The weight's numbers in a narrower type; null if it stays as it is.
  static llvm::Expected<ExprRef>
  narrow(const Weight &weight, Rebuilder &rebuilder, PassContext &context) {
    if (weight.type().element() != ElementType::f32 || weight.type().rank() < 2)
      return ExprRef();
    for (ElementType element : {ElementType::bf16, ElementType::f16}) {
      MOEC_ASSIGN(ExprRef expr, rebuilder.narrowed(weight.expr, element));
      if (expr && mayBe(element, weight, context))
        return expr;
    }
    return ExprRef();
  }

  static llvm::Expected<ExprRef> asBefore(const Weight &weight,
                                          Rebuilder &rebuilder) {
    MOEC_ASSIGN(ExprRef expr, rebuilder.refreshed(weight.expr));
    if (expr->type == weight.type())
      return expr;
    auto attrs = std::make_unique<ElementAttrs>();
    attrs->element = weight.type().element();
    return Expr::make(ExprKind::Cast, {std::move(expr)}, std::move(attrs));
  }
};
} // namespace

std::unique_ptr<Pass> moec::createNarrowWeights() {
  return std::make_unique<NarrowWeights>();
}
