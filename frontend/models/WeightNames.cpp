//===- WeightNames.cpp - what each format calls a weight ------------------===//
//
// A format gives the stored name of each part of a layer; what parts there are
// and how large, the settings say (LlamaRules.cpp). GPT-2 stands apart: it
// stores matrices as [in, out], and q, k and v as one.
//
//===----------------------------------------------------------------------===//
#include "frontend/models/WeightNames.h"

#include "frontend/models/WeightRules.h"
#include "llvm/Support/ErrorHandling.h"

using namespace moec;

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
  return llamaRules(checkpoint, config);
}

bool moec::isHarmlessTensor(CheckpointFormat format, llvm::StringRef name) {
  switch (format) {
  case CheckpointFormat::huggingFace:
    // Buffers that older files keep: rope's frequencies, causal masks.
    return name.ends_with(".rotary_emb.inv_freq") ||
           name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
  case CheckpointFormat::gguf:
    // Read with the settings.
    return name == "rope_freqs.weight" || name == "rope_factors_long.weight" ||
           name == "rope_factors_short.weight";
  case CheckpointFormat::llama2c:
    return false;
  }
  llvm_unreachable("all formats are listed");
}
