//===- EditExpert.cpp - another expert in a mixture -----------------------===//
//
// Before:  weight @layers.3.moe.up = stack(a, b)
// After:   weight @layers.3.moe.up = stack(a, b, average(a, b))
//
// Why:     a mixture grows, or an expert that died is made anew.
// Legal:   for a block that matchMoeBlock knows, whose experts nothing else
//          uses.
// Order:   on the imported graph, before experts are expanded.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/EditExpert.h"

#include "ir/ops/MoeBlock.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "passes/upcycle/Banks.h"
#include "passes/upcycle/Layers.h"
#include "passes/upcycle/Neurons.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

namespace {
class EditExpert final : public PassWith<EditExpertOptions> {
public:
  llvm::Error run(Module &module, PassContext &context) override;

private:
  llvm::Error check() const;
  llvm::Error edit(Module &module, MoeBlockView &view);
  llvm::Expected<ExprRef> fresh(const Weight &bank, llvm::StringRef matrix,
                                int64_t neuronAxis, bool bias,
                                int64_t expert) const;
  llvm::Expected<ExprRef> row(const Weight &router, int64_t expert) const;
};
} // namespace

llvm::Error EditExpert::check() const {
  const EditExpertOptions &o = options();
  if (!(o.dropRatio >= 0 && o.dropRatio <= 1))
    return error() << "drop ratio is " << o.dropRatio << ", outside [0, 1]";
  for (auto [name, number] :
       {std::pair("router std", o.routerStd),
        std::pair("noise std", o.noiseStd), std::pair("init std", o.initStd)})
    if (!(number >= 0 && number < 1e6))
      return error() << name << " is " << number << ", expects 0 or more";
  return llvm::Error::success();
}

/// One matrix of the new expert.
llvm::Expected<ExprRef> EditExpert::fresh(const Weight &bank,
                                          llvm::StringRef matrix,
                                          int64_t neuronAxis, bool bias,
                                          int64_t expert) const {
  const EditExpertOptions &o = options();
  std::vector<int64_t> shape;
  for (const Dim &dim : bank.type().shape().drop_front())
    shape.push_back(dim.constant());
  auto name = [&](RandomAttrs &attrs) {
    attrs.seed = o.seed;
    attrs.weight = bank.name;
    attrs.matrix = matrix.str();
    attrs.expert = expert;
  };
  ExprRef expr;
  switch (o.source) {
  case ExpertSource::expert: {
    MOEC_ASSIGN(expr, expertOf(bank, o.from));
    break;
  }
  case ExpertSource::average: {
    MOEC_ASSIGN(expr, meanExpert(bank));
    break;
  }
  case ExpertSource::scratch: {
    if (bias)
      return zeros(shape);
    auto attrs = std::make_unique<NormalAttrs>();
    attrs->shape = shape;
    attrs->deviation = o.initStd;
    name(*attrs);
    MOEC_ASSIGN(expr, Expr::make(ExprKind::Normal, {}, std::move(attrs)));
    break;
  }
  }
  if (bias || o.init == ExpertChange::copy)
    return expr;
  MOEC_ASSIGN(expr, readable(std::move(expr)));
  if (o.init == ExpertChange::noise) {
    auto attrs = std::make_unique<NoiseAttrs>();
    attrs->deviation = o.noiseStd;
    attrs->relative = o.noiseRelative;
    attrs->axis = neuronAxis;
    name(*attrs);
    return Expr::make(ExprKind::Noise, {expr}, std::move(attrs));
  }
  auto attrs = std::make_unique<ResampleAttrs>();
  attrs->axis = neuronAxis;
  attrs->count = int64_t(shape[neuronAxis] * o.dropRatio);
  if (!attrs->count)
    return expr;
  attrs->statistics = o.dropStatistics;
  attrs->set = o.dropSet == DropSet::shared
                   ? bank.name.substr(0, bank.name.rfind('.'))
                   : bank.name;
  name(*attrs);
  return Expr::make(ExprKind::Resample, {expr}, std::move(attrs));
}

/// [1, hidden]: its row of the router.
llvm::Expected<ExprRef> EditExpert::row(const Weight &router,
                                        int64_t expert) const {
  const EditExpertOptions &o = options();
  int64_t hidden = router.type().dim(1).constant();
  int64_t experts = router.type().dim(0).constant();
  std::vector<int64_t> shape{1, hidden};
  switch (o.router) {
  case RouterRow::expert:
    return sliced(router.expr, 0, o.from, 1);
  case RouterRow::average: {
    std::vector<ExprRef> rows;
    for (int64_t i = 0; i < experts; ++i) {
      MOEC_ASSIGN(ExprRef one, sliced(router.expr, 0, i, 1));
      rows.push_back(std::move(one));
    }
    return Expr::make(ExprKind::Average, std::move(rows), nullptr);
  }
  case RouterRow::normal: {
    auto attrs = std::make_unique<NormalAttrs>();
    attrs->shape = shape;
    attrs->deviation = o.routerStd;
    attrs->seed = o.seed;
    attrs->weight = router.name;
    attrs->expert = expert;
    return Expr::make(ExprKind::Normal, {}, std::move(attrs));
  }
  case RouterRow::zero:
    return zeros(shape);
  }
  llvm_unreachable("every row has an expression");
}

/// The vector or matrix with slice `at` of its first axis replaced, or with one
/// more.
static llvm::Expected<ExprRef> withSlice(ExprRef whole, ExprRef slice,
                                         int64_t at) {
  int64_t count = whole->type.dim(0).constant();
  ElementType element = whole->type.element();
  MOEC_ASSIGN(slice, castTo(std::move(slice), element));
  std::vector<ExprRef> parts;
  if (at > 0) {
    MOEC_ASSIGN(ExprRef before, sliced(whole, 0, 0, at));
    parts.push_back(std::move(before));
  }
  parts.push_back(std::move(slice));
  if (at + 1 < count) {
    MOEC_ASSIGN(ExprRef after, sliced(whole, 0, at + 1, count - at - 1));
    parts.push_back(std::move(after));
  }
  return joined(std::move(parts), 0);
}

/// One more expert: logits, counters and, where every expert is taken or takes
/// tokens, pairs are more.
static void widen(Module &module, const MoeBlockView &view, int64_t experts) {
  auto &route = view.route->attrs<RouteAttrs>();
  if (route.select == RouterSelect::all)
    route.k = experts;
  Value logits = view.router->result();
  logits.setType(
      TensorType({logits.type().dim(0), Dim(experts)}, ElementType::f32));
  if (view.count) {
    State *state = view.count->operand(0).state();
    state->type = TensorType({Dim(experts)}, ElementType::i64);
    view.count->operand(0).setType(state->type);
    view.count->result().setType(state->type);
  }
  boundPairs(module, view, experts);
}

llvm::Error EditExpert::edit(Module &module, MoeBlockView &view) {
  const EditExpertOptions &o = options();
  int64_t count = view.expertCount();
  int64_t at = o.expert < 0 ? count : o.expert;
  if (at > count)
    return opError(*view.experts)
           << "has experts 0 to " << count - 1
           << ", so that there is no expert " << at
           << " to replace; the next one would be " << count;
  if (o.from < 0 || o.from >= count)
    return opError(*view.experts)
           << "has experts 0 to " << count - 1
           << ", but the new one is made of expert " << o.from;
  bool more = at == count;
  if (more && view.routeAttrs().groups > 1)
    return opError(*view.route)
           << "has " << view.routeAttrs().groups << " groups of "
           << count / view.routeAttrs().groups
           << " experts, which one more would leave uneven";
  MoeWeights weights = view.weights();
  for (Value value : {weights.router, weights.routerBias, weights.selectBias})
    if (value && (!value.weight() || !value.hasOneUse()))
      return opError(*view.router)
             << "has a router that is no weight of its own";
  const FfnAttrs &ffn = view.ffnAttrs();
  llvm::SmallVector<std::pair<Weight *, ExprRef>> changed;
  for (auto [i, value] : llvm::enumerate(weights.experts)) {
    Weight *bank = value.weight();
    if (!bank || !value.hasOneUse())
      return opError(*view.experts)
             << "has experts that are no weights of its own";
    bool bias = i >= ffn.numWeights();
    unsigned which = i % ffn.numWeights() + (ffn.gated ? 0 : 1);
    static constexpr llvm::StringLiteral names[] = {"gate", "up", "down"};
    MOEC_ASSIGN(ExprRef made,
                fresh(*bank, names[which], which == 2 ? 1 : 0, bias, at));
    // No expression makes quantised blocks, so that such a bank becomes f32.
    ElementType element = bank->type().element();
    if (isBlockQuantized(element))
      element = ElementType::f32;
    std::vector<ExprRef> experts;
    for (int64_t expert = 0; expert < count + more; ++expert) {
      ExprRef one = made;
      if (expert != at) {
        MOEC_ASSIGN(one, expertOf(*bank, expert));
      }
      MOEC_ASSIGN(one, readable(std::move(one)));
      MOEC_ASSIGN(one, castTo(std::move(one), element));
      experts.push_back(std::move(one));
    }
    MOEC_ASSIGN(ExprRef stack,
                Expr::make(ExprKind::Stack, std::move(experts), nullptr));
    changed.emplace_back(bank, std::move(stack));
  }
  MOEC_ASSIGN(ExprRef made, row(*weights.router.weight(), at));
  MOEC_ASSIGN(ExprRef router,
              withSlice(weights.router.weight()->expr, std::move(made), at));
  changed.emplace_back(weights.router.weight(), std::move(router));
  for (Value bias : {weights.routerBias, weights.selectBias})
    if (bias) {
      MOEC_ASSIGN(ExprRef zero, zeros({1}));
      MOEC_ASSIGN(ExprRef longer,
                  withSlice(bias.weight()->expr, std::move(zero), at));
      changed.emplace_back(bias.weight(), std::move(longer));
    }
  for (auto &[weight, expr] : changed)
    module.redefine(weight, std::move(expr));
  if (more)
    widen(module, view, count + 1);
  return llvm::Error::success();
}

llvm::Error EditExpert::run(Module &module, PassContext &context) {
  MOEC_TRY(check());
  for (auto &program : module.programs()) {
    std::vector<Operation *> layers = feedForwardLayers(*program);
    int64_t layer = options().layer;
    if (layer < 0 || layer >= int64_t(layers.size()))
      return error(program->loc)
             << "layer is " << layer << ", but the model has layers 0 to "
             << int64_t(layers.size()) - 1;
    auto view = matchMoeBlock(*layers[layer]);
    if (!view)
      return opError(*layers[layer])
             << "is layer " << layer << ", which has no experts to edit";
    MOEC_TRY(edit(module, *view));
    context.count("edited");
  }
  int64_t most = 0;
  for (auto &program : module.programs())
    for (const MoeBlockView &view : moeBlocks(*program))
      most = std::max(most, view.expertCount());
  module.facts[facts::kExperts] = std::to_string(most);
  module.facts.erase("upcycle.exactness");
  std::string &edits = module.facts["upcycle.edits"];
  edits += (edits.empty() ? "" : " ") + options().str();
  return llvm::Error::success();
}

std::unique_ptr<Pass> moec::createEditExpert() {
  return std::make_unique<EditExpert>();
}
