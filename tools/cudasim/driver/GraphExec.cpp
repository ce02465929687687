// Executable graphs: made, launched, and changed node by node.
#include "tools/cudasim/driver/GraphNodes.h"
#include "tools/cudasim/driver/OnHandle.h"
#include "llvm/ADT/DenseMap.h"

using namespace llvm;

namespace cudasim::driver {

// Every node becomes an operation; a graph inside of a node is launched where
// the node stands.
static OpRef launchNodes(CUctx_st &ctx, const CUgraph_st &graph,
                         CUstream stream, const OpRef &before) {
  Queue &queue = driver().queue;
  DenseMap<const CUgraphNode_st *, OpRef> made;
  std::vector<OpRef> leaves;
  for (CUgraphNode node : topologicalOrder(graph)) {
    const Work &work = node->work;
    bool plain = node->enabled && !std::holds_alternative<ChildWork>(work) &&
                 !std::holds_alternative<RecordWork>(work) &&
                 !std::holds_alternative<WaitWork>(work);
    OpRef op = makeOp(ctx, plain ? work : Work(EmptyWork()), stream);
    for (CUgraphNode each : node->after)
      op->after.push_back(made.lookup(each));
    if (node->after.empty())
      op->after.push_back(before);
    if (auto *wait = std::get_if<WaitWork>(&work))
      if (wait->event->record)
        op->after.push_back(wait->event->record);
    op = queue.submit(std::move(op));
    if (auto *record = std::get_if<RecordWork>(&work)) {
      record->event->record = op;
      record->event->capture = nullptr;
    }
    if (auto *child = std::get_if<ChildWork>(&work); child && node->enabled)
      op = launchNodes(ctx, *child->graph, stream, op);
    made[node] = op;
    if (node->before.empty())
      leaves.push_back(op);
  }
  OpRef join = makeOp(ctx, EmptyWork(), stream);
  join->after.append(leaves.begin(), leaves.end());
  join->after.push_back(before);
  return queue.submit(std::move(join));
}

OpRef launchGraph(CUctx_st &ctx, const CUgraph_st &graph, CUstream stream,
                  OpRef before) {
  stream->last = launchNodes(ctx, graph, stream, before);
  return stream->last;
}

CUgraphNode findTwin(const CUgraph_st &graph, CUgraphNode node) {
  for (const auto &each : graph.nodes) {
    if (each->origin == node)
      return each.get();
    if (auto *child = std::get_if<ChildWork>(&each->work))
      if (CUgraphNode found = findTwin(*child->graph, node))
        return found;
  }
  return nullptr;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

//===--- making -------------------------------------------------------------//

static CUresult instantiate(const char *name, CUgraphExec *out, CUgraph graph,
                            unsigned long long flags,
                            CUgraphInstantiateResult *result) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (result)
      *result = CUDA_GRAPH_INSTANTIATE_ERROR;
    unsigned long long known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                               CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
                               CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)
      return refuse(CUDA_ERROR_NOT_SUPPORTED,
                    "launches of graphs by devices are not simulated");
    if (!out || !isGraph(graph) || (flags & ~known))
      return CUDA_ERROR_INVALID_VALUE;
    for (const auto &capture : driver().captures)
      if (capture->graph == graph)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "the graph is still being captured to");
    if (graph->nodes.size() != 0 && topologicalOrder(*graph).empty()) {
      if (result)
        *result = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
      return refuse(CUDA_ERROR_INVALID_VALUE, "the graph has a cycle");
    }
    if (CUresult bad = checkCurrent(*graph))
      return bad;
    auto exec = std::make_unique<CUgraphExec_st>();
    exec->ctx = &ctx;
    exec->flags = flags;
    exec->graph = cloneGraph(*graph);
    *out = graphHandles().execs.add(std::move(exec));
    if (result)
      *result = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphInstantiate(CUgraphExec *out, CUgraph graph,
                                    CUgraphNode *errorNode, char *log,
                                    size_t logBytes) {
  if (errorNode)
    *errorNode = nullptr;
  if (log && logBytes != 0)
    *log = 0;
  return instantiate("cuGraphInstantiate", out, graph, 0, nullptr);
}

CUresult CUDAAPI cuGraphInstantiate_v2(CUgraphExec *out, CUgraph graph,
                                       CUgraphNode *errorNode, char *log,
                                       size_t logBytes) {
  if (errorNode)
    *errorNode = nullptr;
  if (log && logBytes != 0)
    *log = 0;
  return instantiate("cuGraphInstantiate_v2", out, graph, 0, nullptr);
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph graph,
                                             unsigned long long flags) {
  return instantiate("cuGraphInstantiateWithFlags", out, graph, flags, nullptr);
}

CUresult CUDAAPI cuGraphInstantiateWithParams(
    CUgraphExec *out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params) {
  if (!params)
    return CUDA_ERROR_INVALID_VALUE;
  params->hErrNode_out = nullptr;
  return instantiate("cuGraphInstantiateWithParams", out, graph, params->flags,
                     &params->result_out);
}

// What was launched has its own copies and runs on.
CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
  return onExec("cuGraphExecDestroy", handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  // Memory of the graph goes with it.
                  if (exec.last)
                    driver().queue.wait(exec.last);
                  graphHandles().execs.take(handle);
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t *flags) {
  return onExec("cuGraphExecGetFlags", handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  if (!flags)
                    return CUDA_ERROR_INVALID_VALUE;
                  *flags = exec.flags;
                  return CUDA_SUCCESS;
                });
}

//===--- launching ----------------------------------------------------------//

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream streamHandle) {
  return onExec("cuGraphLaunch", handle,
                [&](CUctx_st &ctx, CUgraphExec_st &exec) -> CUresult {
                  CUstream stream = nullptr;
                  if (CUresult bad = findStream(ctx, streamHandle, stream))
                    return bad;
                  if (CUresult bad = checkCurrent(*exec.graph))
                    return bad;
                  if (stream->capture)
                    return submit(stream, ChildWork{cloneGraph(*exec.graph)});
                  if (stream->kind == CUstream_st::Kind::Legacy)
                    if (CUresult bad = forbidImplicit(*stream->ctx))
                      return bad;
                  OpRef head = makeOp(*stream->ctx, EmptyWork(), stream);
                  // Launches of one executable graph come one after another.
                  if (exec.last)
                    head->after.push_back(exec.last);
                  exec.last = launchGraph(*stream->ctx, *exec.graph, stream,
                                          append(stream, std::move(head)));
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuGraphUpload(CUgraphExec handle, CUstream streamHandle) {
  return onExec("cuGraphUpload", handle,
                [&](CUctx_st &ctx, CUgraphExec_st &) -> CUresult {
                  CUstream stream = nullptr;
                  if (CUresult bad = findStream(ctx, streamHandle, stream))
                    return bad;
                  return submit(stream, EmptyWork());
                });
}

//===--- changing -----------------------------------------------------------//

template <typename Read>
static CUresult setNode(const char *name, CUgraphExec handle, CUgraphNode node,
                        CUgraphNodeType type, Read &&read) {
  return onExec(name, handle,
                [&](CUctx_st &ctx, CUgraphExec_st &exec) -> CUresult {
                  CUgraphNode twin = findTwin(*exec.graph, node);
                  if (!twin || twin->type != type)
                    return refuse(CUDA_ERROR_INVALID_VALUE,
                                  "the node is not one of the executable "
                                  "graph's, or not of that type");
                  Work fresh;
                  if (CUresult bad = read(ctx, *twin, fresh))
                    return bad;
                  twin->work = std::move(fresh);
                  return CUDA_SUCCESS;
                });
}

template <typename P>
static CUresult setKernel(const char *name, CUgraphExec exec, CUgraphNode node,
                          const P *params) {
  return setNode(
      name, exec, node, CU_GRAPH_NODE_TYPE_KERNEL,
      [&](CUctx_st &ctx, CUgraphNode_st &twin, Work &work) -> CUresult {
        if (!params)
          return CUDA_ERROR_INVALID_VALUE;
        if (CUresult bad = readKernel(ctx, widen(*params), work))
          return bad;
        auto *old = std::get_if<KernelWork>(&twin.work);
        if (!isCurrent(twin.work))
          return CUDA_ERROR_INVALID_HANDLE;
        auto &fresh = std::get<KernelWork>(work);
        if (!old || old->function->module->ctx != fresh.function->module->ctx)
          return refuse(CUDA_ERROR_INVALID_VALUE,
                        "the function's context cannot change");
        fresh.cooperative = old->cooperative;
        fresh.priority = old->priority;
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI
cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                               const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
  return setKernel("cuGraphExecKernelNodeSetParams", exec, node, params);
}

CUresult CUDAAPI
cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                  const CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  return setKernel("cuGraphExecKernelNodeSetParams_v2", exec, node, params);
}

CUresult CUDAAPI cuGraphExecMemcpyNodeSetParams(CUgraphExec exec,
                                                CUgraphNode node,
                                                const CUDA_MEMCPY3D *params,
                                                CUcontext owner) {
  return setNode(
      "cuGraphExecMemcpyNodeSetParams", exec, node, CU_GRAPH_NODE_TYPE_MEMCPY,
      [&](CUctx_st &, CUgraphNode_st &twin, Work &work) -> CUresult {
        if (!params)
          return CUDA_ERROR_INVALID_VALUE;
        if (CUresult bad = readCopy(*params, owner, work))
          return bad;
        auto &old = std::get<CopyWork>(twin.work);
        auto &fresh = std::get<CopyWork>(work);
        cudasim::GlobalMemory &memory = *driver().memory;
        if (old.src.host != fresh.src.host || old.dst.host != fresh.dst.host ||
            memory.deviceOf(old.src.address) !=
                memory.deviceOf(fresh.src.address) ||
            memory.deviceOf(old.dst.address) !=
                memory.deviceOf(fresh.dst.address))
          return refuse(CUDA_ERROR_INVALID_VALUE,
                        "the kind and device of the memory cannot change");
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuGraphExecMemsetNodeSetParams(
    CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params,
    CUcontext owner) {
  return setNode("cuGraphExecMemsetNodeSetParams", exec, node,
                 CU_GRAPH_NODE_TYPE_MEMSET,
                 [&](CUctx_st &, CUgraphNode_st &, Work &work) -> CUresult {
                   if (!params)
                     return CUDA_ERROR_INVALID_VALUE;
                   return readSet(*params, owner, work);
                 });
}

CUresult CUDAAPI cuGraphExecHostNodeSetParams(
    CUgraphExec exec, CUgraphNode node, const CUDA_HOST_NODE_PARAMS *params) {
  return setNode("cuGraphExecHostNodeSetParams", exec, node,
                 CU_GRAPH_NODE_TYPE_HOST,
                 [&](CUctx_st &, CUgraphNode_st &, Work &work) -> CUresult {
                   if (!params)
                     return CUDA_ERROR_INVALID_VALUE;
                   return readHost(*params, work);
                 });
}

CUresult CUDAAPI cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec,
                                                    CUgraphNode node,
                                                    CUevent event) {
  return setNode("cuGraphExecEventRecordNodeSetEvent", exec, node,
                 CU_GRAPH_NODE_TYPE_EVENT_RECORD,
                 [&](CUctx_st &, CUgraphNode_st &, Work &work) {
                   return readEvent(event, true, work);
                 });
}

CUresult CUDAAPI cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec,
                                                  CUgraphNode node,
                                                  CUevent event) {
  return setNode("cuGraphExecEventWaitNodeSetEvent", exec, node,
                 CU_GRAPH_NODE_TYPE_WAIT_EVENT,
                 [&](CUctx_st &, CUgraphNode_st &, Work &work) {
                   return readEvent(event, false, work);
                 });
}

CUresult CUDAAPI cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                          CUgraphNodeParams *params) {
  if (!params)
    return CUDA_ERROR_INVALID_VALUE;
  if (params->type == CU_GRAPH_NODE_TYPE_KERNEL)
    return setKernel("cuGraphExecNodeSetParams", exec, node, &params->kernel);
  return setNode("cuGraphExecNodeSetParams", exec, node, params->type,
                 [&](CUctx_st &ctx, CUgraphNode_st &, Work &work) {
                   return readAny(ctx, *params, work);
                 });
}

CUresult CUDAAPI cuGraphNodeSetEnabled(CUgraphExec handle, CUgraphNode node,
                                       unsigned enabled) {
  return onExec("cuGraphNodeSetEnabled", handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  CUgraphNode twin = findTwin(*exec.graph, node);
                  if (!twin || (twin->type != CU_GRAPH_NODE_TYPE_KERNEL &&
                                twin->type != CU_GRAPH_NODE_TYPE_MEMCPY &&
                                twin->type != CU_GRAPH_NODE_TYPE_MEMSET))
                    return CUDA_ERROR_INVALID_VALUE;
                  twin->enabled = enabled != 0;
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuGraphNodeGetEnabled(CUgraphExec handle, CUgraphNode node,
                                       unsigned *enabled) {
  return onExec("cuGraphNodeGetEnabled", handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  CUgraphNode twin = findTwin(*exec.graph, node);
                  if (!twin || !enabled)
                    return CUDA_ERROR_INVALID_VALUE;
                  *enabled = twin->enabled;
                  return CUDA_SUCCESS;
                });
}
