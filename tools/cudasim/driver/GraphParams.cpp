// The parameters of nodes that are there.
#include "tools/cudasim/driver/GraphNodes.h"

#include "tools/cudasim/driver/Call.h"

using namespace llvm;
using namespace cudasim::driver;

template <typename W, typename Body>
static CUresult onWork(const char *name, CUgraphNode node, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!isNode(node))
      return refuse(CUDA_ERROR_INVALID_VALUE, "the node is not a live one");
    if (!isCurrent(node->work))
      return refuse(CUDA_ERROR_INVALID_HANDLE,
                    "the node names a function or event that is gone");
    W *work = std::get_if<W>(&node->work);
    if (!work)
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "the node is " + describe(node->work));
    return body(ctx, *work);
  });
}

// Reads new parameters aside, so that an error changes nothing.
template <typename W, typename Read>
static CUresult setWork(const char *name, CUgraphNode node, Read &&read) {
  return onWork<W>(name, node, [&](CUctx_st &ctx, W &) -> CUresult {
    Work fresh;
    if (CUresult bad = read(ctx, fresh))
      return bad;
    node->work = std::move(fresh);
    return CUDA_SUCCESS;
  });
}

template <typename P> static void giveKernel(KernelWork &work, P &p) {
  const cudasim::KernelInfo &info = *work.function->info;
  work.pointers.clear();
  for (const cudasim::Parameter &parameter : info.parameters)
    work.pointers.push_back(work.params.data() + parameter.offset);
  p.func = work.function;
  p.gridDimX = work.grid.x;
  p.gridDimY = work.grid.y;
  p.gridDimZ = work.grid.z;
  p.blockDimX = work.block.x;
  p.blockDimY = work.block.y;
  p.blockDimZ = work.block.z;
  p.sharedMemBytes = work.dynamicShared;
  p.kernelParams = work.pointers.data();
  p.extra = nullptr;
}

CUresult CUDAAPI cuGraphKernelNodeGetParams(
    CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1 *params) {
  return onWork<KernelWork>("cuGraphKernelNodeGetParams", node,
                            [&](CUctx_st &, KernelWork &work) -> CUresult {
                              if (!params)
                                return CUDA_ERROR_INVALID_VALUE;
                              *params = {};
                              giveKernel(work, *params);
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI cuGraphKernelNodeGetParams_v2(
    CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  return onWork<KernelWork>("cuGraphKernelNodeGetParams_v2", node,
                            [&](CUctx_st &, KernelWork &work) -> CUresult {
                              if (!params)
                                return CUDA_ERROR_INVALID_VALUE;
                              *params = {};
                              giveKernel(work, *params);
                              if (work.kernel) {
                                params->func = nullptr;
                                params->kern = work.kernel;
                                params->ctx = work.function->module->ctx;
                              }
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI cuGraphKernelNodeSetParams(
    CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
  return setWork<KernelWork>("cuGraphKernelNodeSetParams", node,
                             [&](CUctx_st &ctx, Work &work) -> CUresult {
                               if (!params)
                                 return CUDA_ERROR_INVALID_VALUE;
                               return readKernel(ctx, widen(*params), work);
                             });
}

CUresult CUDAAPI cuGraphKernelNodeSetParams_v2(
    CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  return setWork<KernelWork>("cuGraphKernelNodeSetParams_v2", node,
                             [&](CUctx_st &ctx, Work &work) -> CUresult {
                               if (!params)
                                 return CUDA_ERROR_INVALID_VALUE;
                               return readKernel(ctx, widen(*params), work);
                             });
}

CUresult CUDAAPI cuGraphKernelNodeGetAttribute(CUgraphNode node,
                                               CUkernelNodeAttrID id,
                                               CUkernelNodeAttrValue *value) {
  return onWork<KernelWork>("cuGraphKernelNodeGetAttribute", node,
                            [&](CUctx_st &, KernelWork &work) -> CUresult {
                              if (!value)
                                return CUDA_ERROR_INVALID_VALUE;
                              *value = {};
                              if (id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
                                value->cooperative = work.cooperative;
                              else if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
                                value->priority = work.priority;
                              else
                                return CUDA_ERROR_INVALID_VALUE;
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI
cuGraphKernelNodeSetAttribute(CUgraphNode node, CUkernelNodeAttrID id,
                              const CUkernelNodeAttrValue *value) {
  return onWork<KernelWork>("cuGraphKernelNodeSetAttribute", node,
                            [&](CUctx_st &, KernelWork &work) -> CUresult {
                              if (!value)
                                return CUDA_ERROR_INVALID_VALUE;
                              if (id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
                                work.cooperative = value->cooperative != 0;
                              else if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
                                work.priority = value->priority;
                              else
                                return CUDA_ERROR_NOT_SUPPORTED;
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI cuGraphKernelNodeCopyAttributes(CUgraphNode dst,
                                                 CUgraphNode src) {
  return onWork<KernelWork>("cuGraphKernelNodeCopyAttributes", dst,
                            [&](CUctx_st &, KernelWork &to) -> CUresult {
                              auto *from =
                                  isNode(src)
                                      ? std::get_if<KernelWork>(&src->work)
                                      : nullptr;
                              if (!from)
                                return CUDA_ERROR_INVALID_VALUE;
                              to.cooperative = from->cooperative;
                              to.priority = from->priority;
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI cuGraphMemcpyNodeGetParams(CUgraphNode node,
                                            CUDA_MEMCPY3D *params) {
  return onWork<CopyWork>(
      "cuGraphMemcpyNodeGetParams", node,
      [&](CUctx_st &, CopyWork &work) -> CUresult {
        if (!params)
          return CUDA_ERROR_INVALID_VALUE;
        *params = {};
        params->srcMemoryType =
            work.src.host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        params->dstMemoryType =
            work.dst.host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        if (work.src.host)
          params->srcHost = reinterpret_cast<const void *>(work.src.address);
        else
          params->srcDevice = work.src.address;
        if (work.dst.host)
          params->dstHost = reinterpret_cast<void *>(work.dst.address);
        else
          params->dstDevice = work.dst.address;
        params->srcPitch = work.src.pitch;
        params->srcHeight = work.src.height;
        params->dstPitch = work.dst.pitch;
        params->dstHeight = work.dst.height;
        params->WidthInBytes = work.width;
        params->Height = work.rows;
        params->Depth = work.slices;
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuGraphMemcpyNodeSetParams(CUgraphNode node,
                                            const CUDA_MEMCPY3D *params) {
  return setWork<CopyWork>("cuGraphMemcpyNodeSetParams", node,
                           [&](CUctx_st &, Work &work) -> CUresult {
                             if (!params)
                               return CUDA_ERROR_INVALID_VALUE;
                             return readCopy(*params, nullptr, work);
                           });
}

CUresult CUDAAPI cuGraphMemsetNodeGetParams(CUgraphNode node,
                                            CUDA_MEMSET_NODE_PARAMS *params) {
  return onWork<SetWork>("cuGraphMemsetNodeGetParams", node,
                         [&](CUctx_st &, SetWork &work) -> CUresult {
                           if (!params)
                             return CUDA_ERROR_INVALID_VALUE;
                           *params = {work.dst,          work.pitch, work.value,
                                      work.elementBytes, work.width, work.rows};
                           return CUDA_SUCCESS;
                         });
}

CUresult CUDAAPI cuGraphMemsetNodeSetParams(
    CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params) {
  return setWork<SetWork>("cuGraphMemsetNodeSetParams", node,
                          [&](CUctx_st &, Work &work) -> CUresult {
                            if (!params)
                              return CUDA_ERROR_INVALID_VALUE;
                            return readSet(*params, nullptr, work);
                          });
}

CUresult CUDAAPI cuGraphHostNodeGetParams(CUgraphNode node,
                                          CUDA_HOST_NODE_PARAMS *params) {
  return onWork<HostWork>("cuGraphHostNodeGetParams", node,
                          [&](CUctx_st &, HostWork &work) -> CUresult {
                            if (!params)
                              return CUDA_ERROR_INVALID_VALUE;
                            *params = {work.function, work.userData};
                            return CUDA_SUCCESS;
                          });
}

CUresult CUDAAPI cuGraphHostNodeSetParams(CUgraphNode node,
                                          const CUDA_HOST_NODE_PARAMS *params) {
  return setWork<HostWork>("cuGraphHostNodeSetParams", node,
                           [&](CUctx_st &, Work &work) -> CUresult {
                             if (!params)
                               return CUDA_ERROR_INVALID_VALUE;
                             return readHost(*params, work);
                           });
}

CUresult CUDAAPI cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *out) {
  return onWork<ChildWork>("cuGraphChildGraphNodeGetGraph", node,
                           [&](CUctx_st &, ChildWork &work) -> CUresult {
                             if (!out)
                               return CUDA_ERROR_INVALID_VALUE;
                             *out = work.graph.get();
                             return CUDA_SUCCESS;
                           });
}

CUresult CUDAAPI cuGraphEventRecordNodeGetEvent(CUgraphNode node,
                                                CUevent *out) {
  return onWork<RecordWork>("cuGraphEventRecordNodeGetEvent", node,
                            [&](CUctx_st &, RecordWork &work) -> CUresult {
                              if (!out)
                                return CUDA_ERROR_INVALID_VALUE;
                              *out = work.event;
                              return CUDA_SUCCESS;
                            });
}

CUresult CUDAAPI cuGraphEventRecordNodeSetEvent(CUgraphNode node,
                                                CUevent event) {
  return setWork<RecordWork>(
      "cuGraphEventRecordNodeSetEvent", node,
      [&](CUctx_st &, Work &work) { return readEvent(event, true, work); });
}

CUresult CUDAAPI cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent *out) {
  return onWork<WaitWork>("cuGraphEventWaitNodeGetEvent", node,
                          [&](CUctx_st &, WaitWork &work) -> CUresult {
                            if (!out)
                              return CUDA_ERROR_INVALID_VALUE;
                            *out = work.event;
                            return CUDA_SUCCESS;
                          });
}

CUresult CUDAAPI cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event) {
  return setWork<WaitWork>(
      "cuGraphEventWaitNodeSetEvent", node,
      [&](CUctx_st &, Work &work) { return readEvent(event, false, work); });
}

CUresult CUDAAPI cuGraphMemAllocNodeGetParams(
    CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
  return onWork<AllocWork>("cuGraphMemAllocNodeGetParams", node,
                           [&](CUctx_st &, AllocWork &work) -> CUresult {
                             if (!params)
                               return CUDA_ERROR_INVALID_VALUE;
                             *params = {};
                             params->poolProps = work.props;
                             params->bytesize = work.bytes;
                             params->dptr = work.address;
                             return CUDA_SUCCESS;
                           });
}

CUresult CUDAAPI cuGraphMemFreeNodeGetParams(CUgraphNode node,
                                             CUdeviceptr *out) {
  return onWork<FreeWork>("cuGraphMemFreeNodeGetParams", node,
                          [&](CUctx_st &, FreeWork &work) -> CUresult {
                            if (!out)
                              return CUDA_ERROR_INVALID_VALUE;
                            *out = work.address;
                            return CUDA_SUCCESS;
                          });
}

CUresult CUDAAPI cuGraphNodeSetParams(CUgraphNode node,
                                      CUgraphNodeParams *params) {
  return inContext("cuGraphNodeSetParams", [&](CUctx_st &ctx) -> CUresult {
    if (!params || !isNode(node) || node->type != params->type)
      return CUDA_ERROR_INVALID_VALUE;
    Work fresh;
    if (CUresult bad = readAny(ctx, *params, fresh))
      return bad;
    node->work = std::move(fresh);
    return CUDA_SUCCESS;
  });
}
