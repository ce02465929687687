#include "passes/upcycle/Banks.h"

#include "passes/upcycle/Neurons.h"

using namespace moec;

llvm::Expected<ExprRef> moec::expertOf(const Weight &bank, int64_t expert) {
  const Expr *at = bank.expr.get();
  while (at->kind == ExprKind::Ref)
    at = at->weight->expr.get();
  if (at->kind == ExprKind::Stack)
    return at->args[expert];
  MOEC_ASSIGN(ExprRef expr, readable(bank.expr));
  MOEC_ASSIGN(expr, sliced(std::move(expr), 0, expert, 1));
  auto attrs = std::make_unique<ShapeAttrs>();
  for (const Dim &dim : bank.type().shape().drop_front())
    attrs->shape.push_back(dim.constant());
  return Expr::make(ExprKind::Reshape, {std::move(expr)}, std::move(attrs));
}

llvm::Expected<ExprRef> moec::meanExpert(const Weight &bank) {
  std::vector<ExprRef> experts;
  for (int64_t expert = 0; expert < bank.type().dim(0).constant(); ++expert) {
    MOEC_ASSIGN(ExprRef one, expertOf(bank, expert));
    MOEC_ASSIGN(one, readable(std::move(one)));
    experts.push_back(std::move(one));
  }
  MOEC_ASSIGN(ExprRef mean,
              Expr::make(ExprKind::Average, std::move(experts), nullptr));
  return castTo(std::move(mean), bank.type().element());
}
