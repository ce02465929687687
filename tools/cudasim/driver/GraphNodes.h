//===- GraphNodes.h - node parameters to work and back --------------------===//
#pragma once

#include "tools/cudasim/driver/Graph.h"

namespace cudasim::driver {

/// Each reads and checks the parameters of one type of node.
CUresult readKernel(CUctx_st &ctx, const CUDA_KERNEL_NODE_PARAMS_v3 &params,
                    Work &work);
CUresult readCopy(const CUDA_MEMCPY3D &params, CUcontext ctx, Work &work);
CUresult readSet(const CUDA_MEMSET_NODE_PARAMS &params, CUcontext ctx,
                 Work &work);
CUresult readHost(const CUDA_HOST_NODE_PARAMS &params, Work &work);
CUresult readChild(CUgraph graph, Work &work);
CUresult readEvent(CUevent event, bool record, Work &work);
/// For the calls that take any type.
CUresult readAny(CUctx_st &ctx, CUgraphNodeParams &params, Work &work);

CUDA_KERNEL_NODE_PARAMS_v3 widen(const CUDA_KERNEL_NODE_PARAMS_v1 &params);
CUDA_KERNEL_NODE_PARAMS_v3 widen(const CUDA_KERNEL_NODE_PARAMS_v2 &params);
inline CUDA_KERNEL_NODE_PARAMS_v3
widen(const CUDA_KERNEL_NODE_PARAMS_v3 &params) {
  return params;
}

} // namespace cudasim::driver
