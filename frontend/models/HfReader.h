//===- HfReader.h - config.json, a concern at a time ----------------------===//
//
// HfConfig.cpp says which family a file is of and reads what all families
// have; HfAttention.cpp, HfRope.cpp and HfMoe.cpp read their parts.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/models/ConfigReaders.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/StringSet.h"

#include <limits>

namespace moec {

/// A `model_type` and the defaults of its configuration class.
struct HfFamily {
  llvm::StringLiteral modelType;
  llvm::StringLiteral architecture;
  ModelFamily family;
  double normEps;
  double ropeTheta;
  bool tiedByDefault;
};

class HfReader {
public:
  HfReader(const Config &settings, ModelConfigResult &result, ConfigKeys &keys)
      : settings(settings), result(result), config(result.config), keys(keys) {}

  llvm::Error read();

private:
  // HfConfig.cpp
  llvm::Error readFamily();
  llvm::Error readLlamaLike();
  llvm::Error readGpt2();
  llvm::Error readActivation();
  llvm::Error readActivation(llvm::StringRef key, llvm::StringRef byDefault);
  llvm::Error readNorms();
  llvm::Error expectString(llvm::StringRef key, llvm::StringRef wanted);
  llvm::Error readScales();
  llvm::Error readTokens();
  llvm::Error checkOtherKeys();

  // HfAttention.cpp
  llvm::Error readHeads();
  llvm::Error readLatents();
  llvm::Error readBiases();
  llvm::Error readCaps();
  llvm::Error readWindows();
  llvm::Expected<std::vector<int64_t>> defaultWindows(int64_t window);

  // HfRope.cpp
  llvm::Error readRope();
  llvm::Error readRopeScaling(llvm::StringRef key);
  llvm::Error readYarn(const std::string &prefix, const JsonValue &scaling);
  llvm::Error readLongRope(const std::string &prefix, const JsonValue &scaling);
  llvm::Expected<std::vector<float>> readDivisors(const std::string &key,
                                                  const JsonValue &scaling);
  llvm::Error readPartialFactor(llvm::StringRef key);

  // HfMoe.cpp
  llvm::Error readMoe();
  llvm::Error refuseExperts();
  llvm::Error readSharedExperts(MoeConfig &moe);
  llvm::Error readDenseLayers(MoeConfig &moe);
  llvm::Error readQwenRouter(MoeConfig &moe);
  llvm::Error readDeepseekRouter(MoeConfig &moe);
  llvm::Error readSigmoidRouter(MoeConfig &moe);

  bool isOneOf(std::initializer_list<ModelFamily> families) const {
    return llvm::is_contained(families, config.family);
  }

  // As the Config's functions, and note that the key was read.
  llvm::Expected<int64_t>
  require(llvm::StringRef key,
          int64_t max = std::numeric_limits<int32_t>::max()) {
    known.insert(key);
    return settings.requireInteger(key, /*min=*/1, max);
  }
  llvm::Expected<int64_t> integer(llvm::StringRef key, int64_t byDefault,
                                  int64_t min = 1) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<int64_t> value, settings.integer(key, min));
    return value.value_or(byDefault);
  }
  llvm::Expected<double> number(llvm::StringRef key, double byDefault) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<double> value, settings.number(key));
    return value.value_or(byDefault);
  }
  /// A finite number above 0.
  llvm::Expected<double> positive(llvm::StringRef key, double byDefault);
  llvm::Expected<bool> boolean(llvm::StringRef key, bool byDefault) {
    known.insert(key);
    MOEC_ASSIGN(std::optional<bool> value, settings.boolean(key));
    return value.value_or(byDefault);
  }

  const Config &settings;
  ModelConfigResult &result;
  ModelConfig &config;
  ConfigKeys &keys;
  const HfFamily *family = nullptr;
  /// Part of a head that turns.
  double partialRotary = 1;
  /// Keys that were read.
  llvm::StringSet<> known;
};

} // namespace moec
