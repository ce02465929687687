//===- ModelConfig.h - a decoder's shape and semantics --------------------===//
//
// Plain data that says all that decides a model's results except its weights.
// `readModelConfig` fills it from any checkpoint; what it cannot express is an
// error at the place of the setting.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "ir/ops/MoeOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

enum class ModelFamily {
  llama,
  mistral,
  qwen2,
  qwen3,
  gpt2,
  mixtral,
  deepseek2,
  dots1,
  gemma,
  gemma2,
  glm4moe,
  granitemoe,
  granitemoeshared,
  nemotron,
  olmo2,
  olmoe,
  phi3,
  qwen2moe,
  qwen3moe,
  starcoder2,
};
enum class NormKind { rms, layer };
/// Where a layer's norms stand: before attention and FFN (`attn_norm`,
/// `ffn_norm`), after them and before the addition (`attn_post_norm`,
/// `ffn_post_norm`), or both.
enum class NormPlace { before, after, both };
/// An RMS norm of q and k before rope: of each head, or of the whole row.
enum class QkNorm { none, head, row };
/// `geluTanh` is the tanh approximation, `gelu` the one by erf.
enum class Activation { silu, gelu, geluTanh, quickGelu, relu, squaredRelu };
enum class PositionKind { rotary, learned };

/// As Hugging Face's `model_type`.
llvm::StringRef familyName(ModelFamily family);
llvm::StringRef activationName(Activation activation);

/// Rotary position embedding: pair i of a head turns by position * f(i), where
/// f(i) = theta^(-2i / dims) / (the pair's divisor).
struct RopeConfig {
  enum class Scaling { none, linear, llama3, factors, yarn, longrope };

  double theta = 10000;
  /// Leading elements of a head that turn. With MLA: the rotary part's size.
  int64_t dims = 0;
  /// Pairs are (2i, 2i + 1); otherwise (i, i + dims / 2).
  bool interleaved = false;
  Scaling scaling = Scaling::none;
  /// linear, llama3, yarn: positions are divided by this.
  double factor = 1;
  /// llama3: wave lengths above originalContext / lowFactor are divided, those
  /// below originalContext / highFactor are not, between them it is smooth.
  double lowFactor = 1;
  double highFactor = 4;
  /// yarn: pairs that turn fewer than betaSlow times over originalContext are
  /// divided, those that turn more than betaFast times are not; between them
  /// it is linear in the pair's number, from whole numbers if `truncate`.
  double betaFast = 32;
  double betaSlow = 1;
  bool truncate = true;
  /// llama3, yarn, longrope: positions before the scaling.
  int64_t originalContext = 0;
  /// factors: a divisor for each pair. longrope: those of sequences up to
  /// originalContext.
  std::vector<float> divisors;
  /// longrope: the divisors of longer sequences.
  std::vector<float> longDivisors;
  /// yarn, longrope: turned elements are multiplied by this as well.
  double magnitude = 1;

  /// The angle per position of each of the dims / 2 pairs.
  std::vector<double> frequencies() const;
};

/// Experts in place of the dense FFN, and a shared FFN beside them.
struct MoeConfig {
  int64_t experts = 0;
  /// Width of one expert.
  int64_t ffn = 0;
  /// What becomes of the logits; see ir/ops/MoeOps.h.
  RouteAttrs route;
  /// The logits have a bias (`moe.router.bias`).
  bool routerBias = false;
  /// Selection has a bias of its own (`moe.select_bias`).
  bool selectBias = false;
  /// Width of the FFN that every token takes as well (`moe.shared`); 0: none.
  int64_t sharedFfn = 0;
  /// Its output is multiplied by sigmoid of `moe.shared.router` x.
  bool sharedGate = false;
  /// The layers that have a dense FFN instead, ascending.
  std::vector<int64_t> denseLayers;
};

/// Attention over latents (DeepSeek-V2): keys and values are made from
/// `kvRank` numbers a token, and from one rotary part that all heads share. A
/// head of q and k is headDim - rope.dims elements, then the rope.dims that
/// turn.
struct MlaConfig {
  /// 0: q is a plain projection.
  int64_t qRank = 0;
  int64_t kvRank = 0;
  /// Of the norms of the latents.
  double normEps = 1e-6;
};

struct ModelConfig {
  ModelFamily family = ModelFamily::llama;
  /// What the file calls itself, such as "SmolLM2 135M Instruct"; may be empty.
  std::string name;

  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kvHeads = 0;
  /// Of a head of q and k.
  int64_t headDim = 0;
  /// Of a head of v; 0: as headDim.
  int64_t valueDim = 0;
  /// Width of the dense FFN.
  int64_t ffn = 0;
  int64_t vocab = 0;
  /// Positions that the model was trained for.
  int64_t context = 0;

  NormKind norm = NormKind::rms;
  double normEps = 1e-5;
  NormPlace normPlace = NormPlace::before;
  /// Added to the stored gains of norms (not of q and k): 1 in Gemma and
  /// LayerNorm1p.
  double normOffset = 0;
  Activation activation = Activation::silu;
  /// down(act(gate x) * up x); otherwise down(act(up x)).
  bool gatedFfn = true;
  bool qkvBias = false;
  bool outBias = false;
  bool ffnBias = false;
  QkNorm qkNorm = QkNorm::none;
  /// q, k and v are held within +-this; 0: not.
  double clipQkv = 0;
  /// The head's weight is the embedding's; then there is no `lm_head`.
  bool tiedEmbeddings = false;
  /// Scores are multiplied by this: mostly 1 / sqrt(headDim).
  double attentionScale = 1;
  /// Scores s become cap * tanh(s / cap); 0: not.
  double attentionSoftcap = 0;
  /// For each layer the number of positions a token sees, itself included; 0
  /// is all. Empty where no layer has a window.
  std::vector<int64_t> windows;

  PositionKind position = PositionKind::rotary;
  RopeConfig rope;
  std::optional<MlaConfig> mla;
  std::optional<MoeConfig> moe;

  /// Embeddings, what attention and FFN add, and logits are multiplied by
  /// these.
  double embeddingScale = 1;
  double residualScale = 1;
  double logitScale = 1;
  /// Logits s, scaled, become cap * tanh(s / cap); 0: not.
  double logitSoftcap = 0;

  std::optional<int64_t> bos;
  std::vector<int64_t> eos;

  int64_t valueWidth() const { return valueDim ? valueDim : headDim; }
  bool isMoe(int64_t layer) const {
    return moe && !llvm::is_contained(moe->denseLayers, layer);
  }
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
