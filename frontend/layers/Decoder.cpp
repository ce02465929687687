#include "frontend/layers/Decoder.h"

#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeBlock.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

namespace {
class DecoderBuilder {
public:
  DecoderBuilder(Module &module, const ModelConfig &config,
                 const DecoderOptions &options)
      : module(module), config(config), options(options),
        program(*module.addProgram(facts::kStep)), b(program.body()) {}

  llvm::Error build();

private:
  // Types of activations.
  TensorType rows(int64_t width) const {
    return TensorType({tokens, Dim(width)}, ElementType::f32);
  }
  TensorType index(Dim dim) const {
    return TensorType({dim}, ElementType::i32);
  }

  void addArguments();
  void addFacts();
  void at(const llvm::Twine &object) {
    b.setLoc(Location::ofObject(object.str()));
  }

  llvm::Expected<Value> weight(const llvm::Twine &name) const;
  llvm::Expected<Value> linear(Value x, const llvm::Twine &name, bool biased);
  llvm::Expected<Value> norm(Value x, const llvm::Twine &name);
  llvm::Expected<Value> rmsNorm(Value x, const llvm::Twine &name,
                                double epsilon, int64_t groups = 1);
  llvm::Expected<Value> attention(Value x, int64_t layer);
  llvm::Error project(Value x, const std::string &base, Value &q, Value &k,
                      Value &v);
  llvm::Error expandLatents(Value x, const std::string &base, Value &q,
                            Value &k, Value &v);
  llvm::Error addLayer(Value &x, int64_t layer);
  llvm::Expected<Value> ffn(Value x, int64_t layer);
  llvm::Expected<Value> experts(Value x, int64_t layer);
  Value add(Value a, Value c) { return b.make(OpKind::Add, {a, c}, a.type()); }
  Value scale(Value x, double factor);
  Value softcap(Value x, double cap);
  Value clip(Value x);
  Value joinHeads(Value a, Value c);
  Value rope(Value x, int64_t heads);
  Value append(Value cache, Value x, CacheKind kind);
  ActivationFn activation() const;

  Module &module;
  const ModelConfig &config;
  const DecoderOptions &options;
  Program &program;
  Builder b;
  Dim tokens = int64_t(0), seqs = tokens, table = tokens, logitRows = tokens;
  Value tokenIds, positions, seqOffsets, blockTable, logitRowIds;
  /// Newest version of each state, in the order of the arguments.
  llvm::MapVector<State *, Value> states;
};
} // namespace

ActivationFn DecoderBuilder::activation() const {
  switch (config.activation) {
  case Activation::silu:
    return ActivationFn::silu;
  case Activation::gelu:
    return ActivationFn::gelu_erf;
  case Activation::geluTanh:
    return ActivationFn::gelu_tanh;
  case Activation::quickGelu:
    return ActivationFn::quick_gelu;
  case Activation::relu:
    return ActivationFn::relu;
  case Activation::squaredRelu:
    return ActivationFn::squared_relu;
  }
  llvm_unreachable("every activation has a function");
}

void DecoderBuilder::addArguments() {
  int64_t blocksPerSeq =
      (config.context + options.blockSize - 1) / options.blockSize;
  tokens = module.addDim(facts::kTokens, options.maxTokens);
  seqs = module.addDim(facts::kSeqs, options.maxSeqs);
  table = module.addDim(facts::kTable, blocksPerSeq);
  logitRows = module.addDim(facts::kRows, options.maxTokens);
  Dim blocks = module.addDim(facts::kBlocks, blocksPerSeq * options.maxSeqs);
  Block &body = program.body();
  tokenIds = body.addArgument(index(tokens), facts::kInputTokens);
  positions = body.addArgument(index(tokens), facts::kInputPositions);
  seqOffsets =
      body.addArgument(index(Dim(seqs.symbol(), 1)), facts::kInputSeqOffsets);
  blockTable = body.addArgument(TensorType({seqs, table}, ElementType::i32),
                                facts::kInputBlockTable);
  logitRowIds = body.addArgument(index(logitRows), facts::kInputLogitRows);
  auto addState = [&](std::string name, StateKind kind, TensorType type) {
    State *state = module.addState(name, kind, type);
    states[state] = body.addArgument(type, name, state);
  };
  for (int64_t layer : llvm::seq(config.layers)) {
    std::string suffix = "." + std::to_string(layer);
    addState(
        "kv.k" + suffix, StateKind::kv,
        TensorType({blocks, config.kvHeads, config.headDim, options.blockSize},
                   ElementType::f32));
    addState("kv.v" + suffix, StateKind::kv,
             TensorType({blocks, config.kvHeads, options.blockSize,
                         config.valueWidth()},
                        ElementType::f32));
  }
}

void DecoderBuilder::addFacts() {
  auto &known = module.facts;
  auto set = [&](const char *key, int64_t number) {
    known[key] = std::to_string(number);
  };
  set(facts::kContext, config.context);
  set(facts::kVocabulary, config.vocab);
  set(facts::kBlockSize, options.blockSize);
  set(facts::kLayers, config.layers);
  set(facts::kHidden, config.hidden);
  known[facts::kArchitecture] = familyName(config.family).str();
  if (!config.name.empty())
    known[facts::kName] = config.name;
  if (config.moe) {
    set(facts::kExperts, config.moe->experts);
    set(facts::kTopk, config.moe->route.k);
  }
  if (config.bos)
    set(facts::kBos, *config.bos);
  if (!config.eos.empty()) {
    std::string list;
    for (int64_t id : config.eos)
      list += (list.empty() ? "" : ",") + std::to_string(id);
    known[facts::kEos] = list;
  }
}

llvm::Expected<Value> DecoderBuilder::weight(const llvm::Twine &name) const {
  if (Weight *found = module.findWeight(name.str()))
    return found->value();
  return error(b.loc()) << "needs weight '" << name.str()
                        << "', which the checkpoint does not give";
}

llvm::Expected<Value> DecoderBuilder::linear(Value x, const llvm::Twine &name,
                                             bool biased) {
  std::string base = name.str();
  MOEC_ASSIGN(Value matrix, weight(base));
  llvm::SmallVector<Value, 3> operands{x, matrix};
  if (biased) {
    MOEC_ASSIGN(Value bias, weight(base + ".bias"));
    operands.push_back(bias);
  }
  TensorType type({x.type().dim(0), matrix.type().dim(0)}, ElementType::f32);
  return b.make(OpKind::Linear, operands, type);
}

llvm::Expected<Value> DecoderBuilder::norm(Value x, const llvm::Twine &name) {
  std::string base = name.str();
  MOEC_ASSIGN(Value gain, weight(base));
  if (config.norm == NormKind::rms) {
    RmsNormAttrs attrs;
    attrs.epsilon = config.normEps;
    return b.make(OpKind::RmsNorm, {x, gain}, x.type(), attrs);
  }
  MOEC_ASSIGN(Value bias, weight(base + ".bias"));
  LayerNormAttrs attrs;
  attrs.epsilon = config.normEps;
  return b.make(OpKind::LayerNorm, {x, gain, bias}, x.type(), attrs);
}

llvm::Expected<Value> DecoderBuilder::rmsNorm(Value x, const llvm::Twine &name,
                                              double epsilon, int64_t groups) {
  MOEC_ASSIGN(Value gain, weight(name));
  RmsNormAttrs attrs;
  attrs.epsilon = epsilon;
  attrs.groups = groups;
  return b.make(OpKind::RmsNorm, {x, gain}, x.type(), attrs);
}

Value DecoderBuilder::scale(Value x, double factor) {
  if (factor == 1)
    return x;
  ScaleAttrs attrs;
  attrs.factor = factor;
  return b.make(OpKind::Scale, {x}, x.type(), attrs);
}

/// cap * tanh(x / cap).
Value DecoderBuilder::softcap(Value x, double cap) {
  if (!cap)
    return x;
  ActivationAttrs attrs;
  attrs.fn = ActivationFn::tanh;
  x = b.make(OpKind::Activation, {scale(x, 1 / cap)}, x.type(), attrs);
  return scale(x, cap);
}

Value DecoderBuilder::clip(Value x) {
  if (!config.clipQkv)
    return x;
  ClampAttrs attrs;
  attrs.limit = config.clipQkv;
  return b.make(OpKind::Clamp, {x}, x.type(), attrs);
}

/// Heads of the size of q's, from their parts.
Value DecoderBuilder::joinHeads(Value a, Value c) {
  JoinHeadsAttrs attrs;
  attrs.heads = config.heads;
  return b.make(OpKind::JoinHeads, {a, c}, rows(config.heads * config.headDim),
                attrs);
}

Value DecoderBuilder::rope(Value x, int64_t heads) {
  RopeAttrs attrs;
  attrs.heads = heads;
  attrs.interleaved = config.rope.interleaved;
  attrs.inverseFrequencies = config.rope.frequencies();
  attrs.magnitude = config.rope.magnitude;
  return b.make(OpKind::Rope, {x, positions}, x.type(), attrs);
}

Value DecoderBuilder::append(Value cache, Value x, CacheKind kind) {
  KvAppendAttrs attrs;
  attrs.kind = kind;
  Value next =
      b.make(OpKind::KvAppend, {cache, x, positions, seqOffsets, blockTable},
             cache.type(), attrs);
  next.setState(cache.state());
  next.setHint(cache.hint());
  return states[cache.state()] = next;
}

/// One row of heads each for q, k and v.
llvm::Error DecoderBuilder::project(Value x, const std::string &base, Value &q,
                                    Value &k, Value &v) {
  MOEC_ASSIGN(q, linear(x, base + ".q", config.qkvBias));
  MOEC_ASSIGN(k, linear(x, base + ".k", config.qkvBias));
  MOEC_ASSIGN(v, linear(x, base + ".v", config.qkvBias));
  if (config.qkNorm != QkNorm::none) {
    bool isPerHead = config.qkNorm == QkNorm::head;
    MOEC_ASSIGN(q, rmsNorm(q, base + ".q_norm", config.normEps,
                           isPerHead ? config.heads : 1));
    MOEC_ASSIGN(k, rmsNorm(k, base + ".k_norm", config.normEps,
                           isPerHead ? config.kvHeads : 1));
  }
  q = clip(q);
  k = clip(k);
  v = clip(v);
  if (config.position == PositionKind::rotary) {
    q = rope(q, config.heads);
    k = rope(k, config.kvHeads);
  }
  return llvm::Error::success();
}

/// The same from latents: a head of q and k is a plain part and one that turns,
/// and all heads of k share the latter. The cache holds k and v, not latents.
llvm::Error DecoderBuilder::expandLatents(Value x, const std::string &base,
                                          Value &q, Value &k, Value &v) {
  const MlaConfig &mla = *config.mla;
  Value from = x;
  if (mla.qRank) {
    MOEC_ASSIGN(from, linear(x, base + ".q_a", config.qkvBias));
    MOEC_ASSIGN(from, rmsNorm(from, base + ".q_a_norm", mla.normEps));
  }
  MOEC_ASSIGN(q, linear(from, base + ".q_nope", false));
  MOEC_ASSIGN(Value turned, linear(from, base + ".q_rope", false));
  MOEC_ASSIGN(Value latent, linear(x, base + ".kv_a", config.qkvBias));
  MOEC_ASSIGN(Value shared, linear(x, base + ".k_rope", config.qkvBias));
  MOEC_ASSIGN(latent, rmsNorm(latent, base + ".kv_a_norm", mla.normEps));
  MOEC_ASSIGN(k, linear(latent, base + ".k_nope", false));
  MOEC_ASSIGN(v, linear(latent, base + ".v", false));
  q = joinHeads(q, rope(turned, config.heads));
  k = joinHeads(k, rope(shared, 1));
  return llvm::Error::success();
}

llvm::Expected<Value> DecoderBuilder::attention(Value x, int64_t layer) {
  std::string base = "layers." + std::to_string(layer) + ".attn";
  at("model." + base);
  Value q, k, v;
  if (config.mla) {
    MOEC_TRY(expandLatents(x, base, q, k, v));
  } else {
    MOEC_TRY(project(x, base, q, k, v));
  }
  std::string suffix = "." + std::to_string(layer);
  Value keys =
      append(states[module.findState("kv.k" + suffix)], k, CacheKind::key);
  Value values =
      append(states[module.findState("kv.v" + suffix)], v, CacheKind::value);
  AttentionAttrs attrs;
  attrs.heads = config.heads;
  attrs.scale = config.attentionScale;
  attrs.window = config.windows.empty() ? 0 : config.windows[layer];
  attrs.softcap = config.attentionSoftcap;
  Value mixed = b.make(OpKind::Attention,
                       {q, keys, values, positions, seqOffsets, blockTable},
                       rows(config.heads * config.valueWidth()), attrs);
  return linear(mixed, base + ".o", config.outBias);
}

llvm::Expected<Value> DecoderBuilder::ffn(Value x, int64_t layer) {
  std::string base = "layers." + std::to_string(layer) + ".ffn";
  at("model." + base);
  FfnAttrs attrs;
  attrs.fn = activation();
  attrs.gated = config.gatedFfn;
  attrs.biased = config.ffnBias;
  llvm::SmallVector<Value, 7> operands{x};
  for (const char *suffix : {"", ".bias"})
    for (const char *matrix : {".gate", ".up", ".down"}) {
      if ((!config.gatedFfn && llvm::StringRef(matrix) == ".gate") ||
          (!config.ffnBias && *suffix))
        continue;
      MOEC_ASSIGN(Value operand, weight(base + matrix + suffix));
      operands.push_back(operand);
    }
  return b.make(OpKind::Ffn, operands, x.type(), attrs);
}

llvm::Expected<Value> DecoderBuilder::experts(Value x, int64_t layer) {
  std::string base = "layers." + std::to_string(layer) + ".moe";
  at("model." + base);
  const MoeConfig &moe = *config.moe;
  MoeWeights weights;
  MOEC_ASSIGN(weights.router, weight(base + ".router"));
  if (moe.routerBias) {
    MOEC_ASSIGN(weights.routerBias, weight(base + ".router.bias"));
  }
  if (moe.selectBias) {
    MOEC_ASSIGN(weights.selectBias, weight(base + ".select_bias"));
  }
  for (const char *matrix : {".gate", ".up", ".down"}) {
    if (!config.gatedFfn && llvm::StringRef(matrix) == ".gate")
      continue;
    MOEC_ASSIGN(Value bank, weight(base + matrix));
    weights.experts.push_back(bank);
    if (!moe.sharedFfn)
      continue;
    MOEC_ASSIGN(Value shared, weight(base + ".shared" + matrix));
    weights.shared.push_back(shared);
  }
  if (moe.sharedGate) {
    MOEC_ASSIGN(weights.sharedRouter, weight(base + ".shared.router"));
  }
  FfnAttrs attrs;
  attrs.fn = activation();
  attrs.gated = config.gatedFfn;
  MoeBlock block =
      buildMoeBlock(b, module, program, x, weights, moe.route, attrs, layer);
  states[block.counts] = block.counted;
  return block.output;
}

llvm::Error DecoderBuilder::addLayer(Value &x, int64_t layer) {
  std::string base = "layers." + std::to_string(layer);
  bool hasBefore = config.normPlace != NormPlace::after;
  bool hasAfter = config.normPlace != NormPlace::before;
  // x += f(x), with the norms that the family has around f.
  auto addBranch = [&](const std::string &name, auto &&f) -> llvm::Error {
    at("model." + base);
    Value y = x;
    if (hasBefore) {
      MOEC_ASSIGN(y, norm(y, name + "_norm"));
    }
    MOEC_ASSIGN(y, f(y));
    at("model." + base);
    if (hasAfter) {
      MOEC_ASSIGN(y, norm(y, name + "_post_norm"));
    }
    x = add(x, scale(y, config.residualScale));
    return llvm::Error::success();
  };
  MOEC_TRY(
      addBranch(base + ".attn", [&](Value y) { return attention(y, layer); }));
  return addBranch(base + ".ffn", [&](Value y) {
    return config.isMoe(layer) ? experts(y, layer) : ffn(y, layer);
  });
}

llvm::Error DecoderBuilder::build() {
  addArguments();
  addFacts();
  at("model.embed");
  MOEC_ASSIGN(Value embed, weight("embed"));
  Value x = b.make(OpKind::Embedding, {embed, tokenIds}, rows(config.hidden));
  x = scale(x, config.embeddingScale);
  if (config.position == PositionKind::learned) {
    MOEC_ASSIGN(Value table, weight("pos_embed"));
    x = add(x,
            b.make(OpKind::Embedding, {table, positions}, rows(config.hidden)));
  }
  for (int64_t layer : llvm::seq(config.layers))
    MOEC_TRY(addLayer(x, layer));
  at("model.final_norm");
  x = b.make(OpKind::GatherRows, {x, logitRowIds},
             TensorType({logitRows, Dim(config.hidden)}, ElementType::f32));
  MOEC_ASSIGN(x, norm(x, "final_norm"));
  at("model.lm_head");
  MOEC_ASSIGN(Value logits,
              linear(x, config.tiedEmbeddings ? "embed" : "lm_head", false));
  logits = softcap(scale(logits, config.logitScale), config.logitSoftcap);
  llvm::SmallVector<Value> results{logits};
  program.resultNames = {facts::kOutputLogits};
  for (auto &[state, value] : states) {
    results.push_back(value);
    program.resultNames.push_back(state->name);
  }
  b.create(OpKind::Return, results, {});
  return llvm::Error::success();
}

llvm::Error moec::buildDecoder(Module &module, const ModelConfig &config,
                               const DecoderOptions &options) {
  return DecoderBuilder(module, config, options).build();
}
