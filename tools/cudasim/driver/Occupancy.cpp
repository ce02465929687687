// How many blocks fit, from registers, shared memory and published limits.
// Registers are the simulator's estimate, so these answers are estimates too.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"
#include "tools/cudasim/driver/Modules.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace llvm;
using namespace cudasim::driver;
using cudasim::DeviceModel;
using cudasim::KernelInfo;

namespace {

template <typename Body>
CUresult onKernelOrFunction(const char *name, CUfunction handle, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CUfunction function = nullptr;
    if (CUresult bad = findFunction(ctx, handle, function))
      return bad;
    return body(*function, *function->module->ctx->device->model);
  });
}

int blocksFor(const CUfunc_st &function, const DeviceModel &model, int threads,
              uint64_t dynamicShared) {
  const KernelInfo &info = *function.info;
  if (threads > maxThreadsOf(info, model))
    return 0;
  uint64_t shared = info.staticSharedBytes + dynamicShared;
  if (dynamicShared > function.maxDynamicShared)
    return 0;
  return cudasim::occupancyOf(model, threads, int(info.registers), shared)
      .blocksPerMultiprocessor;
}

CUresult activeBlocks(const char *name, int *blocks, CUfunction handle,
                      int threads, size_t dynamicShared, unsigned flags) {
  return onKernelOrFunction(
      name, handle,
      [&](CUfunc_st &function, const DeviceModel &model) -> CUresult {
        if (!blocks || threads <= 0 ||
            (flags & ~unsigned(CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)))
          return CUDA_ERROR_INVALID_VALUE;
        *blocks = blocksFor(function, model, threads, dynamicShared);
        return CUDA_SUCCESS;
      });
}

// The block size with most resident threads; the larger one of two that are
// equal, as it needs fewer blocks.
CUresult bestBlock(const char *name, int *minGrid, int *threads,
                   CUfunction handle, CUoccupancyB2DSize sharedOf,
                   size_t dynamicShared, int limit) {
  return onKernelOrFunction(
      name, handle,
      [&](CUfunc_st &function, const DeviceModel &model) -> CUresult {
        if (!minGrid || !threads || limit < 0)
          return CUDA_ERROR_INVALID_VALUE;
        int most = maxThreadsOf(*function.info, model);
        if (limit != 0)
          most = std::min(most, limit);
        int best = 0;
        int bestThreads = 0;
        int bestBlocks = 0;
        for (int size = int(alignTo(uint64_t(most), 32)); size > 0;
             size -= 32) {
          int used = std::min(size, most);
          uint64_t shared = sharedOf ? sharedOf(used) : dynamicShared;
          int blocks = blocksFor(function, model, used, shared);
          if (blocks * used > best) {
            best = blocks * used;
            bestThreads = used;
            bestBlocks = blocks;
          }
        }
        *threads = bestThreads;
        *minGrid = bestBlocks * model.multiprocessors;
        return CUDA_SUCCESS;
      });
}

} // namespace

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(
    int *blocks, CUfunction function, int threads, size_t dynamicShared) {
  return activeBlocks("cuOccupancyMaxActiveBlocksPerMultiprocessor", blocks,
                      function, threads, dynamicShared, 0);
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int *blocks, CUfunction function, int threads, size_t dynamicShared,
    unsigned flags) {
  return activeBlocks("cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags",
                      blocks, function, threads, dynamicShared, flags);
}

CUresult CUDAAPI cuOccupancyMaxPotentialBlockSize(int *minGrid, int *threads,
                                                  CUfunction function,
                                                  CUoccupancyB2DSize sharedOf,
                                                  size_t dynamicShared,
                                                  int limit) {
  return bestBlock("cuOccupancyMaxPotentialBlockSize", minGrid, threads,
                   function, sharedOf, dynamicShared, limit);
}

CUresult CUDAAPI cuOccupancyMaxPotentialBlockSizeWithFlags(
    int *minGrid, int *threads, CUfunction function,
    CUoccupancyB2DSize sharedOf, size_t dynamicShared, int limit,
    unsigned flags) {
  if (flags & ~unsigned(CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
    return CUDA_ERROR_INVALID_VALUE;
  return bestBlock("cuOccupancyMaxPotentialBlockSizeWithFlags", minGrid,
                   threads, function, sharedOf, dynamicShared, limit);
}

CUresult CUDAAPI cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes,
                                                         CUfunction handle,
                                                         int blocks,
                                                         int threads) {
  return onKernelOrFunction(
      "cuOccupancyAvailableDynamicSMemPerBlock", handle,
      [&](CUfunc_st &function, const DeviceModel &model) -> CUresult {
        if (!bytes || blocks <= 0 || threads <= 0 ||
            blocks > model.maxBlocksPerMultiprocessor)
          return CUDA_ERROR_INVALID_VALUE;
        int64_t each = int64_t(
            alignDown(uint64_t(model.sharedPerMultiprocessor / blocks), 128));
        each -= model.reservedSharedPerBlock;
        each = std::min<int64_t>(each, model.sharedPerBlockOptin);
        each -= function.info->staticSharedBytes;
        *bytes = size_t(std::max<int64_t>(each, 0));
        return CUDA_SUCCESS;
      });
}
