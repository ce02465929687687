//===- WeightRules.h - rules of weights, while they are collected ---------===//
#pragma once

#include "frontend/models/WeightNames.h"

namespace moec {

inline WeightStep sliceOf(int64_t axis, int64_t begin, int64_t end) {
  WeightStep step;
  step.kind = WeightStep::Kind::slice;
  step.axis = axis;
  step.begin = begin;
  step.end = end;
  return step;
}

inline WeightStep stepOf(WeightStep::Kind kind) {
  WeightStep step;
  step.kind = kind;
  return step;
}

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
  /// Rows [begin, begin + shape[0]) of a weight of `rows` rows.
  WeightRule &addRows(std::string name, std::string stored,
                      std::vector<int64_t> shape, int64_t rows, int64_t begin) {
    WeightRule &rule = add(std::move(name), std::move(stored), shape);
    rule.storedShape[0] = rows;
    if (rows != shape[0])
      rule.steps.push_back(sliceOf(0, begin, begin + shape[0]));
    return rule;
  }
  /// A projection [out, in] and, where it has one, its bias [out].
  void addLinear(const std::string &name, const std::string &stored,
                 int64_t out, int64_t in, bool hasBias,
                 int64_t rotaryHeads = 0) {
    addLinearRows(name, stored, out, in, hasBias, out, 0, rotaryHeads);
  }
  /// The same, as rows [begin, begin + out) of a stored one of `rows` rows.
  void addLinearRows(const std::string &name, const std::string &stored,
                     int64_t out, int64_t in, bool hasBias, int64_t rows,
                     int64_t begin, int64_t rotaryHeads = 0) {
    addRows(name, stored + ".weight", {out, in}, rows, begin).rotaryHeads =
        rotaryHeads;
    if (hasBias)
      addRows(name + ".bias", stored + ".bias", {out}, rows, begin)
          .rotaryHeads = rotaryHeads;
  }
  /// The gain of a norm over the hidden size and, of a layer norm, its bias.
  void addNorm(const std::string &name, const std::string &stored) {
    WeightRule &gain = add(name, stored + ".weight", {config.hidden});
    if (config.normOffset) {
      gain.steps.push_back(stepOf(WeightStep::Kind::offset));
      gain.steps.back().offset = config.normOffset;
    }
    if (config.norm == NormKind::layer)
      add(name + ".bias", stored + ".bias", {config.hidden});
  }

  const ModelConfig &config;
  std::vector<WeightRule> rules;
};

/// Every family whose layers are Llama's but for what the settings say.
std::vector<WeightRule> llamaRules(const Checkpoint &checkpoint,
                                   const ModelConfig &config);

/// Router, experts and shared FFN of a layer: `layer` is the prefix of
/// canonical names, `stored` that of stored ones.
void addHfExperts(Rules &rules, const std::string &layer,
                  const std::string &stored);
void addGgufExperts(Rules &rules, const Checkpoint &checkpoint,
                    const std::string &layer, const std::string &stored);

} // namespace moec
