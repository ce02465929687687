//===- Targets.h - which architectures express which models ---------------===//
//
// The decision table of exports. An architecture is a row of what it can say;
// a model that says more does not fit, and every misfit tells the reason. A
// router that no architecture has can be exchanged for the nearest one where
// the user allows it; all else cannot.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/models/ModelConfig.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

enum class ExportFormat { huggingFace, gguf };

/// "hf" or "gguf".
llvm::StringRef formatName(ExportFormat format);

/// Which biases of attention an architecture stores. Where a model lacks one
/// that is stored, zeros are written.
enum class AttentionBiases { none, mayQkv, mayAll, qkv, all };
enum class FfnBiases { none, may, all };
enum class QkNorms { none, head, mayHead, row };
/// Sliding windows: none, one for all layers, or one for some of the layers.
enum class Windows { none, all, some };
enum class SharedExpert {
  none,
  /// Behind a sigmoid gate; a model without one gets an expert of zeros.
  gated,
  /// As it is; a model without one gets an expert of zeros.
  plain,
  mayPlain,
};
/// Layers with a dense FFN among those with experts.
enum class DenseLayers { none, leading, any };

/// Sets of routers, of activations and of rotary scalings.
enum RouterForms : unsigned {
  /// Softmax over all, the best k, divided by their sum.
  kSoftmaxSum = 1,
  /// Softmax over all, the best k as they are.
  kSoftmaxRaw = 2,
  /// DeepSeek-V3's: sigmoid, a bias for selection, groups, a factor.
  kSigmoid = 4,
};
inline constexpr unsigned bit(Activation activation) {
  return 1u << unsigned(activation);
}
inline constexpr unsigned bit(RopeConfig::Scaling scaling) {
  return 1u << unsigned(scaling);
}

struct ExportTarget {
  ExportFormat format;
  ModelFamily family;
  /// `model_type`, or `general.architecture`.
  llvm::StringLiteral name;
  /// The class in transformers; empty for GGUF.
  llvm::StringLiteral className;

  AttentionBiases attentionBiases = AttentionBiases::none;
  /// Of dense FFNs: none, what the model says, or always.
  FfnBiases ffnBiases = FfnBiases::none;
  QkNorms qkNorms = QkNorms::none;
  /// Heads need not be hidden / heads wide.
  bool anyHeadDim = true;
  Windows windows = Windows::none;
  NormKind norm = NormKind::rms;
  NormPlace normPlace = NormPlace::before;
  unsigned activations = bit(Activation::silu);
  bool gatedFfn = true;
  PositionKind position = PositionKind::rotary;
  unsigned scalings = bit(RopeConfig::Scaling::none) |
                      bit(RopeConfig::Scaling::linear) |
                      bit(RopeConfig::Scaling::llama3);
  bool partialRope = false;
  /// Scales of embeddings, residuals, scores and logits.
  bool scales = false;
  bool softcaps = false;
  /// q, k and v may be held within limits.
  bool clips = false;
  /// Embeddings are multiplied by sqrt(hidden), always.
  bool rootEmbeddingScale = false;
  /// Added to the stored gains of norms.
  double normOffset = 0;
  /// Several heads of q may share one of k and v.
  bool sharesKeys = true;
  /// Rows of q and k are stored for pairs of neighbours.
  bool interleaved = false;

  /// 0: dense only.
  unsigned routers = 0;
  SharedExpert shared = SharedExpert::none;
  DenseLayers denseLayers = DenseLayers::none;
};

/// In the order in which they are tried.
llvm::ArrayRef<ExportTarget> exportTargets();

/// The target of this format and name for models with or without experts;
/// hyphens, underscores and case do not count. Null where there is none.
const ExportTarget *findTarget(ExportFormat format, llvm::StringRef name,
                               bool moe);

/// Why a target does not express a model.
struct Misfit {
  std::string reason;
  /// What an inexact export does instead; empty where nothing can be done.
  std::string change;

  friend bool operator==(const Misfit &, const Misfit &) = default;
};

/// Empty where the target expresses the model exactly.
std::vector<Misfit> misfits(const ExportTarget &target,
                            const ModelConfig &config);

/// A router as the targets know it, and what has to be done to the weights.
struct RouterView {
  /// The forms that give the same weights; several where they coincide.
  unsigned forms = 0;
  /// Multiplies the router's matrix.
  double logitScale = 1;
  /// Multiplies the down projections of the experts.
  double outputScale = 1;
  /// What none of the forms has.
  std::vector<Misfit> misfits;
};
RouterView viewRouter(const MoeConfig &moe);

/// The route attributes of a form, with the k of `moe`.
RouteAttrs routeOf(unsigned form, const MoeConfig &moe);

} // namespace moec
