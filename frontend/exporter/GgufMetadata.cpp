#include "frontend/exporter/GgufMetadata.h"

#include <algorithm>

using namespace moec;

using Family = ModelFamily;

/// llama.cpp's number of a mix of types, most of which is `element`.
static uint32_t fileType(ElementType element) {
  switch (element) {
  case ElementType::f16:
    return 1;
  case ElementType::q8_0:
    return 7;
  case ElementType::bf16:
    return 32;
  default:
    return 0;
  }
}

namespace {
/// Keys under the architecture's name.
class Keys {
public:
  Keys(GgufWriter &writer, llvm::StringRef architecture)
      : writer(writer), prefix(architecture.str() + ".") {}
  void integer(llvm::StringRef key, int64_t value) {
    writer.addU32(prefix + key.str(), uint32_t(value));
  }
  void number(llvm::StringRef key, double value) {
    writer.addF32(prefix + key.str(), float(value));
  }
  void text(llvm::StringRef key, llvm::StringRef value) {
    writer.addString(prefix + key.str(), value);
  }

private:
  GgufWriter &writer;
  std::string prefix;
};
} // namespace

static void addExperts(Keys &keys, const ModelConfig &config) {
  const MoeConfig &moe = *config.moe;
  keys.integer("expert_count", moe.experts);
  keys.integer("expert_used_count", moe.route.k);
  if (config.family != Family::mixtral && config.family != Family::olmoe)
    keys.integer("expert_feed_forward_length", moe.ffn);
  if (moe.sharedFfn)
    keys.integer("expert_shared_feed_forward_length", moe.sharedFfn);
}

static void addRope(Keys &keys, const RopeConfig &rope) {
  keys.integer("rope.dimension_count", rope.dims);
  keys.number("rope.freq_base", rope.theta);
  if (rope.scaling != RopeConfig::Scaling::linear)
    return; // Divisors are a tensor.
  keys.text("rope.scaling.type", "linear");
  keys.number("rope.scaling.factor", rope.factor);
}

void moec::addGgufSettings(GgufWriter &writer, const ExportTarget &target,
                           const ModelConfig &config, ElementType element) {
  writer.addString("general.architecture", target.name);
  writer.addString("general.type", "model");
  if (!config.name.empty())
    writer.addString("general.name", config.name);
  writer.addU32("general.file_type", fileType(element));
  if (element == ElementType::q8_0)
    writer.addU32("general.quantization_version", 2);
  Keys keys(writer, target.name);
  keys.integer("vocab_size", config.vocab);
  keys.integer("context_length", config.context);
  keys.integer("embedding_length", config.hidden);
  keys.integer("block_count", config.layers);
  // Experts have the width of the FFN where no key of their own says it.
  keys.integer("feed_forward_length",
               config.moe && config.moe->denseLayers.empty() ? config.moe->ffn
                                                             : config.ffn);
  keys.integer("attention.head_count", config.heads);
  keys.integer("attention.head_count_kv", config.kvHeads);
  keys.integer("attention.key_length", config.headDim);
  keys.integer("attention.value_length", config.valueWidth());
  keys.number(config.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                           : "attention.layer_norm_epsilon",
              config.normEps);
  int64_t window = 0;
  for (int64_t size : config.windows)
    window = std::max(window, size);
  if (window)
    keys.integer("attention.sliding_window", window);
  else if (config.family == Family::gemma2)
    keys.integer("attention.sliding_window", config.context);
  if (config.attentionSoftcap != 0)
    keys.number("attn_logit_softcapping", config.attentionSoftcap);
  if (config.logitSoftcap != 0)
    keys.number("final_logit_softcapping", config.logitSoftcap);
  if (config.position == PositionKind::rotary)
    addRope(keys, config.rope);
  if (config.moe)
    addExperts(keys, config);
}

void moec::addGgufTokenizer(GgufWriter &writer, GgufTokenizerData tokenizer,
                            int64_t vocabulary) {
  constexpr int32_t kUnused = 5;
  while (int64_t(tokenizer.tokens.size()) < vocabulary) {
    tokenizer.tokens.push_back("[PAD" +
                               std::to_string(tokenizer.tokens.size()) + "]");
    if (!tokenizer.scores.empty())
      tokenizer.scores.push_back(-10000);
    if (!tokenizer.tokenTypes.empty())
      tokenizer.tokenTypes.push_back(kUnused);
  }
  writer.addString("tokenizer.ggml.model", tokenizer.model);
  if (!tokenizer.pre.empty())
    writer.addString("tokenizer.ggml.pre", tokenizer.pre);
  writer.addStrings("tokenizer.ggml.tokens", tokenizer.tokens);
  if (!tokenizer.scores.empty())
    writer.addF32s("tokenizer.ggml.scores", tokenizer.scores);
  if (!tokenizer.tokenTypes.empty())
    writer.addI32s("tokenizer.ggml.token_type", tokenizer.tokenTypes);
  if (!tokenizer.merges.empty())
    writer.addStrings("tokenizer.ggml.merges", tokenizer.merges);
  for (auto [key, id] :
       {std::pair("bos", tokenizer.bos), std::pair("eos", tokenizer.eos),
        std::pair("eot", tokenizer.eot),
        std::pair("unknown", tokenizer.unknown),
        std::pair("padding", tokenizer.padding)})
    if (id)
      writer.addU32(std::string("tokenizer.ggml.") + key + "_token_id",
                    uint32_t(*id));
  for (auto [key, value] :
       {std::pair("add_bos_token", tokenizer.addBos),
        std::pair("add_eos_token", tokenizer.addEos),
        std::pair("add_space_prefix", tokenizer.addSpacePrefix),
        std::pair("remove_extra_whitespaces",
                  tokenizer.removeExtraWhitespaces)})
    if (value)
      writer.addBool(std::string("tokenizer.ggml.") + key, *value);
  if (!tokenizer.chatTemplate.empty())
    writer.addString("tokenizer.chat_template", tokenizer.chatTemplate);
}

void moec::addNoGgufTokenizer(GgufWriter &writer) {
  writer.addString("tokenizer.ggml.model", "none");
}
