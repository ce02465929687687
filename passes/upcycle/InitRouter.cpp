//===- InitRouter.cpp - the first router of an upcycled layer -------------===//
//
// Spec 1.2: `uniform` is torch_rand_002, zero-mean uniform of the given
// deviation; `normal` as in spec 4.8; `zero` makes every tie go to the lowest
// experts.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Upcycle.h"

#include <cmath>

using namespace moec;

llvm::Expected<ExprRef> moec::initRouter(const UpcycleOptions &options,
                                         const std::string &name,
                                         int64_t hidden) {
  std::vector<int64_t> shape{options.experts, hidden};
  switch (options.routerInit) {
  case RouterInit::uniform: {
    auto attrs = std::make_unique<UniformAttrs>();
    attrs->shape = shape;
    // A uniform distribution of width w has deviation w / sqrt(12).
    attrs->low = 0;
    attrs->high = options.routerStd * std::sqrt(12.0);
    attrs->centered = true;
    attrs->seed = options.seed;
    attrs->weight = name;
    return Expr::make(ExprKind::Uniform, {}, std::move(attrs));
  }
  case RouterInit::normal: {
    auto attrs = std::make_unique<NormalAttrs>();
    attrs->shape = shape;
    attrs->deviation = options.routerStd;
    attrs->seed = options.seed;
    attrs->weight = name;
    return Expr::make(ExprKind::Normal, {}, std::move(attrs));
  }
  case RouterInit::zero: {
    auto attrs = std::make_unique<FillAttrs>();
    attrs->shape = shape;
    return Expr::make(ExprKind::Fill, {}, std::move(attrs));
  }
  case RouterInit::calibrated:
    break;
  }
  llvm_unreachable("every router init has an expression");
}
