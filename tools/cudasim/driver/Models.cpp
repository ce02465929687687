#include "tools/cudasim/driver/Models.h"

#include "tools/cudasim/driver/Cuda.h"

using namespace llvm;

namespace cudasim::driver {

static constexpr uint64_t kMiB = uint64_t(1) << 20;

// Capacities are what the parts leave to programs, a little under the nominal
// size. Rates are the vendor's dense peak figures.
static const Model kModels[] = {
    {/*key=*/"a100", /*name=*/"NVIDIA A100-SXM4-80GB",
     /*major=*/8, /*minor=*/0, /*multiprocessors=*/108,
     /*clockKhz=*/1410000, /*memoryClockKhz=*/1593000, /*memoryBusBits=*/5120,
     /*l2Bytes=*/40 << 20, /*memoryBytes=*/81051 * kMiB,
     /*threadsPerMultiprocessor=*/2048, /*blocksPerMultiprocessor=*/32,
     /*sharedPerMultiprocessor=*/164 << 10, /*sharedOptinPerBlock=*/163 << 10,
     /*copyEngines=*/3, /*singleToDoubleRatio=*/2, /*ecc=*/true,
     /*memoryBandwidth=*/2.039e12, /*tensorFlops=*/312e12,
     /*scalarFlops=*/19.5e12, /*hostBandwidth=*/25e9, /*peerBandwidth=*/300e9},
    {/*key=*/"rtx4090", /*name=*/"NVIDIA GeForce RTX 4090",
     /*major=*/8, /*minor=*/9, /*multiprocessors=*/128,
     /*clockKhz=*/2520000, /*memoryClockKhz=*/10501000, /*memoryBusBits=*/384,
     /*l2Bytes=*/72 << 20, /*memoryBytes=*/24217 * kMiB,
     /*threadsPerMultiprocessor=*/1536, /*blocksPerMultiprocessor=*/24,
     /*sharedPerMultiprocessor=*/100 << 10, /*sharedOptinPerBlock=*/99 << 10,
     /*copyEngines=*/2, /*singleToDoubleRatio=*/64, /*ecc=*/false,
     /*memoryBandwidth=*/1.008e12, /*tensorFlops=*/165e12,
     /*scalarFlops=*/82.6e12, /*hostBandwidth=*/25e9, /*peerBandwidth=*/25e9},
    {/*key=*/"h100", /*name=*/"NVIDIA H100 80GB HBM3",
     /*major=*/9, /*minor=*/0, /*multiprocessors=*/132,
     /*clockKhz=*/1980000, /*memoryClockKhz=*/2619000, /*memoryBusBits=*/5120,
     /*l2Bytes=*/50 << 20, /*memoryBytes=*/81090 * kMiB,
     /*threadsPerMultiprocessor=*/2048, /*blocksPerMultiprocessor=*/32,
     /*sharedPerMultiprocessor=*/228 << 10, /*sharedOptinPerBlock=*/227 << 10,
     /*copyEngines=*/3, /*singleToDoubleRatio=*/2, /*ecc=*/true,
     /*memoryBandwidth=*/3.35e12, /*tensorFlops=*/989e12,
     /*scalarFlops=*/66.9e12, /*hostBandwidth=*/55e9, /*peerBandwidth=*/450e9},
    {/*key=*/"b200", /*name=*/"NVIDIA B200",
     /*major=*/10, /*minor=*/0, /*multiprocessors=*/148,
     /*clockKhz=*/1965000, /*memoryClockKhz=*/3996000, /*memoryBusBits=*/8192,
     /*l2Bytes=*/126 << 20, /*memoryBytes=*/182642 * kMiB,
     /*threadsPerMultiprocessor=*/2048, /*blocksPerMultiprocessor=*/32,
     /*sharedPerMultiprocessor=*/228 << 10, /*sharedOptinPerBlock=*/227 << 10,
     /*copyEngines=*/4, /*singleToDoubleRatio=*/2, /*ecc=*/true,
     /*memoryBandwidth=*/8.0e12, /*tensorFlops=*/2250e12,
     /*scalarFlops=*/75e12, /*hostBandwidth=*/55e9, /*peerBandwidth=*/900e9},
};

ArrayRef<Model> models() { return kModels; }

const Model *findModel(StringRef key) {
  for (const Model &model : kModels)
    if (model.key == key)
      return &model;
  return nullptr;
}

std::optional<int> attributeOf(const Model &m, int ordinal, int attribute) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    return kMaxThreadsPerBlock;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    return kMaxBlockX;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
    return kMaxBlockY;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
    return kMaxBlockZ;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    return kMaxGridX;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    return kMaxGridY;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
    return kMaxGridZ;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
    return kSharedPerBlock;
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
    return 65536;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
    return kWarpSize;
  case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
    return kMaxPitch;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    return kRegistersPerBlock;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
    return m.clockKhz;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
  case CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT:
    return 512;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT:
    return 32;
  case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
    return m.multiprocessors;
  case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
    return CU_COMPUTEMODE_DEFAULT;
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    return 1;
  case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
    return m.ecc;
  // One bus a device, from 0x10 on.
  case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    return 0x10 + ordinal;
  case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
  case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    return 0;
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
    return m.memoryClockKhz;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
    return m.memoryBusBits;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
    return m.l2Bytes;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
    return m.threadsPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    return m.copyEngines;
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
    return m.major;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
    return m.minor;
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
    return m.sharedPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
    return kRegistersPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID:
    return ordinal;
  case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
    return m.singleToDoubleRatio;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    return 1;
  case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    return m.sharedOptinPerBlock;
  case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
    return m.blocksPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
    return kReservedSharedPerBlock;
  case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
  case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT:
    return 1;
  case CU_DEVICE_ATTRIBUTE_NUMA_ID:
  case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
    return -1;
  default:
    // The rest are limits of textures and capabilities that are not simulated.
    if (attribute > 0 && attribute < CU_DEVICE_ATTRIBUTE_MAX)
      return 0;
    return std::nullopt;
  }
}

} // namespace cudasim::driver
