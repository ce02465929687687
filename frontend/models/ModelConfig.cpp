#include "frontend/models/ModelConfig.h"

#include "frontend/models/ConfigReaders.h"
#include "llvm/Support/ErrorHandling.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace moec;

llvm::StringRef moec::familyName(ModelFamily family) {
  switch (family) {
  case ModelFamily::llama:
    return "llama";
  case ModelFamily::mistral:
    return "mistral";
  case ModelFamily::qwen2:
    return "qwen2";
  case ModelFamily::qwen3:
    return "qwen3";
  case ModelFamily::gpt2:
    return "gpt2";
  case ModelFamily::mixtral:
    return "mixtral";
  case ModelFamily::deepseek2:
    return "deepseek_v2";
  case ModelFamily::dots1:
    return "dots1";
  case ModelFamily::gemma:
    return "gemma";
  case ModelFamily::gemma2:
    return "gemma2";
  case ModelFamily::glm4moe:
    return "glm4_moe";
  case ModelFamily::granitemoe:
    return "granitemoe";
  case ModelFamily::granitemoeshared:
    return "granitemoeshared";
  case ModelFamily::nemotron:
    return "nemotron";
  case ModelFamily::olmo2:
    return "olmo2";
  case ModelFamily::olmoe:
    return "olmoe";
  case ModelFamily::phi3:
    return "phi3";
  case ModelFamily::qwen2moe:
    return "qwen2_moe";
  case ModelFamily::qwen3moe:
    return "qwen3_moe";
  case ModelFamily::starcoder2:
    return "starcoder2";
  }
  llvm_unreachable("all families are listed");
}

llvm::StringRef moec::activationName(Activation activation) {
  switch (activation) {
  case Activation::silu:
    return "silu";
  case Activation::gelu:
    return "gelu";
  case Activation::geluTanh:
    return "gelu_tanh";
  case Activation::quickGelu:
    return "quick_gelu";
  case Activation::relu:
    return "relu";
  case Activation::squaredRelu:
    return "squared_relu";
  }
  llvm_unreachable("all activations are listed");
}

/// yarn: how much of pair `pair`'s frequency stays undivided.
static double undividedPart(const RopeConfig &rope, int64_t pair) {
  constexpr double kTwoPi = 6.283185307179586476925;
  // The pair, as a real number, that turns so many times.
  auto pairOf = [&](double turns) {
    return double(rope.dims) *
           std::log(double(rope.originalContext) / (turns * kTwoPi)) /
           (2 * std::log(rope.theta));
  };
  double low = pairOf(rope.betaFast), high = pairOf(rope.betaSlow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, double(rope.dims - 1));
  if (low == high)
    high += 0.001;
  return 1 - std::clamp((double(pair) - low) / (high - low), 0.0, 1.0);
}

std::vector<double> RopeConfig::frequencies() const {
  constexpr double kTwoPi = 6.283185307179586476925;
  std::vector<double> result;
  for (int64_t pair = 0; pair < dims / 2; ++pair) {
    double frequency = 1.0 / std::pow(theta, double(2 * pair) / double(dims));
    switch (scaling) {
    case Scaling::none:
      break;
    case Scaling::linear:
      frequency /= factor;
      break;
    case Scaling::factors:
    case Scaling::longrope:
      frequency /= double(divisors[size_t(pair)]);
      break;
    case Scaling::yarn: {
      double part = undividedPart(*this, pair);
      frequency = frequency / factor * (1 - part) + frequency * part;
      break;
    }
    case Scaling::llama3: {
      double wavelength = kTwoPi / frequency;
      double context = double(originalContext);
      if (wavelength > context / lowFactor) {
        frequency /= factor;
      } else if (wavelength > context / highFactor) {
        double smooth =
            (context / wavelength - lowFactor) / (highFactor - lowFactor);
        frequency = (1.0 - smooth) * frequency / factor + smooth * frequency;
      }
      break;
    }
    }
    result.push_back(frequency);
  }
  return result;
}

/// What holds for every family; `key` gives a setting's name in the file.
static llvm::Error checkShape(const Config &settings, const ModelConfig &config,
                              const ConfigKeys &keys) {
  if (config.heads % config.kvHeads)
    return settings.errorAt(keys.kvHeads)
           << "expected the number of key and value heads to divide the "
           << config.heads << " query heads, found " << config.kvHeads;
  // Bounds what is made for each pair, and the sums of rows of heads.
  constexpr int64_t kLongestHead = 1 << 16;
  int64_t longest = std::max(config.headDim, config.valueWidth());
  if (longest > kLongestHead)
    return settings.errorAt(keys.headDim)
           << "expected a head of at most " << kLongestHead
           << " elements, found " << longest;
  if (config.position == PositionKind::rotary &&
      (config.rope.dims % 2 || config.rope.dims > config.headDim))
    return settings.errorAt(keys.headDim)
           << "rotary embedding needs an even number of elements, at most the "
              "head's "
           << config.headDim << ", found " << config.rope.dims;
  if (!(config.normEps > 0 && config.normEps < 1))
    return settings.errorAt(keys.normEps)
           << "expected the norm's epsilon between 0 and 1, found "
           << config.normEps;
  if (!(config.rope.theta > 0 && std::isfinite(config.rope.theta)))
    return settings.errorAt(keys.ropeTheta)
           << "expected a positive rope theta, found " << config.rope.theta;
  if (config.position == PositionKind::rotary)
    for (double frequency : config.rope.frequencies())
      if (!(std::abs(frequency) <= std::numeric_limits<float>::max()))
        return settings.errorAt(keys.ropeTheta)
               << "expected settings of rotary embedding that give numbers, "
                  "found the frequency "
               << frequency;
  if (config.moe && config.moe->route.k > config.moe->experts)
    return settings.errorAt(keys.topk).withNote(
               settings.locationOf(keys.experts),
               "the number of experts is set here")
           << "routes to " << config.moe->route.k
           << " experts, but the model has " << config.moe->experts;
  return llvm::Error::success();
}

llvm::Expected<ModelConfigResult>
moec::readModelConfig(const Checkpoint &checkpoint) {
  ModelConfigResult result;
  ConfigKeys keys;
  result.config.attentionScale = 0;
  switch (checkpoint.format) {
  case CheckpointFormat::huggingFace:
    MOEC_TRY(readHfConfig(checkpoint, result, keys));
    break;
  case CheckpointFormat::gguf:
    MOEC_TRY(readGgufConfig(checkpoint, result, keys));
    break;
  case CheckpointFormat::llama2c:
    MOEC_TRY(readLlama2cConfig(checkpoint, result, keys));
    break;
  }
  MOEC_TRY(checkShape(checkpoint.config, result.config, keys));
  ModelConfig &config = result.config;
  if (!config.attentionScale)
    config.attentionScale = 1.0 / std::sqrt(double(config.headDim));
  if (!config.valueDim)
    config.valueDim = config.headDim;
  return result;
}

llvm::Error moec::readLlama2cConfig(const Checkpoint &checkpoint,
                                    ModelConfigResult &result,
                                    ConfigKeys &keys) {
  const Config &settings = checkpoint.config;
  ModelConfig &config = result.config;
  config.family = ModelFamily::llama;
  MOEC_ASSIGN(config.layers, settings.requireInteger("n_layers"));
  MOEC_ASSIGN(config.hidden, settings.requireInteger("dim"));
  MOEC_ASSIGN(config.heads, settings.requireInteger("n_heads"));
  MOEC_ASSIGN(config.kvHeads, settings.requireInteger("n_kv_heads"));
  MOEC_ASSIGN(config.ffn, settings.requireInteger("hidden_dim"));
  MOEC_ASSIGN(config.vocab, settings.requireInteger("vocab_size"));
  MOEC_ASSIGN(config.context, settings.requireInteger("seq_len"));
  MOEC_ASSIGN(std::optional<bool> tied, settings.boolean("tied"));
  config.tiedEmbeddings = tied.value_or(true);
  config.headDim = config.hidden / config.heads;
  config.rope.dims = config.headDim;
  config.rope.interleaved = true;
  // The format's tokenizers are SentencePiece's, with these ids.
  config.bos = 1;
  config.eos = {2};
  keys.kvHeads = "n_kv_heads";
  keys.headDim = "n_heads";
  return llvm::Error::success();
}
