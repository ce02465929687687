// From the parameters of each type of node to its work, and adding nodes.
#include "tools/cudasim/driver/GraphNodes.h"

#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Copies.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;

namespace cudasim::driver {

CUDA_KERNEL_NODE_PARAMS_v3 widen(const CUDA_KERNEL_NODE_PARAMS_v1 &p) {
  CUDA_KERNEL_NODE_PARAMS_v3 wide = {};
  wide.func = p.func;
  wide.gridDimX = p.gridDimX;
  wide.gridDimY = p.gridDimY;
  wide.gridDimZ = p.gridDimZ;
  wide.blockDimX = p.blockDimX;
  wide.blockDimY = p.blockDimY;
  wide.blockDimZ = p.blockDimZ;
  wide.sharedMemBytes = p.sharedMemBytes;
  wide.kernelParams = p.kernelParams;
  wide.extra = p.extra;
  return wide;
}

CUDA_KERNEL_NODE_PARAMS_v3 widen(const CUDA_KERNEL_NODE_PARAMS_v2 &p) {
  CUDA_KERNEL_NODE_PARAMS_v3 wide = {};
  wide.func = p.func;
  wide.gridDimX = p.gridDimX;
  wide.gridDimY = p.gridDimY;
  wide.gridDimZ = p.gridDimZ;
  wide.blockDimX = p.blockDimX;
  wide.blockDimY = p.blockDimY;
  wide.blockDimZ = p.blockDimZ;
  wide.sharedMemBytes = p.sharedMemBytes;
  wide.kernelParams = p.kernelParams;
  wide.extra = p.extra;
  wide.kern = p.kern;
  wide.ctx = p.ctx;
  return wide;
}

CUresult readKernel(CUctx_st &ctx, const CUDA_KERNEL_NODE_PARAMS_v3 &p,
                    Work &work) {
  CUctx_st *owner = &ctx;
  if (!p.func && p.ctx) {
    if (CUresult bad = usable(p.ctx))
      return bad;
    owner = p.ctx;
  }
  LaunchRequest request;
  request.function = p.func;
  request.kernel = p.kern;
  request.grid = {p.gridDimX, p.gridDimY, p.gridDimZ};
  request.block = {p.blockDimX, p.blockDimY, p.blockDimZ};
  request.dynamicShared = p.sharedMemBytes;
  request.params = p.kernelParams;
  request.extra = p.extra;
  KernelWork kernel;
  if (CUresult bad = prepareLaunch(*owner, request, kernel))
    return bad;
  work = std::move(kernel);
  return CUDA_SUCCESS;
}

CUresult readCopy(const CUDA_MEMCPY3D &params, CUcontext ctx, Work &work) {
  if (ctx)
    if (CUresult bad = usable(ctx))
      return bad;
  CopyWork copy;
  if (CUresult bad = makeCopy(params, copy))
    return bad;
  if (CUresult bad = checkCopy(copy))
    return bad;
  work = std::move(copy);
  return CUDA_SUCCESS;
}

CUresult readSet(const CUDA_MEMSET_NODE_PARAMS &p, CUcontext ctx, Work &work) {
  if (ctx)
    if (CUresult bad = usable(ctx))
      return bad;
  SetWork set = {p.dst, p.pitch, p.value, p.elementSize, p.width, p.height};
  if (CUresult bad = checkSet(set))
    return bad;
  work = set;
  return CUDA_SUCCESS;
}

CUresult readHost(const CUDA_HOST_NODE_PARAMS &params, Work &work) {
  if (!params.fn)
    return CUDA_ERROR_INVALID_VALUE;
  work = HostWork{params.fn, params.userData};
  return CUDA_SUCCESS;
}

static bool hasMemoryNodes(const CUgraph_st &graph) {
  return any_of(graph.nodes, [](const auto &node) {
    return std::holds_alternative<AllocWork>(node->work) ||
           std::holds_alternative<FreeWork>(node->work);
  });
}

CUresult readChild(CUgraph graph, Work &work) {
  if (!isGraph(graph))
    return CUDA_ERROR_INVALID_VALUE;
  if (hasMemoryNodes(*graph))
    return refuse(CUDA_ERROR_NOT_SUPPORTED,
                  "a child graph cannot have memory nodes");
  work = ChildWork{cloneGraph(*graph)};
  return CUDA_SUCCESS;
}

CUresult readEvent(CUevent event, bool record, Work &work) {
  if (CUresult bad = findEvent(event))
    return bad;
  if (record)
    work = RecordWork{event};
  else
    work = WaitWork{event};
  return CUDA_SUCCESS;
}

static CUresult readAlloc(const CUmemPoolProps &props, size_t bytes,
                          CUdeviceptr &address, Work &work) {
  Device *device = nullptr;
  if (props.location.type != CU_MEM_LOCATION_TYPE_DEVICE || bytes == 0 ||
      props.handleTypes != CU_MEM_HANDLE_TYPE_NONE)
    return CUDA_ERROR_INVALID_VALUE;
  if (CUresult bad = findDevice(props.location.id, device))
    return bad;
  AllocWork alloc;
  if (CUresult bad = makeGraphMemory(*device, bytes, alloc))
    return bad;
  address = alloc.address;
  work = std::move(alloc);
  return CUDA_SUCCESS;
}

static CUresult readFree(CUdeviceptr address, Work &work) {
  Holding *held = driver().holdingAt(address);
  if (!held || held->kind != Holding::Kind::Graph)
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "a free node frees what an allocation node has made");
  work = FreeWork{address};
  return CUDA_SUCCESS;
}

CUresult readAny(CUctx_st &ctx, CUgraphNodeParams &p, Work &work) {
  switch (p.type) {
  case CU_GRAPH_NODE_TYPE_KERNEL:
    return readKernel(ctx, p.kernel, work);
  case CU_GRAPH_NODE_TYPE_MEMCPY:
    return readCopy(p.memcpy.copyParams, p.memcpy.copyCtx, work);
  case CU_GRAPH_NODE_TYPE_MEMSET: {
    const auto &q = p.memset;
    CUDA_MEMSET_NODE_PARAMS set = {q.dst,         q.pitch, q.value,
                                   q.elementSize, q.width, q.height};
    return readSet(set, q.ctx, work);
  }
  case CU_GRAPH_NODE_TYPE_HOST: {
    CUDA_HOST_NODE_PARAMS host = {p.host.fn, p.host.userData};
    return readHost(host, work);
  }
  case CU_GRAPH_NODE_TYPE_GRAPH:
    return readChild(p.graph.graph, work);
  case CU_GRAPH_NODE_TYPE_EMPTY:
    work = EmptyWork();
    return CUDA_SUCCESS;
  case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    return readEvent(p.eventWait.event, false, work);
  case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
    return readEvent(p.eventRecord.event, true, work);
  case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
    return readAlloc(p.alloc.poolProps, p.alloc.bytesize, p.alloc.dptr, work);
  case CU_GRAPH_NODE_TYPE_MEM_FREE:
    return readFree(p.free.dptr, work);
  default:
    return refuse(CUDA_ERROR_NOT_SUPPORTED, "graph nodes of type " +
                                                Twine(int(p.type)) +
                                                " are not simulated");
  }
}

} // namespace cudasim::driver

using namespace cudasim::driver;

//===--- adding -------------------------------------------------------------//

// `read` makes the work once graph and dependencies are known to be right.
template <typename Read>
static CUresult add(const char *name, CUgraphNode *out, CUgraph graph,
                    const CUgraphNode *after, size_t count, Read &&read) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!out || !isGraph(graph) || (count != 0 && !after))
      return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i != count; ++i) {
      if (!isNode(after[i]) || after[i]->graph != graph)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "dependency " + Twine(i) + " is not of the graph");
      for (size_t j = 0; j != i; ++j)
        if (after[i] == after[j])
          return refuse(CUDA_ERROR_INVALID_VALUE,
                        "dependency " + Twine(i) + " is given twice");
    }
    Work work;
    if (CUresult bad = read(ctx, work))
      return bad;
    *out = addNode(graph, std::move(work), ArrayRef(after, count));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphAddEmptyNode(CUgraphNode *out, CUgraph graph,
                                     const CUgraphNode *after, size_t count) {
  return add("cuGraphAddEmptyNode", out, graph, after, count,
             [](CUctx_st &, Work &) { return CUDA_SUCCESS; });
}

CUresult CUDAAPI
cuGraphAddKernelNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *after,
                     size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
  return add("cuGraphAddKernelNode", out, graph, after, count,
             [&](CUctx_st &ctx, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readKernel(ctx, widen(*params), work);
             });
}

CUresult CUDAAPI cuGraphAddKernelNode_v2(
    CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
    const CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  return add("cuGraphAddKernelNode_v2", out, graph, after, count,
             [&](CUctx_st &ctx, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readKernel(ctx, widen(*params), work);
             });
}

CUresult CUDAAPI cuGraphAddMemcpyNode(CUgraphNode *out, CUgraph graph,
                                      const CUgraphNode *after, size_t count,
                                      const CUDA_MEMCPY3D *params,
                                      CUcontext owner) {
  return add("cuGraphAddMemcpyNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readCopy(*params, owner, work);
             });
}

CUresult CUDAAPI cuGraphAddMemsetNode(CUgraphNode *out, CUgraph graph,
                                      const CUgraphNode *after, size_t count,
                                      const CUDA_MEMSET_NODE_PARAMS *params,
                                      CUcontext owner) {
  return add("cuGraphAddMemsetNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readSet(*params, owner, work);
             });
}

CUresult CUDAAPI cuGraphAddHostNode(CUgraphNode *out, CUgraph graph,
                                    const CUgraphNode *after, size_t count,
                                    const CUDA_HOST_NODE_PARAMS *params) {
  return add("cuGraphAddHostNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readHost(*params, work);
             });
}

CUresult CUDAAPI cuGraphAddChildGraphNode(CUgraphNode *out, CUgraph graph,
                                          const CUgraphNode *after,
                                          size_t count, CUgraph child) {
  return add("cuGraphAddChildGraphNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) { return readChild(child, work); });
}

CUresult CUDAAPI cuGraphAddEventRecordNode(CUgraphNode *out, CUgraph graph,
                                           const CUgraphNode *after,
                                           size_t count, CUevent event) {
  return add(
      "cuGraphAddEventRecordNode", out, graph, after, count,
      [&](CUctx_st &, Work &work) { return readEvent(event, true, work); });
}

CUresult CUDAAPI cuGraphAddEventWaitNode(CUgraphNode *out, CUgraph graph,
                                         const CUgraphNode *after, size_t count,
                                         CUevent event) {
  return add(
      "cuGraphAddEventWaitNode", out, graph, after, count,
      [&](CUctx_st &, Work &work) { return readEvent(event, false, work); });
}

CUresult CUDAAPI cuGraphAddMemAllocNode(CUgraphNode *out, CUgraph graph,
                                        const CUgraphNode *after, size_t count,
                                        CUDA_MEM_ALLOC_NODE_PARAMS *params) {
  return add("cuGraphAddMemAllocNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readAlloc(params->poolProps, params->bytesize,
                                params->dptr, work);
             });
}

CUresult CUDAAPI cuGraphAddMemFreeNode(CUgraphNode *out, CUgraph graph,
                                       const CUgraphNode *after, size_t count,
                                       CUdeviceptr address) {
  return add("cuGraphAddMemFreeNode", out, graph, after, count,
             [&](CUctx_st &, Work &work) { return readFree(address, work); });
}

static CUresult addAny(const char *name, CUgraphNode *out, CUgraph graph,
                       const CUgraphNode *after, size_t count,
                       CUgraphNodeParams *params) {
  return add(name, out, graph, after, count,
             [&](CUctx_st &ctx, Work &work) -> CUresult {
               if (!params)
                 return CUDA_ERROR_INVALID_VALUE;
               return readAny(ctx, *params, work);
             });
}

CUresult CUDAAPI cuGraphAddNode(CUgraphNode *out, CUgraph graph,
                                const CUgraphNode *after, size_t count,
                                CUgraphNodeParams *params) {
  return addAny("cuGraphAddNode", out, graph, after, count, params);
}

CUresult CUDAAPI cuGraphAddNode_v2(CUgraphNode *out, CUgraph graph,
                                   const CUgraphNode *after,
                                   const CUgraphEdgeData *, size_t count,
                                   CUgraphNodeParams *params) {
  return addAny("cuGraphAddNode_v2", out, graph, after, count, params);
}
