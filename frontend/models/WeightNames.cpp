//===- WeightNames.cpp - what each format calls a weight ------------------===//
//
// A format gives the stored name of each part of a layer; what parts there are
// and how large, the settings say. GPT-2 stands apart: it stores matrices as
// [in, out], and q, k and v as one.
//
//===----------------------------------------------------------------------===//
#include "frontend/models/WeightNames.h"

#include "llvm/ADT/StringSwitch.h"

using namespace moec;

namespace {
/// Collects rules.
class Rules {
public:
  explicit Rules(const ModelConfig &config) : config(config) {}

  /// A weight that is stored as it is used.
  WeightRule &add(std::string name, std::string stored,
                  std::vector<int64_t> shape) {
    rules.push_back({std::move(name), shape, std::move(stored), shape, {}, 0});
    return rules.back();
  }
  /// A projection [out, in] and, where it has one, its bias [out].
  void addLinear(const std::string &name, const std::string &stored,
                 int64_t out, int64_t in, bool hasBias,
                 int64_t rotaryHeads = 0) {
    add(name, stored + ".weight", {out, in}).rotaryHeads = rotaryHeads;
    if (hasBias)
      add(name + ".bias", stored + ".bias", {out}).rotaryHeads = rotaryHeads;
  }

  const ModelConfig &config;
  std::vector<WeightRule> rules;
};

/// The stored names of a layer's parts, behind the layer's prefix.
struct LlamaNames {
  llvm::StringLiteral embed, finalNorm, head;
  llvm::StringLiteral layerPrefix;
  llvm::StringLiteral attnNorm, q, k, v, o, qNorm, kNorm;
  llvm::StringLiteral ffnNorm, gate, up, down;
};
} // namespace

static constexpr LlamaNames kHfNames = {
    "model.embed_tokens", "model.norm",       "lm_head",
    "model.layers.",      "input_layernorm",  "self_attn.q_proj",
    "self_attn.k_proj",   "self_attn.v_proj", "self_attn.o_proj",
    "self_attn.q_norm",   "self_attn.k_norm", "post_attention_layernorm",
    "mlp.gate_proj",      "mlp.up_proj",      "mlp.down_proj",
};

static constexpr LlamaNames kGgufNames = {
    "token_embd",  "output_norm", "output",   "blk.",        "attn_norm",
    "attn_q",      "attn_k",      "attn_v",   "attn_output", "attn_q_norm",
    "attn_k_norm", "ffn_norm",    "ffn_gate", "ffn_up",      "ffn_down",
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
};

static WeightStep sliceOf(int64_t axis, int64_t begin, int64_t end) {
  WeightStep step;
  step.kind = WeightStep::Kind::slice;
  step.axis = axis;
  step.begin = begin;
  step.end = end;
  return step;
}

static WeightStep stepOf(WeightStep::Kind kind) {
  WeightStep step;
  step.kind = kind;
  return step;
}

/// Hugging Face's Mixtral has a tensor for each expert's matrix.
static void addHfExperts(Rules &rules, const std::string &layer,
                         const std::string &stored) {
  const MoeConfig &moe = *rules.config.moe;
  int64_t hidden = rules.config.hidden;
  std::string block = stored + "block_sparse_moe.";
  rules.add(layer + "moe.router", block + "gate.weight", {moe.experts, hidden});
  for (int64_t expert = 0; expert < moe.experts; ++expert) {
    std::string name = layer + "moe.experts." + std::to_string(expert) + ".";
    std::string from = block + "experts." + std::to_string(expert) + ".";
    rules.add(name + "gate", from + "w1.weight", {moe.ffn, hidden});
    rules.add(name + "up", from + "w3.weight", {moe.ffn, hidden});
    rules.add(name + "down", from + "w2.weight", {hidden, moe.ffn});
  }
}

/// GGUF stacks the experts' matrices; older files keep them apart.
static void addGgufExperts(Rules &rules, const Checkpoint &checkpoint,
                           const std::string &layer,
                           const std::string &stored) {
  const MoeConfig &moe = *rules.config.moe;
  int64_t hidden = rules.config.hidden;
  rules.add(layer + "moe.router", stored + "ffn_gate_inp.weight",
            {moe.experts, hidden});
  bool isStacked = !checkpoint.find(stored + "ffn_gate.0.weight");
  for (int64_t expert = 0; expert < moe.experts; ++expert) {
    std::string number = std::to_string(expert);
    std::string name = layer + "moe.experts." + number + ".";
    auto addMatrix = [&](llvm::StringRef part, int64_t out, int64_t in) {
      std::string from = stored + "ffn_" + part.str();
      if (!isStacked) {
        rules.add(name + part.str(), from + "." + number + ".weight",
                  {out, in});
        return;
      }
      WeightRule &rule =
          rules.add(name + part.str(), from + "_exps.weight", {out, in});
      rule.storedShape = {moe.experts, out, in};
      rule.steps = {sliceOf(0, expert, expert + 1),
                    stepOf(WeightStep::Kind::squeeze)};
    };
    addMatrix("gate", moe.ffn, hidden);
    addMatrix("up", moe.ffn, hidden);
    addMatrix("down", hidden, moe.ffn);
  }
}

static std::vector<WeightRule> llamaRules(const Checkpoint &checkpoint,
                                          const ModelConfig &config,
                                          const LlamaNames &names) {
  Rules rules(config);
  int64_t hidden = config.hidden;
  int64_t qRows = config.heads * config.headDim;
  int64_t kvRows = config.kvHeads * config.headDim;
  auto part = [](llvm::StringRef prefix, llvm::StringRef name) {
    return (prefix + name).str();
  };
  rules.add("embed", part(names.embed, ".weight"), {config.vocab, hidden});
  for (int64_t index = 0; index < config.layers; ++index) {
    std::string layer = "layers." + std::to_string(index) + ".";
    std::string stored = part(names.layerPrefix, std::to_string(index) + ".");
    auto from = [&](llvm::StringRef name) { return part(stored, name); };
    rules.add(layer + "attn_norm", from(names.attnNorm) + ".weight", {hidden});
    rules.addLinear(layer + "attn.q", from(names.q), qRows, hidden,
                    config.qkvBias, config.heads);
    rules.addLinear(layer + "attn.k", from(names.k), kvRows, hidden,
                    config.qkvBias, config.kvHeads);
    rules.addLinear(layer + "attn.v", from(names.v), kvRows, hidden,
                    config.qkvBias);
    rules.addLinear(layer + "attn.o", from(names.o), hidden, qRows,
                    config.outBias);
    if (config.qkNorm != QkNorm::none) {
      rules.add(layer + "attn.q_norm", from(names.qNorm) + ".weight",
                {config.headDim});
      rules.add(layer + "attn.k_norm", from(names.kNorm) + ".weight",
                {config.headDim});
    }
    rules.add(layer + "ffn_norm", from(names.ffnNorm) + ".weight", {hidden});
    if (config.moe && checkpoint.format == CheckpointFormat::gguf) {
      addGgufExperts(rules, checkpoint, layer, stored);
      continue;
    }
    if (config.moe) {
      addHfExperts(rules, layer, stored);
      continue;
    }
    rules.addLinear(layer + "ffn.gate", from(names.gate), config.ffn, hidden,
                    config.ffnBias);
    rules.addLinear(layer + "ffn.up", from(names.up), config.ffn, hidden,
                    config.ffnBias);
    rules.addLinear(layer + "ffn.down", from(names.down), hidden, config.ffn,
                    config.ffnBias);
  }
  rules.add("final_norm", part(names.finalNorm, ".weight"), {hidden});
  if (!config.tiedEmbeddings)
    rules.add("lm_head", part(names.head, ".weight"), {config.vocab, hidden});
  return std::move(rules.rules);
}

static std::vector<WeightRule> gpt2Rules(const Checkpoint &checkpoint,
                                         const ModelConfig &config) {
  Rules rules(config);
  int64_t hidden = config.hidden;
  // Files saved from the bare model have no prefix.
  std::string prefix = checkpoint.find("wte.weight") ? "" : "transformer.";
  auto addNorm = [&](const std::string &name, const std::string &stored) {
    rules.add(name, stored + ".weight", {hidden});
    rules.add(name + ".bias", stored + ".bias", {hidden});
  };
  // Columns [begin, begin + out) of a matrix [in, allOut], transposed, and
  // the same part of its bias.
  auto addConv = [&](const std::string &name, const std::string &stored,
                     int64_t in, int64_t allOut, int64_t begin, int64_t out) {
    WeightRule &weight = rules.add(name, stored + ".weight", {out, in});
    weight.storedShape = {in, allOut};
    if (out != allOut)
      weight.steps.push_back(sliceOf(1, begin, begin + out));
    weight.steps.push_back(stepOf(WeightStep::Kind::transpose));
    WeightRule &bias = rules.add(name + ".bias", stored + ".bias", {out});
    bias.storedShape = {allOut};
    if (out != allOut)
      bias.steps.push_back(sliceOf(0, begin, begin + out));
  };
  rules.add("embed", prefix + "wte.weight", {config.vocab, hidden});
  rules.add("pos_embed", prefix + "wpe.weight", {config.context, hidden});
  for (int64_t index = 0; index < config.layers; ++index) {
    std::string layer = "layers." + std::to_string(index) + ".";
    std::string stored = prefix + "h." + std::to_string(index) + ".";
    addNorm(layer + "attn_norm", stored + "ln_1");
    std::string fused = stored + "attn.c_attn";
    addConv(layer + "attn.q", fused, hidden, 3 * hidden, 0, hidden);
    addConv(layer + "attn.k", fused, hidden, 3 * hidden, hidden, hidden);
    addConv(layer + "attn.v", fused, hidden, 3 * hidden, 2 * hidden, hidden);
    addConv(layer + "attn.o", stored + "attn.c_proj", hidden, hidden, 0,
            hidden);
    addNorm(layer + "ffn_norm", stored + "ln_2");
    addConv(layer + "ffn.up", stored + "mlp.c_fc", hidden, config.ffn, 0,
            config.ffn);
    addConv(layer + "ffn.down", stored + "mlp.c_proj", config.ffn, hidden, 0,
            hidden);
  }
  addNorm("final_norm", prefix + "ln_f");
  if (!config.tiedEmbeddings)
    rules.add("lm_head", "lm_head.weight", {config.vocab, hidden});
  return std::move(rules.rules);
}

std::vector<WeightRule> moec::weightRules(const Checkpoint &checkpoint,
                                          const ModelConfig &config) {
  if (config.family == ModelFamily::gpt2)
    return gpt2Rules(checkpoint, config);
  switch (checkpoint.format) {
  case CheckpointFormat::huggingFace:
    return llamaRules(checkpoint, config, kHfNames);
  case CheckpointFormat::gguf:
    return llamaRules(checkpoint, config, kGgufNames);
  case CheckpointFormat::llama2c:
    return llamaRules(checkpoint, config, kLlama2cNames);
  }
  llvm_unreachable("all formats are listed");
}

bool moec::isHarmlessTensor(CheckpointFormat format, llvm::StringRef name) {
  switch (format) {
  case CheckpointFormat::huggingFace:
    // Buffers that older files keep: rope's frequencies, causal masks.
    return name.ends_with(".rotary_emb.inv_freq") ||
           name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
  case CheckpointFormat::gguf:
    return name == "rope_freqs.weight";
  case CheckpointFormat::llama2c:
    return false;
  }
  llvm_unreachable("all formats are listed");
}
