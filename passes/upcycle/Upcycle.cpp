//===- Upcycle.cpp - feed-forward nodes become routed experts -------------===//
//
// Before:  %y = ffn %x, @gate, @up, @down
// After:   %s = linear %x, @router
//          %offsets, %expert, %weight = moe.route %s {k = 2, ...}
//          %e = moe.experts %x, %offsets, %expert, @gates, @ups, @downs
//          %y = moe.combine %e, %offsets, %weight
//
// Why:     capacity without the price of training it from nothing.
// Legal:   for every ffn of the chosen layers. Weights are expressions over the
//          dense ones; nothing is computed here.
// Order:   on the imported graph, before ffn is expanded.
//
//===----------------------------------------------------------------------===//

#include "passes/upcycle/Upcycle.h"

#include "ir/ops/MoeBlock.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "passes/upcycle/CheckOptions.h"
#include "passes/upcycle/Exactness.h"
#include "passes/upcycle/Layers.h"
#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/RouteOptions.h"
#include "passes/upcycle/Scaling.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

using namespace moec;

namespace {
class Upcycler {
public:
  Upcycler(Module &module, const UpcycleOptions &options, PassContext &context)
      : module(module), options(options), context(context) {}

  llvm::Error rewrite(Program &program, Operation &ffn, int64_t layer);
  llvm::Error finish(Program &program, llvm::ArrayRef<Weight *> originals);
  /// What one more block promises.
  void weaken(Exactness block) {
    promise = promise ? weaker(*promise, block) : std::move(block);
  }

private:
  llvm::Error checkNames(const Program &program, const Operation &ffn,
                         const std::string &base, int64_t layer) const;
  void warn(const Operation &op, const DenseFfn &ffn) const;
  llvm::Expected<Value> add(std::string name, ExprRef expr, ElementType element,
                            const Location &loc);
  llvm::Expected<Value> bank(const DenseFfn &ffn, const DenseMatrix &matrix,
                             double factor);
  llvm::Error addRouter(MoeWeights &weights, const std::string &base,
                        int64_t layer, int64_t hidden, const Location &loc);
  llvm::Error addShared(MoeWeights &weights, const DenseFfn &ffn,
                        DenseMatrix matrix);
  llvm::Error addAdapters(MoeWeights &weights, const std::string &base,
                          const Operation &ffn);
  llvm::Error place(Program &program, Operation &ffn, int64_t layer,
                    const MoeWeights &weights);

  Module &module;
  const UpcycleOptions &options;
  PassContext &context;
  /// The weights of the nodes that were rewritten.
  llvm::SmallVector<Weight *> used;
  std::optional<Exactness> promise;
};

class Upcycle final : public PassWith<UpcycleOptions> {
public:
  llvm::Error run(Module &module, PassContext &context) override;
};
} // namespace

/// What is allowed but seldom meant.
void Upcycler::warn(const Operation &op, const DenseFfn &ffn) const {
  RouteAttrs route = routeAttrs(options);
  int64_t g = options.granularity;
  bool ranked = route.select == RouterSelect::topk;
  if (options.init == InitPolicy::virtual_group && ranked && route.k % g)
    context.remark(op, "loses slices of the FFN: top_k " +
                           llvm::Twine(route.k) +
                           " is no multiple of granularity " + llvm::Twine(g) +
                           ", so that of a token's last copy only " +
                           llvm::Twine(route.k % g) + " of " + llvm::Twine(g) +
                           " slices are computed; take top_k " +
                           llvm::Twine((route.k / g + 1) * g));
  if (options.routerInit == RouterInit::zero && ranked &&
      route.k < options.experts)
    context.remark(op, "gets a router of zeros, so that ties decide: every "
                       "token goes to experts 0 to " +
                           llvm::Twine(route.k - 1) +
                           " until the router is trained; router_init=normal "
                           "shares them out");
  if (options.init == InitPolicy::split && ranked && route.k < options.experts)
    context.remark(op, "is computed in part: a token takes " +
                           llvm::Twine(route.k) + " of " +
                           llvm::Twine(options.experts) +
                           " slices of the FFN, and there are no copies");
  if (options.init == InitPolicy::btx &&
      options.experts % (donorCount(module) + 1))
    context.remark(op, "shares " + llvm::Twine(options.experts) +
                           " experts unevenly among " +
                           llvm::Twine(donorCount(module) + 1) +
                           " dense models");
}

/// Adds a weight in an element type that expressions can make.
llvm::Expected<Value> Upcycler::add(std::string name, ExprRef expr,
                                    ElementType element, const Location &loc) {
  MOEC_ASSIGN(expr, castTo(std::move(expr), element));
  return module.addWeight(std::move(name), std::move(expr), loc)->value();
}

/// [experts, ...]: one matrix (or bias) of all experts.
llvm::Expected<Value> Upcycler::bank(const DenseFfn &ffn,
                                     const DenseMatrix &matrix, double factor) {
  static constexpr InitExpert policies[] = {
      copyExpert,  noiseExpert,    dropExpert,  virtualGroupExpert,
      splitExpert, shuffledExpert, donorExpert, scratchExpert};
  std::vector<ExprRef> experts;
  for (int64_t expert = 0; expert < options.experts; ++expert) {
    MOEC_ASSIGN(ExprRef expr,
                policies[unsigned(options.init)](ffn, matrix, expert));
    if (options.then == ThenPolicy::drop) {
      MOEC_ASSIGN(expr, redrawn(ffn, matrix, std::move(expr), expert));
    } else if (options.then == ThenPolicy::noise) {
      MOEC_ASSIGN(expr, noisy(ffn, matrix, std::move(expr), expert));
    }
    if (factor != 1) {
      MOEC_ASSIGN(expr, readable(std::move(expr)));
      MOEC_ASSIGN(expr, scaled(std::move(expr), factor));
    }
    // What is copied whole may stay in quantised blocks.
    if (expr->type.element() != matrix.element()) {
      MOEC_ASSIGN(expr, castTo(std::move(expr), matrix.element()));
    }
    experts.push_back(std::move(expr));
  }
  MOEC_ASSIGN(ExprRef stacked,
              Expr::make(ExprKind::Stack, std::move(experts), nullptr));
  return module.addWeight(matrix.bank, stacked, matrix.weight->loc)->value();
}

/// What an ffn becomes has names of its own.
llvm::Error Upcycler::checkNames(const Program &program, const Operation &ffn,
                                 const std::string &base, int64_t layer) const {
  for (const char *part :
       {".router", ".first.router", ".router.bias", ".select_bias", ".gate",
        ".up", ".down", ".gate.bias", ".up.bias", ".down.bias", ".shared.gate",
        ".shared.up", ".shared.down", ".shared.gate.bias", ".shared.up.bias",
        ".shared.down.bias", ".shared.router"})
    if (module.findWeight(base + part))
      return opError(ffn) << "becomes '" << base
                          << "', but the module has the weight '" << base
                          << part << "'";
  std::string suffix = "." + std::to_string(layer);
  std::string counts = "moe.counts" + suffix;
  if (module.findDim("pairs" + suffix))
    return opError(ffn) << "becomes '" << base
                        << "', but the module has the dimension 'pairs"
                        << suffix << "'";
  if (module.findState(counts) || program.argument(counts))
    return opError(ffn) << "becomes '" << base
                        << "', but the module has a state or an argument '"
                        << counts << "'";
  return llvm::Error::success();
}

llvm::Error Upcycler::addRouter(MoeWeights &weights, const std::string &base,
                                int64_t layer, int64_t hidden,
                                const Location &loc) {
  auto addZeros = [&](const char *part) -> llvm::Expected<Value> {
    MOEC_ASSIGN(ExprRef zero, zeros({options.experts}));
    return add(base + part, std::move(zero), ElementType::f32, loc);
  };
  int64_t width = hidden;
  if (options.routerForm == RouterForm::tanh) {
    std::string name = base + ".first.router";
    MOEC_ASSIGN(ExprRef first,
                initFirstRouter(options, module, layer, name, hidden));
    MOEC_ASSIGN(weights.firstRouter,
                add(name, std::move(first), ElementType::f32, loc));
    width = options.experts;
  }
  MOEC_ASSIGN(ExprRef router,
              initRouter(options, module, layer, base + ".router", width));
  MOEC_ASSIGN(weights.router,
              add(base + ".router", std::move(router), ElementType::f32, loc));
  if (options.routerBias) {
    MOEC_ASSIGN(weights.routerBias, addZeros(".router.bias"));
  }
  if (options.selectBias) {
    MOEC_ASSIGN(weights.selectBias, addZeros(".select_bias"));
  }
  if (options.sharedGate) {
    MOEC_ASSIGN(ExprRef gate, zeros({1, hidden}));
    MOEC_ASSIGN(
        weights.sharedRouter,
        add(base + ".shared.router", std::move(gate), ElementType::f32, loc));
  }
  return llvm::Error::success();
}

llvm::Error Upcycler::addShared(MoeWeights &weights, const DenseFfn &ffn,
                                DenseMatrix matrix) {
  matrix.bank =
      ffn.base + ".shared." + matrix.matrix + (matrix.bias ? ".bias" : "");
  MOEC_ASSIGN(ExprRef expr, sharedMatrix(ffn, matrix));
  double factor = matrix.matrix == "down" ? sharedFactor(options) : 1;
  if (factor != 1) {
    MOEC_ASSIGN(expr, readable(std::move(expr)));
    MOEC_ASSIGN(expr, scaled(std::move(expr), factor));
  }
  if (expr->type.element() != matrix.element()) {
    MOEC_ASSIGN(expr, castTo(std::move(expr), matrix.element()));
  }
  weights.shared.push_back(
      module.addWeight(matrix.bank, expr, matrix.weight->loc)->value());
  return llvm::Error::success();
}

/// PESC (spec 4.14): expert e adds s U_e gelu(D_e y) to the dense FFN's y.
llvm::Error Upcycler::addAdapters(MoeWeights &weights, const std::string &base,
                                  const Operation &ffn) {
  int64_t hidden = ffn.result().type().dim(1).constant();
  ElementType element =
      ffn.operand(ffn.attrs<FfnAttrs>().numWeights()).type().element();
  for (const char *matrix : {"up", "down"}) {
    bool up = llvm::StringRef(matrix) == "up";
    std::string name = base + "." + matrix;
    std::vector<ExprRef> experts;
    for (int64_t expert = 0; expert < options.experts; ++expert) {
      std::vector<int64_t> shape{up ? options.rank : hidden,
                                 up ? hidden : options.rank};
      if (!up && options.adapterInit == AdapterInit::zero) {
        MOEC_ASSIGN(ExprRef zero, zeros(shape));
        MOEC_ASSIGN(zero, castTo(std::move(zero), element));
        experts.push_back(std::move(zero));
        continue;
      }
      auto attrs = std::make_unique<NormalAttrs>();
      attrs->shape = std::move(shape);
      attrs->deviation = options.initStd;
      attrs->seed = options.seed;
      attrs->weight = name;
      attrs->matrix = matrix;
      attrs->expert = expert;
      MOEC_ASSIGN(ExprRef drawn,
                  Expr::make(ExprKind::Normal, {}, std::move(attrs)));
      MOEC_ASSIGN(drawn,
                  scaled(std::move(drawn), up ? 1 : options.adapterScale));
      MOEC_ASSIGN(drawn, castTo(std::move(drawn), element));
      experts.push_back(std::move(drawn));
    }
    MOEC_ASSIGN(ExprRef stacked,
                Expr::make(ExprKind::Stack, std::move(experts), nullptr));
    weights.experts.push_back(
        module.addWeight(name, stacked, ffn.loc())->value());
  }
  return llvm::Error::success();
}

/// The experts' outputs are added as they are.
static void dropWeights(const Operation &route, MoeBlock &block) {
  Operation *combine = route.result(2).users()[0];
  Builder b(combine);
  b.setLoc(combine->loc());
  Value sum =
      b.make(OpKind::MoeCombine, {combine->operand(0), combine->operand(1)},
             combine->result().type());
  if (block.output == combine->result())
    block.output = sum;
  combine->result().replaceAllUsesWith(sum);
  combine->erase();
}

/// Puts the block into the program, in the place of the ffn or behind it.
llvm::Error Upcycler::place(Program &program, Operation &ffn, int64_t layer,
                            const MoeWeights &weights) {
  bool adapters = options.init == InitPolicy::low_rank;
  FfnAttrs attrs = ffn.attrs<FfnAttrs>();
  if (adapters) {
    attrs.gated = attrs.biased = false;
    attrs.fn = ActivationFn::gelu_erf;
  }
  attrs.weightedHidden = options.weightAppliedTo == WeightAppliedTo::hidden;
  Value x = ffn.operand(0), dense = ffn.result();
  llvm::SmallVector<Operation *> users(dense.users());
  Builder b(adapters ? ffn.next() : &ffn);
  b.setLoc(
      Location::ofObject("model.layers." + std::to_string(layer) + ".moe"));
  MoeBlock block =
      buildMoeBlock(b, module, program, adapters ? dense : x, weights,
                    routeAttrs(options), attrs, layer, adapters ? x : Value());
  returnState(program, block.counts, block.counted);
  // Groups and thresholds that do not fit are the route's to tell.
  Operation *route = block.counted.definingOp()->operand(1).definingOp();
  MOEC_TRY(withNote(infoOf(route->kind()).verify(*route), ffn.loc(),
                    "the router of what becomes experts"));
  if (options.weightAppliedTo == WeightAppliedTo::none)
    dropWeights(*route, block);
  Value y = block.output;
  if (adapters) {
    y = b.make(OpKind::Add, {dense, y}, dense.type());
    for (Operation *user : users)
      for (unsigned i = 0; i < user->numOperands(); ++i)
        if (user->operand(i) == dense)
          user->setOperand(i, y);
  } else {
    dense.replaceAllUsesWith(y);
    ffn.erase();
  }
  return llvm::Error::success();
}

llvm::Error Upcycler::rewrite(Program &program, Operation &ffn, int64_t layer) {
  const auto attrs = ffn.attrs<FfnAttrs>();
  std::string base = "layers." + std::to_string(layer) + ".moe";
  Location loc = Location::ofObject("model." + base);
  MOEC_TRY(checkNames(program, ffn, base, layer));
  for (unsigned i = 1; i < ffn.numOperands(); ++i)
    if (!ffn.operand(i).weight())
      return opError(ffn) << "has an operand that is no weight of the module";
  unsigned count = attrs.numWeights();
  DenseFfn dense{options, module, ffn, layer, base};
  dense.width = ffn.operand(count).type().dim(1).constant();
  MoeWeights weights;
  MOEC_TRY(addRouter(weights, base, layer,
                     ffn.operand(0).type().dim(1).constant(), loc));
  if (options.init == InitPolicy::low_rank) {
    warn(ffn, dense);
    MOEC_TRY(addAdapters(weights, base, ffn));
  } else {
    MOEC_TRY(fitWidths(dense));
    warn(ffn, dense);
    bool whole = hasShared(options) && dense.sharedWidth == dense.width;
    auto scale = expertScale(options, attrs, routedPart(options, whole));
    if (!scale)
      return opError(ffn) << "cannot make up for the router by scaling="
                          << enumNames(
                                 options.scaling)[unsigned(options.scaling)]
                          << ": under router rows of zero its weights are zero "
                             "or not equal; "
                             "give weight_scale, or scaling=none";
    for (unsigned i = 0; i < ffn.numOperands() - 1; ++i) {
      bool bias = i >= count;
      unsigned which = i % count + (attrs.gated ? 0 : 1);
      static constexpr const char *names[] = {"gate", "up", "down"};
      DenseMatrix matrix{ffn.operand(1 + i).weight(), names[which],
                         base + "." + names[which] + (bias ? ".bias" : ""),
                         which != 2 ? 0
                         : bias     ? -1
                                    : 1,
                         bias};
      MOEC_ASSIGN(Value stacked,
                  bank(dense, matrix, scale->of(matrix.matrix, bias)));
      weights.experts.push_back(stacked);
      used.push_back(matrix.weight);
      if (hasShared(options))
        MOEC_TRY(addShared(weights, dense, matrix));
    }
  }
  weaken(promisedExactness(options, attrs, ffn.operand(count).type().element(),
                           dense.width));
  return place(program, ffn, layer, weights);
}

llvm::Error Upcycler::finish(Program &program,
                             llvm::ArrayRef<Weight *> originals) {
  auto &known = module.facts;
  known[facts::kExperts] = std::to_string(options.experts);
  known[facts::kTopk] = std::to_string(routeAttrs(options).k);
  // The whole recipe, so that what was done can be done again; other layers may
  // have been upcycled before.
  std::string &done = known["upcycle.options"];
  if (!done.empty()) {
    std::string &earlier = known["upcycle.options.earlier"];
    earlier += (earlier.empty() ? "" : " ") + done;
  }
  done = options.str();
  if (promise)
    known["upcycle.exactness"] =
        enumNames(promise->kind)[unsigned(promise->kind)].str();
  if (options.init != InitPolicy::btx)
    return llvm::Error::success();
  std::vector<Weight *> rest;
  for (Weight *weight : originals)
    if (!llvm::is_contained(used, weight))
      rest.push_back(weight);
  return averageDonors(module, rest, *program.body().terminator(), context);
}

llvm::Error Upcycle::run(Module &module, PassContext &context) {
  MOEC_TRY(checkOptions(options()));
  if (options().init == InitPolicy::btx && !donorCount(module))
    return error() << "init=btx mixes several dense models, but the module "
                      "holds one: it has no weights 'donor.1.<name>'";
  if (options().init == InitPolicy::btx &&
      donorCount(module) + 1 > options().experts)
    return error() << "init=btx has " << donorCount(module) + 1
                   << " dense models for " << options().experts << " experts";
  std::vector<Weight *> originals;
  for (auto &weight : module.weights())
    if (!llvm::StringRef(weight->name).starts_with("donor."))
      originals.push_back(weight.get());
  Upcycler upcycler(module, options(), context);
  Program *last = nullptr;
  for (auto &program : module.programs()) {
    std::vector<Operation *> nodes = feedForwardLayers(*program);
    MOEC_ASSIGN(std::set<int64_t> layers,
                parseLayers(options().layers, nodes.size()));
    for (int64_t layer : layers) {
      if (!nodes[layer]->is(OpKind::Ffn))
        return opError(*nodes[layer])
               << "is layer " << layer
               << ", which has experts already; upcycle a dense model, or name "
                  "other layers";
      MOEC_TRY(upcycler.rewrite(*program, *nodes[layer], layer));
      if (options().attention == AttentionInit::mixture) {
        MOEC_ASSIGN(const Operation *attention,
                    mixHeads(module, *program, layer, options(), context));
        upcycler.weaken(promisedMixture(options(), *attention));
      }
      context.count("upcycled");
    }
    if (nodes.empty())
      context.remark(*program->body().terminator(),
                     "program has no ffn to rewrite");
    last = program.get();
  }
  return last ? upcycler.finish(*last, originals) : llvm::Error::success();
}

std::unique_ptr<Pass> moec::createUpcycle() {
  return std::make_unique<Upcycle>();
}
