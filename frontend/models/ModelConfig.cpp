#include "frontend/models/ModelConfig.h"

#include "frontend/models/ConfigReaders.h"
#include "llvm/Support/ErrorHandling.h"

#include <cmath>

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
  case Activation::relu:
    return "relu";
  }
  llvm_unreachable("all activations are listed");
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
      frequency /= double(divisors[size_t(pair)]);
      break;
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
  if (config.moe && config.moe->topk > config.moe->experts)
    return settings.errorAt(keys.topk).withNote(
               settings.locationOf(keys.experts),
               "the number of experts is set here")
           << "routes to " << config.moe->topk << " experts, but the model has "
           << config.moe->experts;
  return llvm::Error::success();
}

llvm::Expected<ModelConfigResult>
moec::readModelConfig(const Checkpoint &checkpoint) {
  ModelConfigResult result;
  ConfigKeys keys;
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
  result.config.attentionScale *=
      1.0 / std::sqrt(double(result.config.headDim));
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
