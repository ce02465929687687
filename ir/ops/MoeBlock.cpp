#include "ir/ops/MoeBlock.h"

using namespace moec;

/// The shared FFN's part of the output.
static Value buildShared(const Builder &b, Value x, const MoeWeights &weights,
                         const FfnAttrs &ffn) {
  FfnAttrs attrs = ffn;
  attrs.weightedHidden = false;
  attrs.biased = weights.shared.size() > attrs.numWeights();
  llvm::SmallVector<Value, 7> operands{x};
  operands.append(weights.shared);
  Value y = b.make(OpKind::Ffn, operands,
                   x.type().withElement(ElementType::f32), attrs);
  if (!weights.sharedRouter)
    return y;
  TensorType column({x.type().dim(0), Dim(1)}, ElementType::f32);
  Value gate = b.make(OpKind::Linear, {x, weights.sharedRouter}, column);
  ActivationAttrs sigmoid;
  sigmoid.fn = ActivationFn::sigmoid;
  gate = b.make(OpKind::Activation, {gate}, column, sigmoid);
  return b.make(OpKind::Mul, {y, gate}, y.type());
}

MoeBlock moec::buildMoeBlock(Builder &b, Module &module, Program &program,
                             Value x, const MoeWeights &weights,
                             const RouteAttrs &route, const FfnAttrs &ffn,
                             int64_t layer, Value routed) {
  std::string suffix = "." + std::to_string(layer);
  Dim tokens = x.type().dim(0), experts = weights.router.type().dim(0);
  Dim pairs = module.addRagged(
      "pairs" + suffix,
      routePairsBound(route, experts.constant(), tokens.polynomial()));
  MoeBlock result;
  result.counts = module.addState("moe.counts" + suffix, StateKind::counter,
                                  TensorType({experts}, ElementType::i64));
  Value before = program.body().addArgument(result.counts->type,
                                            result.counts->name, result.counts);

  if (!routed)
    routed = x;
  if (weights.firstRouter) {
    TensorType width({tokens, weights.firstRouter.type().dim(0)},
                     ElementType::f32);
    routed = b.make(OpKind::Linear, {routed, weights.firstRouter}, width);
    ActivationAttrs tanh;
    tanh.fn = ActivationFn::tanh;
    routed = b.make(OpKind::Activation, {routed}, width, tanh);
  }
  llvm::SmallVector<Value, 3> routing{routed, weights.router};
  if (weights.routerBias)
    routing.push_back(weights.routerBias);
  Value logits = b.make(OpKind::Linear, routing,
                        TensorType({tokens, experts}, ElementType::f32));
  llvm::SmallVector<Value, 2> scored{logits};
  if (weights.selectBias)
    scored.push_back(weights.selectBias);
  Operation *chosen =
      b.create(OpKind::MoeRoute, scored,
               {TensorType({Dim(tokens.symbol(), tokens.addend() + 1)},
                           ElementType::i32),
                TensorType({pairs}, ElementType::i32),
                TensorType({pairs}, ElementType::f32)},
               std::make_unique<RouteAttrs>(route));
  Value offsets = chosen->result(0), expert = chosen->result(1);
  Value weight = chosen->result(2);
  result.counted =
      b.make(OpKind::MoeCount, {before, expert}, result.counts->type);
  result.counted.setState(result.counts);
  result.counted.setHint(result.counts->name);
  llvm::SmallVector<Value, 10> operands{x, offsets, expert};
  operands.append(weights.experts);
  llvm::SmallVector<Value, 3> combined{Value(), offsets};
  (ffn.weightedHidden ? operands.push_back(weight)
                      : combined.push_back(weight));
  combined[0] =
      b.make(OpKind::MoeExperts, operands,
             TensorType({pairs, x.type().dim(1)}, ElementType::f32), ffn);
  result.output = b.make(OpKind::MoeCombine, combined, x.type());
  if (!weights.shared.empty()) {
    Value shared = buildShared(b, x, weights, ffn);
    result.output = b.make(OpKind::Add, {result.output, shared}, x.type());
  }
  return result;
}

void moec::returnState(Program &program, State *state, Value last) {
  program.body().terminator()->addOperand(last);
  program.resultNames.push_back(state->name);
}

//===- Matching -----------------------------------------------------------===//

int64_t MoeBlockView::expertCount() const {
  return route->operand(0).type().dim(1).constant();
}

MoeWeights MoeBlockView::weights() const {
  MoeWeights result;
  result.router = router->operand(1);
  if (firstRouter)
    result.firstRouter = firstRouter->operand(1);
  if (router->numOperands() == 3)
    result.routerBias = router->operand(2);
  if (route->numOperands() == 2)
    result.selectBias = route->operand(1);
  unsigned end = experts->numOperands() - ffnAttrs().weightedHidden;
  for (unsigned i = 3; i < end; ++i)
    result.experts.push_back(experts->operand(i));
  for (unsigned i = 1; shared && i < shared->numOperands(); ++i)
    result.shared.push_back(shared->operand(i));
  if (sharedRouter)
    result.sharedRouter = sharedRouter->operand(1);
  return result;
}

/// What defines a value, if it is an op of this kind.
static Operation *definedBy(Value value, OpKind kind) {
  Operation *op = value.definingOp();
  return op && op->is(kind) ? op : nullptr;
}

/// The ffn whose output `value` is, gated or not; sets its part of the view.
static bool matchShared(Value value, MoeBlockView &view) {
  Operation *gate = nullptr;
  if (Operation *mul = definedBy(value, OpKind::Mul)) {
    Operation *activation = definedBy(mul->operand(1), OpKind::Activation);
    if (!activation ||
        activation->attrs<ActivationAttrs>().fn != ActivationFn::sigmoid)
      return false;
    gate = definedBy(activation->operand(0), OpKind::Linear);
    if (!gate || gate->operand(0) != view.input ||
        gate->result().type().dim(1) != Dim(1))
      return false;
    value = mul->operand(0);
  }
  Operation *ffn = definedBy(value, OpKind::Ffn);
  if (!ffn || ffn->operand(0) != view.input)
    return false;
  view.shared = ffn;
  view.sharedRouter = gate;
  return true;
}

/// The first layer of a router of two; null where it has one.
static Operation *matchFirst(const MoeBlockView &view) {
  Operation *tanh = definedBy(view.router->operand(0), OpKind::Activation);
  if (!tanh || tanh->result() == view.input ||
      tanh->attrs<ActivationAttrs>().fn != ActivationFn::tanh)
    return nullptr;
  Operation *first = definedBy(tanh->operand(0), OpKind::Linear);
  return first && first->numOperands() == 2 ? first : nullptr;
}

/// The number behind `prefix`, or between it and a point.
static int64_t layerOf(llvm::StringRef name, llvm::StringRef prefix) {
  int64_t layer;
  if (!name.consume_front(prefix) || name.consumeInteger(10, layer) ||
      layer < 0 || (!name.empty() && name.front() != '.'))
    return -1;
  return layer;
}

std::optional<MoeBlockView> moec::matchMoeBlock(Operation &experts) {
  if (!experts.is(OpKind::MoeExperts))
    return std::nullopt;
  MoeBlockView view;
  view.experts = &experts;
  view.input = experts.operand(0);
  view.route = definedBy(experts.operand(1), OpKind::MoeRoute);
  if (!view.route || experts.operand(1) != view.route->result(0) ||
      experts.operand(2) != view.route->result(1))
    return std::nullopt;
  view.router = definedBy(view.route->operand(0), OpKind::Linear);
  if (!view.router || !experts.result().hasOneUse() ||
      !experts.result().users()[0]->is(OpKind::MoeCombine))
    return std::nullopt;
  view.firstRouter = matchFirst(view);
  view.combine = experts.result().users()[0];
  // The weight applies once at most: to the hidden block or to the output.
  Value weight = view.route->result(2);
  bool hidden = experts.attrs<FfnAttrs>().weightedHidden;
  unsigned last = experts.numOperands() - 1;
  bool output = view.combine->numOperands() == 3;
  if (view.combine->operand(1) != view.route->result(0) ||
      (hidden && (output || experts.operand(last) != weight)) ||
      (output && view.combine->operand(2) != weight))
    return std::nullopt;
  for (Operation *user : view.route->result(1).users())
    if (user->is(OpKind::MoeCount))
      view.count = user;

  view.output = view.combine->result();
  if (view.output.hasOneUse() && view.output.users()[0]->is(OpKind::Add)) {
    Operation *add = view.output.users()[0];
    Value other = add->operand(add->operand(0) == view.output);
    if (other != view.output && matchShared(other, view))
      view.output = add->result();
  }
  if (view.count)
    view.layer = layerOf(view.count->operand(0).state()->name, "moe.counts.");
  if (const Weight *router = view.router->operand(1).weight())
    if (view.layer < 0)
      view.layer = layerOf(router->name, "layers.");
  return view;
}

std::vector<MoeBlockView> moec::moeBlocks(Program &program) {
  std::vector<MoeBlockView> blocks;
  for (Operation &op : program.body().ops())
    if (auto view = matchMoeBlock(op))
      blocks.push_back(std::move(*view));
  return blocks;
}
