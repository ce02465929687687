//===- Models.h - what programs can ask of a simulated part ---------------===//
//
// The attributes of cuDeviceGetAttribute by part. What the simulator does not
// do (textures, clusters, virtual memory management, inter-process handles) is
// reported as absent whatever the part can do, so that a program that asks
// first is told.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/DeviceModel.h"
#include "llvm/ADT/ArrayRef.h"

#include <optional>

namespace cudasim::driver {

/// What only the driver wants to know of a part.
struct PartFacts {
  llvm::StringRef key;
  int copyEngines;
  int singleToDoubleRatio;
  bool ecc;
  /// Between host and device, and between devices, bytes a second.
  double hostBandwidth;
  double peerBandwidth;
};

inline constexpr int kMaxPitch = 2147483647;

/// The keys that options may name, in the order of release.
llvm::ArrayRef<PartFacts> parts();
const PartFacts &factsOf(const DeviceModel &model);

/// The value of a CUdevice_attribute; none where it is not one.
std::optional<int> attributeOf(const DeviceModel &model, int ordinal,
                               int attribute);

} // namespace cudasim::driver
