//===- HfRope.cpp - rotary embedding in config.json -----------------------===//
#include "frontend/models/HfKeys.h"
#include "frontend/models/HfReader.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>

using namespace moec;

static constexpr llvm::StringLiteral kFields[] = {
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "factor",
    "high_freq_factor",
    "long_factor",
    "low_freq_factor",
    "mrope_section",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rope_theta",
    "rope_type",
    "short_factor",
    "truncate",
    "type",
};

/// yarn's growth of scores with the context.
static double yarnScale(double factor, double weight) {
  return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1;
}

/// The part of a head that turns; only some families have less than all.
llvm::Error HfReader::readPartialFactor(llvm::StringRef key) {
  if (!settings.has(key))
    return llvm::Error::success();
  MOEC_ASSIGN(double factor, positive(key, partialRotary));
  bool isFree =
      isOneOf({ModelFamily::glm4moe, ModelFamily::nemotron, ModelFamily::phi3});
  if (factor > 1 || (factor < 1 && !isFree))
    return settings.errorAt(key)
           << "expected '" << key << "' "
           << (isFree ? "above 0 and up to 1" : "to be 1 in a '")
           << (isFree ? "" : family->modelType.str() + "' model") << ", found "
           << settings.find(key)->describe();
  partialRotary = factor;
  return llvm::Error::success();
}

/// A divisor for each pair.
llvm::Expected<std::vector<float>>
HfReader::readDivisors(const std::string &key, const JsonValue &scaling) {
  const JsonValue *list = settings.find(key);
  if (!list || !list->isArray())
    return settings.errorAt(list ? *list : scaling)
           << "expected '" << key << "' to be a list of numbers, found "
           << (list ? list->describe() : "none");
  if (int64_t(list->items.size()) != config.rope.dims / 2)
    return settings.errorAt(*list)
           << "expected " << config.rope.dims / 2 << " numbers in '" << key
           << "', one for each pair, found " << list->items.size();
  std::vector<float> divisors;
  for (const JsonValue &item : list->items) {
    if (!item.isNumber() || !(item.number > 0) || !std::isfinite(item.number))
      return settings.errorAt(item) << "expected positive numbers in '" << key
                                    << "', found " << item.describe();
    divisors.push_back(float(item.number));
  }
  return divisors;
}

llvm::Error HfReader::readYarn(const std::string &prefix,
                               const JsonValue &scaling) {
  RopeConfig &rope = config.rope;
  rope.scaling = RopeConfig::Scaling::yarn;
  if (!settings.has(prefix + "factor"))
    return settings.errorAt(scaling)
           << "expected 'factor' in the settings of yarn, found none";
  MOEC_ASSIGN(rope.factor, positive(prefix + "factor", 1));
  MOEC_ASSIGN(
      rope.originalContext,
      integer(prefix + "original_max_position_embeddings", config.context));
  MOEC_ASSIGN(rope.betaFast, positive(prefix + "beta_fast", 32));
  MOEC_ASSIGN(rope.betaSlow, positive(prefix + "beta_slow", 1));
  MOEC_ASSIGN(rope.truncate, boolean(prefix + "truncate", true));
  MOEC_ASSIGN(double weight, number(prefix + "mscale", 0));
  MOEC_ASSIGN(double allWeight, number(prefix + "mscale_all_dim", 0));
  double byDefault = weight && allWeight ? yarnScale(rope.factor, weight) /
                                               yarnScale(rope.factor, allWeight)
                                         : yarnScale(rope.factor, 1);
  MOEC_ASSIGN(rope.magnitude, positive(prefix + "attention_factor", byDefault));
  // DeepSeek scales what does not turn as well.
  if (config.mla && allWeight) {
    double scale = yarnScale(rope.factor, allWeight);
    config.attentionScale = scale * scale / std::sqrt(double(config.headDim));
  }
  return llvm::Error::success();
}

llvm::Error HfReader::readLongRope(const std::string &prefix,
                                   const JsonValue &scaling) {
  RopeConfig &rope = config.rope;
  rope.scaling = RopeConfig::Scaling::longrope;
  MOEC_ASSIGN(rope.divisors, readDivisors(prefix + "short_factor", scaling));
  MOEC_ASSIGN(rope.longDivisors, readDivisors(prefix + "long_factor", scaling));
  MOEC_ASSIGN(
      rope.originalContext,
      integer(prefix + "original_max_position_embeddings", config.context));
  // The model's own setting wins.
  MOEC_ASSIGN(rope.originalContext, integer("original_max_position_embeddings",
                                            rope.originalContext));
  MOEC_ASSIGN(double factor,
              positive(prefix + "factor",
                       double(config.context) / double(rope.originalContext)));
  double byDefault =
      factor <= 1 || rope.originalContext <= 1
          ? 1
          : std::sqrt(1 + std::log(factor) /
                              std::log(double(rope.originalContext)));
  MOEC_ASSIGN(rope.magnitude, positive(prefix + "attention_factor", byDefault));
  return llvm::Error::success();
}

/// Reads the object `key`, which newer files call `rope_parameters`.
llvm::Error HfReader::readRopeScaling(llvm::StringRef key) {
  known.insert(key);
  if (!settings.has(key))
    return llvm::Error::success();
  const JsonValue &scaling = *settings.find(key);
  if (!scaling.isObject())
    return settings.errorAt(scaling)
           << "expected '" << key << "' to be an object, found "
           << scaling.describe();
  std::string prefix = key.str() + ".";
  auto field = [&](llvm::StringRef name) -> llvm::Expected<double> {
    MOEC_ASSIGN(std::optional<double> value,
                settings.number(prefix + name.str()));
    if (!value)
      return settings.errorAt(scaling)
             << "expected '" << name << "' in '" << key << "', found none";
    if (!(*value > 0))
      return settings.errorAt(prefix + name.str())
             << "expected '" << name << "' to be positive, found " << *value;
    return *value;
  };
  for (const JsonMember &member : scaling.members)
    if (member.value.isObject())
      return settings.errorAt(member.value)
             << "expected the same rotary embedding in all layers, found "
                "settings for '"
             << member.key << "'";
    else if (!llvm::is_contained(kFields, member.key))
      result.warnings.push_back("the setting '" + prefix + member.key +
                                "' is not known and was ignored");
  RopeConfig &rope = config.rope;
  if (settings.has(prefix + "rope_theta")) {
    MOEC_ASSIGN(rope.theta, field("rope_theta"));
  }
  std::string typeKey = prefix + "rope_type";
  if (!settings.has(typeKey))
    typeKey = prefix + "type";
  MOEC_ASSIGN(std::optional<std::string> type, settings.string(typeKey));
  bool isPhi = config.family == ModelFamily::phi3;
  // Phi-3's early names.
  if (isPhi && type && (*type == "su" || *type == "yarn"))
    type = "longrope";
  if (type && *type == "yarn")
    return readYarn(prefix, scaling);
  if (type && *type == "longrope")
    return readLongRope(prefix, scaling);
  if (settings.has(prefix + "attention_factor") &&
      !isNeutral(*settings.find(prefix + "attention_factor"), 1))
    return settings.errorAt(prefix + "attention_factor")
           << "the setting '" << prefix
           << "attention_factor' changes results and is not supported, found "
           << settings.find(prefix + "attention_factor")->describe();
  if (!type && settings.has(prefix + "factor") &&
      !isNeutral(*settings.find(prefix + "factor"), 1))
    return settings.errorAt(prefix + "factor")
           << "expected a 'rope_type' that says what 'factor' divides, found "
              "none";
  if (!type || *type == "default") {
    if (settings.has(prefix + "mrope_section"))
      return settings.errorAt(prefix + "mrope_section")
             << "multimodal rotary embedding is not supported";
    return llvm::Error::success();
  }
  if (*type == "linear") {
    rope.scaling = RopeConfig::Scaling::linear;
    MOEC_ASSIGN(rope.factor, field("factor"));
    return llvm::Error::success();
  }
  if (*type == "llama3") {
    rope.scaling = RopeConfig::Scaling::llama3;
    MOEC_ASSIGN(rope.factor, field("factor"));
    MOEC_ASSIGN(rope.lowFactor, field("low_freq_factor"));
    MOEC_ASSIGN(rope.highFactor, field("high_freq_factor"));
    MOEC_ASSIGN(double context, field("original_max_position_embeddings"));
    rope.originalContext = int64_t(std::min(context, 1e9));
    if (rope.highFactor <= rope.lowFactor)
      return settings.errorAt(prefix + "high_freq_factor")
             << "expected 'high_freq_factor' above 'low_freq_factor', found "
             << rope.highFactor << " and " << rope.lowFactor;
    return llvm::Error::success();
  }
  return settings.errorAt(typeKey)
         << "expected rope scaling of type default, linear, llama3, yarn or "
            "longrope, found '"
         << *type << "'";
}

llvm::Error HfReader::readRope() {
  keys.ropeTheta = "rope_theta";
  MOEC_ASSIGN(config.rope.theta, number("rope_theta", family->ropeTheta));
  if (isOneOf({ModelFamily::glm4moe, ModelFamily::nemotron}))
    partialRotary = 0.5;
  MOEC_TRY(readPartialFactor("partial_rotary_factor"));
  for (llvm::StringRef key : {"rope_scaling", "rope_parameters"})
    if (const JsonValue *object = settings.find(key);
        object && object->isObject())
      MOEC_TRY(readPartialFactor((key + ".partial_rotary_factor").str()));
  // With latents the rotary part is known already.
  if (!config.mla)
    config.rope.dims = int64_t(double(config.headDim) * partialRotary);
  if (config.rope.dims < 2)
    return settings.errorAt(keys.headDim)
           << "rotary embedding needs at least one pair of a head's "
           << config.headDim << " elements, found " << config.rope.dims
           << " elements that turn";
  MOEC_TRY(readRopeScaling("rope_scaling"));
  return readRopeScaling("rope_parameters");
}
