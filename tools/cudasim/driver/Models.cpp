#include "tools/cudasim/driver/Models.h"

#include "tools/cudasim/driver/Cuda.h"
#include "llvm/Support/ErrorHandling.h"

using namespace llvm;

namespace cudasim::driver {

static const PartFacts kParts[] = {
    {/*key=*/"a100", /*copyEngines=*/3, /*singleToDoubleRatio=*/2,
     /*ecc=*/true, /*hostBandwidth=*/25e9, /*peerBandwidth=*/300e9},
    {/*key=*/"rtx4090", /*copyEngines=*/2, /*singleToDoubleRatio=*/64,
     /*ecc=*/false, /*hostBandwidth=*/25e9, /*peerBandwidth=*/25e9},
    {/*key=*/"h100", /*copyEngines=*/3, /*singleToDoubleRatio=*/2,
     /*ecc=*/true, /*hostBandwidth=*/55e9, /*peerBandwidth=*/450e9},
    {/*key=*/"b200", /*copyEngines=*/4, /*singleToDoubleRatio=*/2,
     /*ecc=*/true, /*hostBandwidth=*/55e9, /*peerBandwidth=*/900e9},
};

ArrayRef<PartFacts> parts() { return kParts; }

const PartFacts &factsOf(const DeviceModel &model) {
  for (const PartFacts &part : kParts)
    if (part.key == model.key)
      return part;
  llvm_unreachable("every part that options can name has its facts");
}

std::optional<int> attributeOf(const DeviceModel &m, int ordinal,
                               int attribute) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    return m.maxThreadsPerBlock;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    return kMaxBlockXY;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
    return kMaxBlockXY;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
    return kMaxBlockZ;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    return kMaxGridX;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    return kMaxGridYZ;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
    return kMaxGridYZ;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
    return m.sharedPerBlock;
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
    return 65536;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
    return 32;
  case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
    return kMaxPitch;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    return m.registersPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
    return m.clockKHz;
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
    return factsOf(m).ecc;
  // One bus a device, from 0x10 on.
  case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    return 0x10 + ordinal;
  case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
  case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    return 0;
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
    return m.memoryClockKHz;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
    return m.memoryBusBits;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
    return m.l2Bytes;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
    return m.maxThreadsPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    return factsOf(m).copyEngines;
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
    return m.ccMajor;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
    return m.ccMinor;
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
    return m.sharedPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
    return m.registersPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID:
    return ordinal;
  case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
    return factsOf(m).singleToDoubleRatio;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    return 1;
  case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    return m.sharedPerBlockOptin;
  case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
    return m.maxBlocksPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
    return m.reservedSharedPerBlock;
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
