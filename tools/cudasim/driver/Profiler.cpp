// The profiler and the driver's own log: accepted, and without effect.
#include "tools/cudasim/driver/Call.h"

using namespace cudasim::driver;

CUresult CUDAAPI cuProfilerInitialize(const char *, const char *,
                                      CUoutput_mode) {
  return inContext("cuProfilerInitialize",
                   [](CUctx_st &) { return CUDA_SUCCESS; });
}

CUresult CUDAAPI cuProfilerStart(void) {
  return inContext("cuProfilerStart", [](CUctx_st &) { return CUDA_SUCCESS; });
}

CUresult CUDAAPI cuProfilerStop(void) {
  return inContext("cuProfilerStop", [](CUctx_st &) { return CUDA_SUCCESS; });
}

CUresult CUDAAPI cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget,
                                            CUflushGPUDirectRDMAWritesScope) {
  return inContext("cuFlushGPUDirectRDMAWrites",
                   [](CUctx_st &) { return CUDA_SUCCESS; });
}
