//===- LlamaRules.cpp - where the parts of Llama's layers are stored ------===//
#include "frontend/models/WeightRules.h"

using namespace moec;

namespace {
/// The stored names of a layer's parts, behind the layer's prefix.
struct LlamaNames {
  llvm::StringLiteral embed, finalNorm, head;
  llvm::StringLiteral layerPrefix;
  llvm::StringLiteral attnNorm, q, k, v, o, qNorm, kNorm;
  llvm::StringLiteral ffnNorm, gate, up, down;
  /// Norms behind attention and FFN.
  llvm::StringLiteral attnPostNorm, ffnPostNorm;
  /// q, k and v in one; gate and up in one (Phi-3).
  llvm::StringLiteral qkv, gateUp;
};
} // namespace

static constexpr LlamaNames kHfNames = {
    "model.embed_tokens",
    "model.norm",
    "lm_head",
    "model.layers.",
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.q_norm",
    "self_attn.k_norm",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
    "self_attn.qkv_proj",
    "mlp.gate_up_proj",
};

static constexpr LlamaNames kGgufNames = {
    "token_embd",    "output_norm", "output",      "blk.",
    "attn_norm",     "attn_q",      "attn_k",      "attn_v",
    "attn_output",   "attn_q_norm", "attn_k_norm", "ffn_norm",
    "ffn_gate",      "ffn_up",      "ffn_down",    "post_attention_norm",
    "post_ffw_norm", "attn_qkv",    "ffn_up",
};

static constexpr LlamaNames kLlama2cNames = {
    "tok_embeddings",
    "norm",
    "output",
    "layers.",
    "attention_norm",
    "attention.wq",
    "attention.wk",
    "attention.wv",
    "attention.wo",
    "",
    "",
    "ffn_norm",
    "feed_forward.w1",
    "feed_forward.w3",
    "feed_forward.w2",
    "",
    "",
    "",
    "",
};

static LlamaNames namesOf(CheckpointFormat format, ModelFamily family) {
  switch (format) {
  case CheckpointFormat::gguf:
    return kGgufNames;
  case CheckpointFormat::llama2c:
    return kLlama2cNames;
  case CheckpointFormat::huggingFace:
    break;
  }
  LlamaNames names = kHfNames;
  // Its second norm stands behind attention.
  if (family == ModelFamily::gemma2)
    names.ffnNorm = "pre_feedforward_layernorm";
  if (family == ModelFamily::starcoder2) {
    names.up = "mlp.c_fc";
    names.down = "mlp.c_proj";
  }
  return names;
}

namespace {
class LlamaRules {
public:
  LlamaRules(const Checkpoint &checkpoint, const ModelConfig &config)
      : rules(config), checkpoint(checkpoint), config(config),
        names(namesOf(checkpoint.format, config.family)) {}

  std::vector<WeightRule> make();

private:
  std::string from(llvm::StringRef name) const { return stored + name.str(); }
  void addAttention();
  void addLatentAttention();
  void addHeadNorms();
  void addFfn();

  Rules rules;
  const Checkpoint &checkpoint;
  const ModelConfig &config;
  LlamaNames names;
  /// Prefixes of the layer's names, canonical and stored.
  std::string layer, stored;
};
} // namespace

void LlamaRules::addHeadNorms() {
  int64_t q = config.headDim, k = config.headDim;
  if (config.qkNorm == QkNorm::none)
    return;
  if (config.qkNorm == QkNorm::row) {
    q *= config.heads;
    k *= config.kvHeads;
  }
  rules.add(layer + "attn.q_norm", from(names.qNorm) + ".weight", {q});
  rules.add(layer + "attn.k_norm", from(names.kNorm) + ".weight", {k});
}

void LlamaRules::addAttention() {
  int64_t hidden = config.hidden;
  int64_t q = config.heads * config.headDim;
  int64_t k = config.kvHeads * config.headDim;
  int64_t v = config.kvHeads * config.valueWidth();
  bool isFused = config.family == ModelFamily::phi3;
  int64_t begin = 0;
  auto add = [&](const char *name, llvm::StringRef own, int64_t rows,
                 int64_t rotaryHeads) {
    rules.addLinearRows(layer + name, from(isFused ? names.qkv : own), rows,
                        hidden, config.qkvBias, isFused ? q + k + v : rows,
                        begin, rotaryHeads);
    begin += rows;
  };
  add("attn.q", names.q, q, config.heads);
  add("attn.k", names.k, k, config.kvHeads);
  add("attn.v", names.v, v, 0);
  rules.addLinear(layer + "attn.o", from(names.o), hidden,
                  config.heads * config.valueWidth(), config.outBias);
  addHeadNorms();
}

/// A head's rows of q are its plain part, then its rotary one; those of
/// kv_b are k's plain part, then v.
void LlamaRules::addLatentAttention() {
  const MlaConfig &mla = *config.mla;
  int64_t hidden = config.hidden, heads = config.heads;
  int64_t turned = config.rope.dims, plain = config.headDim - turned;
  auto addParts = [&](const char *name, const std::string &tensor,
                      int64_t perHead, int64_t begin, int64_t end, int64_t in) {
    WeightRule &rule = rules.add(layer + name, tensor + ".weight",
                                 {heads * (end - begin), in});
    rule.storedShape = {heads * perHead, in};
    rule.steps = {sliceOf(0, begin, end)};
    rule.steps.back().kind = WeightStep::Kind::headSlice;
    rule.steps.back().heads = heads;
    return &rule;
  };
  int64_t in = hidden;
  std::string q = from("self_attn.q_proj");
  if (mla.qRank) {
    rules.addLinear(layer + "attn.q_a", from("self_attn.q_a_proj"), mla.qRank,
                    hidden, config.qkvBias);
    rules.add(layer + "attn.q_a_norm", from("self_attn.q_a_layernorm.weight"),
              {mla.qRank});
    in = mla.qRank;
    q = from("self_attn.q_b_proj");
  }
  addParts("attn.q_nope", q, config.headDim, 0, plain, in);
  addParts("attn.q_rope", q, config.headDim, plain, config.headDim, in)
      ->rotaryHeads = heads;
  std::string latents = from("self_attn.kv_a_proj_with_mqa");
  rules.addLinearRows(layer + "attn.kv_a", latents, mla.kvRank, hidden,
                      config.qkvBias, mla.kvRank + turned, 0);
  rules.addLinearRows(layer + "attn.k_rope", latents, turned, hidden,
                      config.qkvBias, mla.kvRank + turned, mla.kvRank,
                      /*rotaryHeads=*/1);
  rules.add(layer + "attn.kv_a_norm", from("self_attn.kv_a_layernorm.weight"),
            {mla.kvRank});
  int64_t perHead = plain + config.valueWidth();
  std::string expand = from("self_attn.kv_b_proj");
  addParts("attn.k_nope", expand, perHead, 0, plain, mla.kvRank);
  addParts("attn.v", expand, perHead, plain, perHead, mla.kvRank);
  rules.addLinear(layer + "attn.o", from(names.o), hidden,
                  heads * config.valueWidth(), config.outBias);
}

void LlamaRules::addFfn() {
  int64_t hidden = config.hidden, width = config.ffn;
  if (config.family == ModelFamily::phi3) {
    rules.addLinearRows(layer + "ffn.gate", from(names.gateUp), width, hidden,
                        false, 2 * width, 0);
    rules.addLinearRows(layer + "ffn.up", from(names.gateUp), width, hidden,
                        false, 2 * width, width);
  } else {
    if (config.gatedFfn)
      rules.addLinear(layer + "ffn.gate", from(names.gate), width, hidden,
                      config.ffnBias);
    rules.addLinear(layer + "ffn.up", from(names.up), width, hidden,
                    config.ffnBias);
  }
  rules.addLinear(layer + "ffn.down", from(names.down), hidden, width,
                  config.ffnBias);
}

std::vector<WeightRule> LlamaRules::make() {
  rules.add("embed", names.embed.str() + ".weight",
            {config.vocab, config.hidden});
  bool hasBefore = config.normPlace != NormPlace::after;
  bool hasAfter = config.normPlace != NormPlace::before;
  for (int64_t index = 0; index < config.layers; ++index) {
    layer = "layers." + std::to_string(index) + ".";
    stored = names.layerPrefix.str() + std::to_string(index) + ".";
    if (hasBefore)
      rules.addNorm(layer + "attn_norm", from(names.attnNorm));
    if (config.mla)
      addLatentAttention();
    else
      addAttention();
    if (hasAfter)
      rules.addNorm(layer + "attn_post_norm", from(names.attnPostNorm));
    if (hasBefore)
      rules.addNorm(layer + "ffn_norm", from(names.ffnNorm));
    if (!config.isMoe(index))
      addFfn();
    else if (checkpoint.format == CheckpointFormat::gguf)
      addGgufExperts(rules, checkpoint, layer, stored);
    else
      addHfExperts(rules, layer, stored);
    if (hasAfter)
      rules.addNorm(layer + "ffn_post_norm", from(names.ffnPostNorm));
  }
  rules.addNorm("final_norm", names.finalNorm.str());
  if (!config.tiedEmbeddings)
    rules.add("lm_head", names.head.str() + ".weight",
              {config.vocab, config.hidden});
  return std::move(rules.rules);
}

std::vector<WeightRule> moec::llamaRules(const Checkpoint &checkpoint,
                                         const ModelConfig &config) {
  return LlamaRules(checkpoint, config).make();
}
