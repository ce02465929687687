//===- InitRouter.cpp - the first router of an upcycled layer -------------===//
//
// Spec 1.2: `uniform` is torch_rand_002, zero-mean uniform of the given
// deviation; `normal` as in spec 4.8; `zero` makes every tie go to the lowest
// experts; `calibrated` is what the calibration step found.
//
// A router of two layers (4.18, 4.19) gets both so, but for a first layer of
// zeros, behind which nothing could be learned.
//
// A virtual group has one row for the G experts of each copy of the FFN (2.2).
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"

#include <cmath>

using namespace moec;

static llvm::Expected<ExprRef> initRows(const UpcycleOptions &options,
                                        const Module &module, RouterInit init,
                                        const std::string &key,
                                        const std::string &name, int64_t rows,
                                        int64_t hidden) {
  std::vector<int64_t> shape{rows, hidden};
  switch (init) {
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
  case RouterInit::zero:
    return zeros(shape);
  case RouterInit::calibrated: {
    MOEC_ASSIGN(SourceFile * file,
                calibrationFile(module, "router_init=calibrated"));
    auto attrs = std::make_unique<SourceAttrs>();
    attrs->key = key;
    attrs->shape = {options.experts, hidden};
    MOEC_ASSIGN(ExprRef found, Expr::make(ExprKind::Source, {},
                                          std::move(attrs), nullptr, file));
    return sliced(std::move(found), 0, 0, rows);
  }
  }
  llvm_unreachable("every router init has an expression");
}

llvm::Expected<ExprRef>
moec::initFirstRouter(const UpcycleOptions &options, const Module &module,
                      int64_t layer, const std::string &name, int64_t hidden) {
  RouterInit init = options.routerInit == RouterInit::zero ? RouterInit::normal
                                                           : options.routerInit;
  return initRows(options, module, init,
                  "layers." + std::to_string(layer) + ".router.first", name,
                  options.experts, hidden);
}

llvm::Expected<ExprRef> moec::initRouter(const UpcycleOptions &options,
                                         const Module &module, int64_t layer,
                                         const std::string &name,
                                         int64_t hidden) {
  int64_t each =
      options.init == InitPolicy::virtual_group ? options.granularity : 1;
  MOEC_ASSIGN(ExprRef rows,
              initRows(options, module, options.routerInit,
                       "layers." + std::to_string(layer) + ".router", name,
                       options.experts / each, hidden));
  if (each == 1)
    return rows;
  auto attrs = std::make_unique<RepeatAttrs>();
  attrs->each = each;
  return Expr::make(ExprKind::Repeat, {rows}, std::move(attrs));
}
