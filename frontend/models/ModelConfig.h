//===- ModelConfig.h - a decoder's shape and semantics --------------------===//
//
// Plain data that says all that decides a model's results except its weights.
// `readModelConfig` fills it from any checkpoint; what it cannot express is an
// error at the place of the setting.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

enum class ModelFamily { llama, mistral, qwen2, qwen3, gpt2, mixtral };
enum class NormKind { rms, layer };
/// `geluTanh` is the tanh approximation, `gelu` the one by erf.
enum class Activation { silu, gelu, geluTanh, relu };
enum class PositionKind { rotary, learned };

llvm::StringRef familyName(ModelFamily family);
llvm::StringRef activationName(Activation activation);

/// Rotary position embedding: pair i of a head turns by position * f(i), where
/// f(i) = theta^(-2i / dims) / (the pair's divisor).
struct RopeConfig {
  enum class Scaling { none, linear, llama3, factors };

  double theta = 10000;
  /// Leading elements of a head that turn.
  int64_t dims = 0;
  /// Pairs are (2i, 2i + 1); otherwise (i, i + dims / 2).
  bool interleaved = false;
  Scaling scaling = Scaling::none;
  /// linear, llama3: positions are divided by this.
  double factor = 1;
  /// llama3: wave lengths above originalContext / lowFactor are divided, those
  /// below originalContext / highFactor are not, between them it is smooth.
  double lowFactor = 1;
  double highFactor = 4;
  int64_t originalContext = 0;
  /// factors: a divisor for each pair.
  std::vector<float> divisors;

  /// The angle per position of each of the dims / 2 pairs.
  std::vector<double> frequencies() const;
};

/// A router over experts: softmax over all, the best `topk`, and their weights
/// divided by their sum where `renormalize`.
struct MoeConfig {
  int64_t experts = 0;
  int64_t topk = 0;
  bool renormalize = true;
  /// Width of one expert.
  int64_t ffn = 0;
};

struct ModelConfig {
  ModelFamily family = ModelFamily::llama;
  /// What the file calls itself, such as "SmolLM2 135M Instruct"; may be empty.
  std::string name;

  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  /// Width of the dense FFN.
  int64_t ffn = 0;
  int64_t vocab = 0;
  /// Positions that the model was trained for.
  int64_t context = 0;

  NormKind norm = NormKind::rms;
  double normEps = 1e-5;
  Activation activation = Activation::silu;
  /// down(act(gate x) * up x); otherwise down(act(up x)).
  bool gatedFfn = true;
  bool qkvBias = false;
  bool outBias = false;
  bool ffnBias = false;
  /// RMS norm over each head of q and k, before rope.
  bool qkNorm = false;
  /// The head's weight is the embedding's; then there is no `lm_head`.
  bool tiedEmbeddings = false;
  /// Scores are multiplied by this: 1 / sqrt(headDim).
  double attentionScale = 1;
  /// For each layer the number of positions a token sees, itself included; 0
  /// is all. Empty where no layer has a window.
  std::vector<int64_t> windows;

  PositionKind position = PositionKind::rotary;
  RopeConfig rope;
  /// Experts in every layer instead of the dense FFN.
  std::optional<MoeConfig> moe;

  std::optional<int64_t> bos;
  std::vector<int64_t> eos;
};

/// What was read, and what was ignored.
struct ModelConfigResult {
  ModelConfig config;
  std::vector<std::string> warnings;
};

/// Reads and checks the settings of `checkpoint`. Needs no tensor data except
/// GGUF's rope factors, and looks whether `lm_head` is stored.
llvm::Expected<ModelConfigResult> readModelConfig(const Checkpoint &checkpoint);

} // namespace moec
