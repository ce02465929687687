//===- DeviceModel.cpp - limits of the parts that can be simulated --------===//

#include "tools/cudasim/machine/DeviceModel.h"

#include <algorithm>

using namespace cudasim;

namespace {

constexpr uint64_t kMiB = uint64_t(1) << 20;
constexpr int kKiB = 1024;

// Sources: NVIDIA's architecture whitepapers and data sheets (dense rates), and
// the table of compute capabilities in the CUDA programming guide.
constexpr DeviceModel kModels[] = {
    {.key = "a100",
     .name = "NVIDIA A100-SXM4-80GB (simulated)",
     .ccMajor = 8,
     .ccMinor = 0,
     .multiprocessors = 108,
     .memoryBytes = 81920 * kMiB,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 2048,
     .maxBlocksPerMultiprocessor = 32,
     .registersPerMultiprocessor = 65536,
     .maxRegistersPerThread = 255,
     .sharedPerMultiprocessor = 164 * kKiB,
     .sharedPerBlock = 48 * kKiB,
     .sharedPerBlockOptin = 163 * kKiB,
     .reservedSharedPerBlock = kKiB,
     .l2Bytes = 40 * kKiB * kKiB,
     .clockKHz = 1410000,
     .memoryClockKHz = 1593000,
     .memoryBusBits = 5120,
     .memoryBytesPerSecond = 2.039e12,
     .fp32Flops = 19.5e12,
     .tensorBf16Flops = 312e12,
     .tensorTf32Flops = 156e12,
     .tensorFp8Flops = 0,
     .tensorInt8Ops = 624e12,
     .fp64Flops = 9.7e12},
    {.key = "rtx4090",
     .name = "NVIDIA GeForce RTX 4090 (simulated)",
     .ccMajor = 8,
     .ccMinor = 9,
     .multiprocessors = 128,
     .memoryBytes = 24564 * kMiB,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 1536,
     .maxBlocksPerMultiprocessor = 24,
     .registersPerMultiprocessor = 65536,
     .maxRegistersPerThread = 255,
     .sharedPerMultiprocessor = 100 * kKiB,
     .sharedPerBlock = 48 * kKiB,
     .sharedPerBlockOptin = 99 * kKiB,
     .reservedSharedPerBlock = kKiB,
     .l2Bytes = 72 * kKiB * kKiB,
     .clockKHz = 2520000,
     .memoryClockKHz = 10501000,
     .memoryBusBits = 384,
     .memoryBytesPerSecond = 1.008e12,
     .fp32Flops = 82.6e12,
     .tensorBf16Flops = 165.2e12,
     .tensorTf32Flops = 82.6e12,
     .tensorFp8Flops = 330.3e12,
     .tensorInt8Ops = 660.6e12,
     .fp64Flops = 1.29e12},
    {.key = "h100",
     .name = "NVIDIA H100 80GB HBM3 (simulated)",
     .ccMajor = 9,
     .ccMinor = 0,
     .multiprocessors = 132,
     .memoryBytes = 81559 * kMiB,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 2048,
     .maxBlocksPerMultiprocessor = 32,
     .registersPerMultiprocessor = 65536,
     .maxRegistersPerThread = 255,
     .sharedPerMultiprocessor = 228 * kKiB,
     .sharedPerBlock = 48 * kKiB,
     .sharedPerBlockOptin = 227 * kKiB,
     .reservedSharedPerBlock = kKiB,
     .l2Bytes = 50 * kKiB * kKiB,
     .clockKHz = 1980000,
     .memoryClockKHz = 2619000,
     .memoryBusBits = 5120,
     .memoryBytesPerSecond = 3.352e12,
     .fp32Flops = 66.9e12,
     .tensorBf16Flops = 989.4e12,
     .tensorTf32Flops = 494.7e12,
     .tensorFp8Flops = 1978.9e12,
     .tensorInt8Ops = 1978.9e12,
     .fp64Flops = 33.5e12},
    {.key = "b200",
     .name = "NVIDIA B200 (simulated)",
     .ccMajor = 10,
     .ccMinor = 0,
     .multiprocessors = 148,
     .memoryBytes = 183359 * kMiB,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 2048,
     .maxBlocksPerMultiprocessor = 32,
     .registersPerMultiprocessor = 65536,
     .maxRegistersPerThread = 255,
     .sharedPerMultiprocessor = 228 * kKiB,
     .sharedPerBlock = 48 * kKiB,
     .sharedPerBlockOptin = 227 * kKiB,
     .reservedSharedPerBlock = kKiB,
     .l2Bytes = 126 * kKiB * kKiB,
     .clockKHz = 1965000,
     .memoryClockKHz = 3996000,
     .memoryBusBits = 8192,
     .memoryBytesPerSecond = 8e12,
     .fp32Flops = 75e12,
     .tensorBf16Flops = 2250e12,
     .tensorTf32Flops = 1100e12,
     .tensorFp8Flops = 4500e12,
     .tensorInt8Ops = 4500e12,
     .fp64Flops = 37e12},
};

int roundUp(int value, int unit) { return (value + unit - 1) / unit * unit; }

} // namespace

const DeviceModel *cudasim::findDeviceModel(llvm::StringRef key) {
  for (const DeviceModel &model : kModels)
    if (key == model.key)
      return &model;
  return nullptr;
}

const DeviceModel &cudasim::defaultDeviceModel() {
  return *findDeviceModel("h100");
}

Occupancy cudasim::occupancyOf(const DeviceModel &model, int threadsPerBlock,
                               int registersPerThread,
                               uint64_t sharedBytesPerBlock) {
  Occupancy result;
  int warps = (threadsPerBlock + 31) / 32;
  if (warps <= 0 || threadsPerBlock > model.maxThreadsPerBlock)
    return result;
  int maxWarps = model.maxThreadsPerMultiprocessor / 32;
  int blocks = model.maxBlocksPerMultiprocessor;
  result.limit = "blocks";
  auto take = [&](int64_t limit, const char *what) {
    if (limit < blocks) {
      blocks = int(std::max<int64_t>(limit, 0));
      result.limit = what;
    }
  };
  take(maxWarps / warps, "threads");
  if (registersPerThread > 0) {
    // Each of the four partitions gives whole warps.
    int perWarp = roundUp(registersPerThread * 32, 256);
    int warpsByRegisters = model.registersPerMultiprocessor / 4 / perWarp * 4;
    take(registersPerThread > model.maxRegistersPerThread
             ? 0
             : warpsByRegisters / warps,
         "registers");
  }
  uint64_t shared =
      (sharedBytesPerBlock + model.reservedSharedPerBlock + 127) / 128 * 128;
  take(int64_t(model.sharedPerMultiprocessor / std::max<uint64_t>(shared, 1)),
       "shared memory");
  result.blocksPerMultiprocessor = blocks;
  result.warpsPerMultiprocessor = blocks * warps;
  result.fraction = double(result.warpsPerMultiprocessor) / maxWarps;
  return result;
}
