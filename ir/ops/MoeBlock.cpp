#include "ir/ops/MoeBlock.h"

using namespace moec;

MoeBlock moec::buildMoeBlock(Builder &b, Module &module, Program &program,
                             Value x, const MoeWeights &weights,
                             const RouteAttrs &route, const FfnAttrs &ffn,
                             int64_t layer) {
  std::string suffix = "." + std::to_string(layer);
  Dim tokens = x.type().dim(0), experts = weights.router.type().dim(0);
  Dim pairs = module.addRagged("pairs" + suffix,
                               Polynomial(route.k) * tokens.polynomial());
  MoeBlock result;
  result.counts = module.addState("moe.counts" + suffix, StateKind::counter,
                                  TensorType({experts}, ElementType::i64));
  Value before = program.body().addArgument(result.counts->type,
                                            result.counts->name, result.counts);

  Value logits = b.make(OpKind::Linear, {x, weights.router},
                        TensorType({tokens, experts}, ElementType::f32));
  llvm::SmallVector<Value, 2> scored{logits};
  if (weights.selectBias)
    scored.push_back(weights.selectBias);
  Operation *routed =
      b.create(OpKind::MoeRoute, scored,
               {TensorType({Dim(tokens.symbol(), tokens.addend() + 1)},
                           ElementType::i32),
                TensorType({pairs}, ElementType::i32),
                TensorType({pairs}, ElementType::f32)},
               std::make_unique<RouteAttrs>(route));
  Value offsets = routed->result(0), expert = routed->result(1);
  result.counted =
      b.make(OpKind::MoeCount, {before, expert}, result.counts->type);
  result.counted.setState(result.counts);
  result.counted.setHint(result.counts->name);
  llvm::SmallVector<Value, 9> operands{x, offsets, expert};
  operands.append(weights.experts);
  Value y = b.make(OpKind::MoeExperts, operands,
                   TensorType({pairs, x.type().dim(1)}, ElementType::f32), ffn);
  result.output =
      b.make(OpKind::MoeCombine, {y, offsets, routed->result(2)}, x.type());
  return result;
}

void moec::returnState(Program &program, State *state, Value last) {
  program.body().terminator()->addOperand(last);
  program.resultNames.push_back(state->name);
}
