//===- ExpertRules.cpp - where experts are stored -------------------------===//
#include "frontend/models/WeightRules.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

/// Mixtral's names; the others call their matrices what dense layers do.
static void addExpert(Rules &rules, const std::string &name,
                      const std::string &from) {
  int64_t hidden = rules.config.hidden, width = rules.config.moe->ffn;
  bool isMixtral = rules.config.family == ModelFamily::mixtral;
  auto matrix = [&](const char *mixtral, const char *other) {
    return from + (isMixtral ? mixtral : other) + ".weight";
  };
  rules.add(name + "gate", matrix("w1", "gate_proj"), {width, hidden});
  rules.add(name + "up", matrix("w3", "up_proj"), {width, hidden});
  rules.add(name + "down", matrix("w2", "down_proj"), {hidden, width});
}

/// Granite has all experts in one tensor, gate rows before up rows.
static void addGraniteExperts(Rules &rules, const std::string &layer,
                              const std::string &stored) {
  const MoeConfig &moe = *rules.config.moe;
  int64_t hidden = rules.config.hidden;
  std::string block = stored + "block_sparse_moe.";
  rules.add(layer + "moe.router", block + "router.layer.weight",
            {moe.experts, hidden});
  for (int64_t expert = 0; expert < moe.experts; ++expert) {
    std::string name = layer + "moe.experts." + std::to_string(expert) + ".";
    auto add = [&](const char *part, const char *tensor, int64_t rows,
                   int64_t begin, int64_t out, int64_t in) {
      WeightRule &rule =
          rules.add(name + part, block + tensor + ".weight", {out, in});
      rule.storedShape = {moe.experts, rows, in};
      rule.steps = {sliceOf(0, expert, expert + 1),
                    stepOf(WeightStep::Kind::squeeze)};
      if (rows != out)
        rule.steps.push_back(sliceOf(0, begin, begin + out));
    };
    add("gate", "input_linear", 2 * moe.ffn, 0, moe.ffn, hidden);
    add("up", "input_linear", 2 * moe.ffn, moe.ffn, moe.ffn, hidden);
    add("down", "output_linear", hidden, 0, hidden, moe.ffn);
  }
  if (!moe.sharedFfn)
    return;
  std::string shared = layer + "moe.shared.", from = stored + "shared_mlp.";
  int64_t width = moe.sharedFfn;
  rules.addRows(shared + "gate", from + "input_linear.weight", {width, hidden},
                2 * width, 0);
  rules.addRows(shared + "up", from + "input_linear.weight", {width, hidden},
                2 * width, width);
  rules.add(shared + "down", from + "output_linear.weight", {hidden, width});
}

void moec::addHfExperts(Rules &rules, const std::string &layer,
                        const std::string &stored) {
  const ModelConfig &config = rules.config;
  const MoeConfig &moe = *config.moe;
  if (config.family == ModelFamily::granitemoe ||
      config.family == ModelFamily::granitemoeshared)
    return addGraniteExperts(rules, layer, stored);
  bool isMixtral = config.family == ModelFamily::mixtral;
  std::string block = stored + (isMixtral ? "block_sparse_moe." : "mlp.");
  rules.add(layer + "moe.router", block + "gate.weight",
            {moe.experts, config.hidden});
  if (moe.selectBias)
    rules.add(layer + "moe.select_bias", block + "gate.e_score_correction_bias",
              {moe.experts});
  for (int64_t expert = 0; expert < moe.experts; ++expert) {
    std::string number = std::to_string(expert) + ".";
    addExpert(rules, layer + "moe.experts." + number,
              block + "experts." + number);
  }
  if (!moe.sharedFfn)
    return;
  std::string shared = layer + "moe.shared.";
  std::string from =
      block + (moe.sharedGate ? "shared_expert." : "shared_experts.");
  int64_t width = moe.sharedFfn;
  rules.add(shared + "gate", from + "gate_proj.weight", {width, config.hidden});
  rules.add(shared + "up", from + "up_proj.weight", {width, config.hidden});
  rules.add(shared + "down", from + "down_proj.weight", {config.hidden, width});
  if (moe.sharedGate)
    rules.add(shared + "router", block + "shared_expert_gate.weight",
              {1, config.hidden});
}

/// GGUF stacks the experts' matrices; older files keep them apart.
void moec::addGgufExperts(Rules &rules, const Checkpoint &checkpoint,
                          const std::string &layer, const std::string &stored) {
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
  if (!moe.sharedFfn)
    return;
  std::string shared = layer + "moe.shared.", from = stored + "ffn_";
  rules.add(shared + "gate", from + "gate_shexp.weight",
            {moe.sharedFfn, hidden});
  rules.add(shared + "up", from + "up_shexp.weight", {moe.sharedFfn, hidden});
  rules.add(shared + "down", from + "down_shexp.weight",
            {hidden, moe.sharedFfn});
  if (!moe.sharedGate)
    return;
  WeightRule &gate =
      rules.add(shared + "router", from + "gate_inp_shexp.weight", {1, hidden});
  // A row is stored as a vector.
  gate.storedShape = {hidden};
  gate.steps = {stepOf(WeightStep::Kind::unsqueeze)};
}
