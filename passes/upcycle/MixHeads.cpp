//===- MixHeads.cpp - attention heads as experts --------------------------===//
//
// Before:  %a = attention %q, ...            (q a projection of %x)
//          %y = linear %a, @o
// After:   %s = linear %x, @layers.3.attention.router
//          %offsets, %expert, %weight = moe.route %s {k = N, select = all}
//          %g = moe.gate_heads %a, %offsets, %expert, %weight
//          %y = linear %g, @o'               (o' = N o with scaling)
//
// DS-MoE (spec 3.3): heads that share a KV head are one each of N experts,
// whose softmax scores multiply the heads' outputs. Equal scores are 1/N, which
// the factor N in o makes up for.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/ops/AttentionOps.h"
#include "ir/ops/OpInfo.h"
#include "passes/driver/Pass.h"
#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"
#include "llvm/ADT/Twine.h"

using namespace moec;

/// What the projection of the queries reads; null where there is none.
static Value projected(Value query) {
  while (Operation *op = query.definingOp()) {
    query = op->operand(0);
    if (op->is(OpKind::Linear))
      return query;
  }
  return {};
}

int64_t moec::headExperts(const Operation &attention,
                          const UpcycleOptions &options) {
  if (options.attentionExperts)
    return options.attentionExperts;
  // The cache is [blocks, KV heads, width, block].
  Dim kvHeads = attention.operand(1).type().dim(1);
  return kvHeads.isConstant() && kvHeads.constant() > 0
             ? attention.attrs<AttentionAttrs>().heads / kvHeads.constant()
             : 0;
}

llvm::Expected<const Operation *>
moec::mixHeads(Module &module, Program &program, int64_t layer,
               const UpcycleOptions &options, PassContext &context) {
  int64_t number = 0;
  Operation *attention = nullptr;
  for (Operation &op : program.body().ops())
    if (op.is(OpKind::Attention) && number++ == layer)
      attention = &op;
  if (!attention)
    return error() << "attention=mixture finds no attention in layer " << layer;
  int64_t heads = attention->attrs<AttentionAttrs>().heads;
  int64_t experts = headExperts(*attention, options);
  if (experts < 2 || heads % experts)
    return opError(*attention)
           << "has " << heads << " heads, which cannot be " << experts
           << " experts"
           << (options.attentionExperts
                   ? ""
                   : ", one for each of those that share a KV head; give "
                     "attention_experts");
  int64_t topk = options.attentionTopk ? options.attentionTopk : experts;
  if (topk > experts)
    return opError(*attention)
           << "is to take " << topk << " experts, but has " << experts;
  Value mixed = attention->result(), x = projected(attention->operand(0));
  if (!x || !mixed.hasOneUse() || !mixed.users()[0]->is(OpKind::Linear) ||
      !mixed.users()[0]->operand(1).weight())
    return opError(*attention) << "is not between linear projections";
  Operation *out = mixed.users()[0];
  std::string base = "layers." + std::to_string(layer) + ".attention";
  std::string name = base + ".router";
  if (module.findWeight(name) || module.findDim("pairs." + base))
    return opError(*attention)
           << "becomes a mixture, but the module has '" << base << "' already";

  UpcycleOptions own = options;
  own.experts = experts;
  own.init = InitPolicy::copy;
  if (own.routerInit == RouterInit::calibrated) // For the FFN's experts.
    own.routerInit = RouterInit::zero;
  Location loc = Location::ofObject("model." + base);
  MOEC_ASSIGN(ExprRef rows,
              initRouter(own, module, layer, name, x.type().dim(1).constant()));
  Value router = module.addWeight(name, rows, loc)->value();
  RouteAttrs route;
  route.k = topk;
  route.select = topk == experts ? RouterSelect::all : RouterSelect::topk;
  Builder b(out);
  b.setLoc(loc);
  Dim tokens = x.type().dim(0);
  Dim pairs = module.addRagged(
      "pairs." + base, routePairsBound(route, experts, tokens.polynomial()));
  Value logits = b.make(OpKind::Linear, {x, router},
                        TensorType({tokens, Dim(experts)}, ElementType::f32));
  Operation *chosen =
      b.create(OpKind::MoeRoute, {logits},
               {TensorType({Dim(tokens.symbol(), tokens.addend() + 1)},
                           ElementType::i32),
                TensorType({pairs}, ElementType::i32),
                TensorType({pairs}, ElementType::f32)},
               std::make_unique<RouteAttrs>(route));
  GateHeadsAttrs gate;
  gate.heads = heads;
  gate.experts = experts;
  Value gated =
      b.make(OpKind::MoeGateHeads,
             {mixed, chosen->result(0), chosen->result(1), chosen->result(2)},
             mixed.type(), gate);
  out->setOperand(0, gated);
  if (options.scaling != WeightScaling::none) {
    Weight *o = out->operand(1).weight();
    ElementType element = o->type().element();
    MOEC_ASSIGN(ExprRef expr, readable(o->expr));
    MOEC_ASSIGN(expr, scaled(std::move(expr), double(experts)));
    MOEC_ASSIGN(expr, castTo(std::move(expr), element));
    module.redefine(o, std::move(expr));
  }
  context.count("mixed");
  return attention;
}
