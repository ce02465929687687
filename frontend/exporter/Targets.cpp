#include "frontend/exporter/Targets.h"

#include "frontend/exporter/Recognize.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

using Family = ModelFamily;
using Scaling = RopeConfig::Scaling;

namespace {
/// Collects what a target lacks.
class Judge {
public:
  Judge(const ExportTarget &target, const ModelConfig &config)
      : target(target), config(config) {}
  std::vector<Misfit> run();

private:
  void lacks(const llvm::Twine &reason, const llvm::Twine &change = "") {
    found.push_back({reason.str(), change.str()});
  }
  std::string its(llvm::StringRef what) const {
    return ("but " + target.name + " " + what).str();
  }
  void judgeAttention();
  void judgeRope();
  void judgeNorms();
  void judgeScales();
  void judgeFfn();
  void judgeExperts();
  void judgeShared();

  const ExportTarget &target;
  const ModelConfig &config;
  std::vector<Misfit> found;
};
} // namespace

void Judge::judgeAttention() {
  if (config.mla)
    lacks("its attention is over latents (MLA)");
  if (config.clipQkv != 0 && !target.clips)
    lacks("its queries, keys and values are held within limits, " +
          its("has none"));
  if (config.valueWidth() != config.headDim)
    lacks("its heads of values have another width than those of keys");
  bool qkv = target.attentionBiases != AttentionBiases::none;
  bool all = target.attentionBiases == AttentionBiases::mayAll ||
             target.attentionBiases == AttentionBiases::all;
  if (config.qkvBias && !qkv)
    lacks("its queries, keys and values have biases, " + its("has none"));
  if (config.outBias && !all)
    lacks("the output projection of its attention has a bias, " +
          its("has none"));
  switch (target.qkNorms) {
  case QkNorms::none:
    if (config.qkNorm != QkNorm::none)
      lacks("its queries and keys are normalised, " + its("has no such norm"));
    break;
  case QkNorms::head:
  case QkNorms::mayHead:
    if (config.qkNorm == QkNorm::row)
      lacks("its queries and keys are normalised as rows, " +
            its("normalises each head"));
    else if (target.qkNorms == QkNorms::head && config.qkNorm == QkNorm::none)
      lacks("it has no norm of queries and keys, " + its("has one"));
    break;
  case QkNorms::row:
    if (config.qkNorm != QkNorm::row)
      lacks(config.qkNorm == QkNorm::none
                ? "it has no norm of queries and keys, " + its("has one")
                : "its queries and keys are normalised head by head, " +
                      its("normalises the row"));
    break;
  }
  if (!target.anyHeadDim && config.headDim * config.heads != config.hidden)
    lacks("its heads are " + llvm::Twine(config.headDim) + " wide, " +
          its("takes hidden / heads, ") +
          llvm::Twine(config.hidden / config.heads));
  if (!target.sharesKeys && config.kvHeads != config.heads)
    lacks("its heads share keys and values, " + its("gives each its own"));
  if (config.windows.empty())
    return;
  bool one = llvm::all_equal(config.windows);
  // One size, in the layers that have a window.
  int64_t size = 0;
  bool oneSize = true;
  for (int64_t window : config.windows) {
    oneSize &= !window || !size || window == size;
    size = std::max(size, window);
  }
  bool fits = target.windows == Windows::all    ? one
              : target.windows == Windows::some ? oneSize
                                                : false;
  if (!fits)
    lacks("its attention has sliding windows, " +
              its(target.windows == Windows::none ? "has none"
                                                  : "has not such ones"),
          "looks at the whole context");
}

void Judge::judgeRope() {
  if (config.position != target.position) {
    lacks(config.position == PositionKind::learned
              ? "its positions are learned, " + its("turns them (rotary)")
              : "its positions are rotary, " + its("learns them"));
    return;
  }
  if (config.position == PositionKind::learned)
    return;
  const RopeConfig &rope = config.rope;
  if (rope.interleaved && rope.dims != config.headDim)
    lacks("its rotary embedding is partial and interleaved");
  if (rope.dims != config.headDim && !target.partialRope)
    lacks("its rotary embedding turns " + llvm::Twine(rope.dims) + " of " +
          llvm::Twine(config.headDim) + " elements of a head, " +
          its("turns all"));
  bool known = target.scalings & bit(rope.scaling);
  // Every scaling is a list of divisors, and some lists have a name.
  if (!known && rope.magnitude == 1 &&
      rope.scaling != RopeConfig::Scaling::longrope) {
    auto named = nameScaling(rope, config.context);
    known = (target.scalings & bit(Scaling::factors)) ||
            (named && (target.scalings & bit(named->scaling)));
  }
  if (!known)
    lacks("its rotary frequencies are scaled, " + its("cannot say how"),
          "leaves the frequencies unscaled");
}

void Judge::judgeNorms() {
  if (config.norm != target.norm)
    lacks(config.norm == NormKind::layer
              ? "its norms subtract the mean, " + its("has RMS norms")
              : "it has RMS norms, " + its("has layer norms"));
  if (config.normPlace != target.normPlace)
    lacks("its norms stand at other places");
}

void Judge::judgeScales() {
  double plain = 1 / std::sqrt(double(config.headDim));
  bool anyScore = target.scales || target.family == Family::gemma2;
  if (!anyScore && std::abs(config.attentionScale / plain - 1) > 1e-12)
    lacks("its attention scores are multiplied by " +
          formatDouble(config.attentionScale) + ", " +
          its("multiplies by 1 / sqrt(head width)"));
  double embedding =
      target.rootEmbeddingScale ? std::sqrt(double(config.hidden)) : 1;
  bool anyEmbedding = target.scales;
  // Rounded to bf16 in some programs.
  if (!anyEmbedding && std::abs(config.embeddingScale / embedding - 1) > 4e-3)
    lacks("its embeddings are multiplied by " +
          formatDouble(config.embeddingScale) + ", " + its("multiplies by ") +
          formatDouble(embedding));
  if (!target.scales && (config.residualScale != 1 || config.logitScale != 1))
    lacks("its residuals or logits are scaled, " + its("has no factors"));
  if (!target.softcaps &&
      (config.attentionSoftcap != 0 || config.logitSoftcap != 0))
    lacks("its scores or logits are capped, " + its("has no caps"));
}

void Judge::judgeFfn() {
  if (!(target.activations & bit(config.activation)))
    lacks("its activation is " + activationName(config.activation) + ", " +
          its("has another"));
  // A model of experts alone says nothing of dense layers.
  if (config.moe && config.moe->denseLayers.empty())
    return;
  if (config.gatedFfn != target.gatedFfn)
    lacks(config.gatedFfn
              ? "its feed-forward networks have a gate, " + its("has none")
              : "its feed-forward networks have no gate, " + its("has one"));
  if (config.ffnBias && target.ffnBiases == FfnBiases::none)
    lacks("its feed-forward networks have biases, " + its("has none"));
}

static std::string describeForms(unsigned forms) {
  if (forms & kSigmoid)
    return "takes sigmoids as scores";
  return forms & kSoftmaxSum ? "divides softmax scores by their sum"
                             : "keeps softmax scores as they are";
}

void Judge::judgeShared() {
  const MoeConfig &moe = *config.moe;
  if (!moe.sharedFfn)
    return;
  bool takesPlain = target.shared == SharedExpert::plain ||
                    target.shared == SharedExpert::mayPlain;
  if (target.shared == SharedExpert::none)
    lacks("it has a shared expert, " + its("has none"));
  else if (moe.sharedGate && takesPlain)
    lacks("its shared expert has a sigmoid gate, " + its("has none"));
  else if (!moe.sharedGate && !takesPlain)
    lacks("its shared expert has no gate, " +
              its("has a sigmoid before it, which is never 1"),
          "");
}

void Judge::judgeExperts() {
  if (!config.moe) {
    if (target.routers)
      lacks("it has no experts, " + its("has them in place of dense layers"));
    return;
  }
  if (!target.routers) {
    lacks("it has experts, " + its("has none"));
    return;
  }
  const MoeConfig &moe = *config.moe;
  RouterView view = viewRouter(moe);
  found.insert(found.end(), view.misfits.begin(), view.misfits.end());
  if (view.forms && !(view.forms & target.routers)) {
    bool swaps = !(view.forms & kSigmoid) && !(target.routers & kSigmoid);
    lacks("its router " + describeForms(view.forms) + ", " +
              its(describeForms(target.routers)),
          swaps ? describeForms(target.routers) : "");
  }
  judgeShared();
  if (moe.denseLayers.empty())
    return;
  int64_t leading = 0;
  for (int64_t layer : moe.denseLayers)
    leading += layer == leading;
  bool fits = target.denseLayers == DenseLayers::any ||
              (target.denseLayers == DenseLayers::leading &&
               leading == int64_t(moe.denseLayers.size()));
  if (!fits)
    lacks("layer " + llvm::Twine(moe.denseLayers.back()) + " has no experts, " +
          its(target.denseLayers == DenseLayers::none
                  ? "has them in all layers"
                  : "has them in all layers but the first ones"));
}

std::vector<Misfit> Judge::run() {
  judgeExperts();
  judgeAttention();
  judgeRope();
  judgeNorms();
  judgeScales();
  judgeFfn();
  return std::move(found);
}

std::vector<Misfit> moec::misfits(const ExportTarget &target,
                                  const ModelConfig &config) {
  return Judge(target, config).run();
}
