//===- ConfigReaders.h - a reader of settings for each format -------------===//
#pragma once

#include "frontend/models/ModelConfig.h"
#include "llvm/Support/Error.h"

#include <string>

namespace moec {

/// What a file calls the settings that are checked for all formats alike.
struct ConfigKeys {
  std::string kvHeads;
  std::string headDim;
  std::string normEps;
  std::string ropeTheta;
  std::string experts;
  std::string topk;
};

llvm::Error readHfConfig(const Checkpoint &checkpoint,
                         ModelConfigResult &result, ConfigKeys &keys);
llvm::Error readGgufConfig(const Checkpoint &checkpoint,
                           ModelConfigResult &result, ConfigKeys &keys);
llvm::Error readLlama2cConfig(const Checkpoint &checkpoint,
                              ModelConfigResult &result, ConfigKeys &keys);

/// More layers or experts than any model has; what is made for each of them
/// stays small.
inline constexpr int64_t kMaxLayers = 1 << 14;
inline constexpr int64_t kMaxExperts = 1 << 14;

} // namespace moec
