//===- Models.h - the parts that a simulated device can be ----------------===//
//
// Published figures of four real parts, as far as a program can see them
// through the driver API. What the simulator does not do (textures, clusters,
// virtual memory management, inter-process handles) is reported as absent
// whatever the part can do, so that a program that asks first is told.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>

namespace cudasim::driver {

struct Model {
  /// The word in the options.
  llvm::StringRef key;
  /// What cuDeviceGetName answers.
  llvm::StringRef name;
  int major;
  int minor;
  int multiprocessors;
  int clockKhz;
  int memoryClockKhz;
  int memoryBusBits;
  int l2Bytes;
  uint64_t memoryBytes;
  int threadsPerMultiprocessor;
  int blocksPerMultiprocessor;
  int sharedPerMultiprocessor;
  /// Shared memory of one block once its kernel has opted in.
  int sharedOptinPerBlock;
  int copyEngines;
  int singleToDoubleRatio;
  bool ecc;
  /// For the roofline estimate: memory bytes a second, dense bf16 tensor
  /// operations a second, f32 operations a second.
  double memoryBandwidth;
  double tensorFlops;
  double scalarFlops;
  /// Between host and device, and between devices, bytes a second.
  double hostBandwidth;
  double peerBandwidth;
};

/// What is the same on every model.
inline constexpr int kMaxThreadsPerBlock = 1024;
inline constexpr int kMaxBlockX = 1024;
inline constexpr int kMaxBlockY = 1024;
inline constexpr int kMaxBlockZ = 64;
inline constexpr int kMaxGridX = 2147483647;
inline constexpr int kMaxGridY = 65535;
inline constexpr int kMaxGridZ = 65535;
inline constexpr int kSharedPerBlock = 48 * 1024;
/// What the system takes of a block's shared memory.
inline constexpr int kReservedSharedPerBlock = 1024;
inline constexpr int kRegistersPerMultiprocessor = 65536;
inline constexpr int kRegistersPerBlock = 65536;
inline constexpr int kWarpSize = 32;
/// Registers are handed to a warp in units of this many.
inline constexpr int kRegisterGranule = 256;
inline constexpr int kSharedGranule = 128;
inline constexpr int kMaxPitch = 2147483647;

/// All models, in the order of their release.
llvm::ArrayRef<Model> models();
/// The model of that key, or null.
const Model *findModel(llvm::StringRef key);

/// The value of a CUdevice_attribute; none where it is not one.
std::optional<int> attributeOf(const Model &model, int ordinal, int attribute);

} // namespace cudasim::driver
