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
#include "runtime/schema/Facts.h"
#include "llvm/ADT/StringExtras.h"

#include <set>

using namespace moec;

llvm::Expected<ExprRef> moec::refTo(Weight *weight) {
  return Expr::make(ExprKind::Ref, {}, nullptr, weight);
}

static llvm::Expected<std::set<int64_t>> parseLayers(llvm::StringRef text,
                                                     int64_t layers) {
  std::set<int64_t> chosen;
  llvm::SmallVector<llvm::StringRef> parts;
  if (text == "all")
    for (int64_t layer = 0; layer < layers; ++layer)
      chosen.insert(layer);
  else
    text.split(parts, ',');
  for (llvm::StringRef part : parts) {
    auto [from, to] = part.split('-');
    int64_t first, last;
    if (from.getAsInteger(10, first) ||
        (to.empty() ? (last = first, part.contains('-'))
                    : to.getAsInteger(10, last)))
      return error() << "layers is '" << text
                     << "', expects 'all' or a list such as 0-11,13";
    if (first < 0 || last < first || last >= layers)
      return error() << "layers names '" << part
                     << "', but the model has layers 0 to " << layers - 1;
    for (int64_t layer = first; layer <= last; ++layer)
      chosen.insert(layer);
  }
  return chosen;
}

namespace {
class Upcycler {
public:
  Upcycler(Module &module, const UpcycleOptions &options)
      : module(module), options(options) {}

  llvm::Error check() const;
  llvm::Error rewrite(Program &program, Operation &ffn, int64_t layer);
  void addFacts();

private:
  llvm::Error checkNames(const Program &program, const Operation &ffn,
                         const std::string &base, int64_t layer) const;
  llvm::Expected<Value> bank(const ExpertMatrix &matrix, bool bias);
  RouteAttrs route() const;

  Module &module;
  const UpcycleOptions &options;
};

class Upcycle final : public PassWith<UpcycleOptions> {
public:
  llvm::Error run(Module &module, PassContext &context) override;
};
} // namespace

llvm::Error Upcycler::check() const {
  if (options.experts < 1 || options.experts > 4096)
    return error() << "experts is " << options.experts << ", expects 1 to 4096";
  if (options.topk < 1 || options.topk > options.experts)
    return error() << "top-k is " << options.topk << ", but there are "
                   << options.experts << " experts";
  if (unsigned(options.init) > 2 || unsigned(options.router) > 2 ||
      unsigned(options.routerInit) > 2)
    return error() << "this policy has no expressions yet";
  for (auto [name, ratio] : {std::pair("drop ratio", options.dropRatio),
                             std::pair("noise ratio", options.noiseRatio)})
    if (!(ratio >= 0 && ratio <= 1))
      return error() << name << " is " << formatDouble(ratio)
                     << ", outside [0, 1]";
  for (auto [name, deviation] : {std::pair("router std", options.routerStd),
                                 std::pair("noise std", options.noiseStd)})
    if (!(deviation >= 0 && deviation < 1e6))
      return error() << name << " is " << formatDouble(deviation)
                     << ", expects 0 or more";
  return llvm::Error::success();
}

RouteAttrs Upcycler::route() const {
  RouteAttrs attrs;
  attrs.k = options.topk;
  attrs.renorm = options.router == RouterKind::softmax_topk_renorm
                     ? RouterRenorm::sum
                 : options.router == RouterKind::topk_softmax
                     ? RouterRenorm::softmax_selected
                     : RouterRenorm::none;
  return attrs;
}

/// [experts, ...]: one matrix (or bias) of all experts.
llvm::Expected<Value> Upcycler::bank(const ExpertMatrix &matrix, bool bias) {
  static constexpr InitExpert policies[] = {copyExpert, noiseExpert,
                                            dropExpert};
  std::vector<ExprRef> experts;
  for (int64_t expert = 0; expert < options.experts; ++expert) {
    // Biases are carried over as they are.
    InitExpert init = bias ? copyExpert : policies[unsigned(options.init)];
    MOEC_ASSIGN(ExprRef expr, init(options, matrix, expert));
    ElementType element = matrix.dense->type().element();
    if (expr->type.element() != element) {
      auto attrs = std::make_unique<ElementAttrs>();
      attrs->element = element;
      MOEC_ASSIGN(expr, Expr::make(ExprKind::Cast, {expr}, std::move(attrs)));
    }
    experts.push_back(std::move(expr));
  }
  MOEC_ASSIGN(ExprRef stacked,
              Expr::make(ExprKind::Stack, std::move(experts), nullptr));
  return module.addWeight(matrix.bank, stacked, matrix.dense->loc)->value();
}

/// What an ffn becomes has names of its own.
llvm::Error Upcycler::checkNames(const Program &program, const Operation &ffn,
                                 const std::string &base, int64_t layer) const {
  for (const char *part : {".router", ".gate", ".up", ".down", ".gate.bias",
                           ".up.bias", ".down.bias"})
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

llvm::Error Upcycler::rewrite(Program &program, Operation &ffn, int64_t layer) {
  const auto attrs = ffn.attrs<FfnAttrs>();
  std::string base = "layers." + std::to_string(layer) + ".moe";
  Value x = ffn.operand(0);
  Builder b(&ffn);
  b.setLoc(Location::ofObject("model." + base));
  MoeWeights weights;
  MOEC_TRY(checkNames(program, ffn, base, layer));
  MOEC_ASSIGN(ExprRef router, initRouter(options, base + ".router",
                                         x.type().dim(1).constant()));
  weights.router = module.addWeight(base + ".router", router, b.loc())->value();
  unsigned count = attrs.numWeights();
  for (unsigned i = 0; i < ffn.numOperands() - 1; ++i) {
    Value operand = ffn.operand(1 + i);
    if (!operand.weight())
      return opError(ffn) << "has an operand that is no weight of the module";
    bool bias = i >= count;
    unsigned which = i % count + (attrs.gated ? 0 : 1);
    static constexpr const char *names[] = {"gate", "up", "down"};
    ExpertMatrix matrix{operand.weight(), names[which],
                        base + "." + names[which] + (bias ? ".bias" : ""),
                        which == 2 && !bias ? 1 : 0};
    MOEC_ASSIGN(Value stacked, bank(matrix, bias));
    weights.experts.push_back(stacked);
  }
  MoeBlock block =
      buildMoeBlock(b, module, program, x, weights, route(), attrs, layer);
  returnState(program, block.counts, block.counted);
  ffn.result().replaceAllUsesWith(block.output);
  ffn.erase();
  return llvm::Error::success();
}

void Upcycler::addFacts() {
  auto &known = module.facts;
  known[facts::kExperts] = std::to_string(options.experts);
  known[facts::kTopk] = std::to_string(options.topk);
  // The whole recipe, so that what was done can be done again.
  known["upcycle.options"] = options.str();
}

llvm::Error Upcycle::run(Module &module, PassContext &context) {
  Upcycler upcycler(module, options());
  MOEC_TRY(upcycler.check());
  for (auto &program : module.programs()) {
    std::vector<Operation *> nodes;
    for (Operation &op : program->body().ops())
      if (op.is(OpKind::Ffn) || op.is(OpKind::MoeExperts))
        nodes.push_back(&op);
    MOEC_ASSIGN(std::set<int64_t> layers,
                parseLayers(options().layers, nodes.size()));
    for (int64_t layer : layers) {
      if (!nodes[layer]->is(OpKind::Ffn))
        return opError(*nodes[layer])
               << "is layer " << layer
               << ", which has experts already; upcycle a dense model, or name "
                  "other layers";
      MOEC_TRY(upcycler.rewrite(*program, *nodes[layer], layer));
      context.count("upcycled");
    }
    if (nodes.empty())
      context.remark(*program->body().terminator(),
                     "program has no ffn to rewrite");
  }
  upcycler.addFacts();
  return llvm::Error::success();
}

std::unique_ptr<Pass> moec::createUpcycle() {
  return std::make_unique<Upcycle>();
}
