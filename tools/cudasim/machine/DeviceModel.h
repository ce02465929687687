//===- DeviceModel.h - limits of the parts that can be simulated ----------===//
//
// Published limits and peak rates. The rates feed labelled roofline estimates,
// never anything called a measurement.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace cudasim {

struct DeviceModel {
  const char *key;  ///< "a100", "rtx4090", "h100", "b200"
  const char *name; ///< as cuDeviceGetName says it
  int ccMajor, ccMinor;
  int multiprocessors;
  uint64_t memoryBytes;
  int maxThreadsPerBlock, maxThreadsPerMultiprocessor;
  int maxBlocksPerMultiprocessor;
  int registersPerMultiprocessor, maxRegistersPerThread;
  int sharedPerMultiprocessor;
  int sharedPerBlock;      ///< without opt-in
  int sharedPerBlockOptin; ///< with the function attribute set
  int reservedSharedPerBlock;
  int l2Bytes, clockKHz, memoryClockKHz, memoryBusBits;
  double memoryBytesPerSecond;
  double fp32Flops; ///< fused multiply-adds count twice, as below
  double tensorBf16Flops, tensorTf32Flops, tensorFp8Flops, tensorInt8Ops;
  double fp64Flops;
};

constexpr int kMaxGridX = 2147483647, kMaxGridYZ = 65535;
constexpr int kMaxBlockXY = 1024, kMaxBlockZ = 64;
constexpr int kMaxParameterBytes = 32764;

/// The part with this key; null where there is none.
const DeviceModel *findDeviceModel(llvm::StringRef key);
/// What is simulated where nobody chose.
const DeviceModel &defaultDeviceModel();

/// Resident blocks and what holds them back.
struct Occupancy {
  int blocksPerMultiprocessor = 0;
  int warpsPerMultiprocessor = 0;
  double fraction = 0;    ///< of the part's maximal warps
  const char *limit = ""; ///< "threads", "blocks", "registers", "shared memory"
};
/// By the published allocation rules: registers by warp in units of 256,
/// shared memory in units of 128 bytes plus the reserved part per block.
Occupancy occupancyOf(const DeviceModel &model, int threadsPerBlock,
                      int registersPerThread, uint64_t sharedBytesPerBlock);

} // namespace cudasim
