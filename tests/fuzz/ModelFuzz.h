//===- ModelFuzz.h - what every opened checkpoint must stand --------------===//
#pragma once

#include "frontend/models/ModelConfig.h"
#include "frontend/models/WeightMap.h"
#include "ir/support/Diagnostic.h"

#include <cstdlib>

namespace moec {

/// Drops an error, or goes the whole way from settings to weights: steps lead
/// to the promised shape for each.
inline void useCheckpoint(llvm::Expected<Checkpoint> checkpoint) {
  if (!checkpoint) {
    (void)toText(checkpoint.takeError());
    return;
  }
  auto result = readModelConfig(*checkpoint);
  if (!result) {
    (void)toText(result.takeError());
    return;
  }
  auto map =
      WeightMap::create(*checkpoint, result->config, RotaryLayout::halfSplit);
  if (!map) {
    (void)toText(map.takeError());
    return;
  }
  for (const WeightEntry &entry : map->entries())
    if (map->readF32(*checkpoint, entry).size() != *elementCount(entry.shape))
      std::abort();
}

} // namespace moec
