// Executable graphs: made, changed, launched, and printed.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/GraphNodes.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

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

// The node of `exec` that was made from `node`, in graphs inside of nodes too.
static CUgraphNode findTwin(const CUgraph_st &graph, CUgraphNode node) {
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

template <typename Body>
static CUresult onExec(const char *name, CUgraphExec exec, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!graphHandles().execs.has(exec))
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "the executable graph is not a live one");
    return body(ctx, *exec);
  });
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

//===--- updating the whole -------------------------------------------------//

namespace {

struct Mismatch {
  CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  CUgraphNode node = nullptr;
  CUgraphNode from = nullptr;
};

// Nodes are matched in the order of their making, edges in the order given.
Mismatch compare(const CUgraph_st &exec, const CUgraph_st &fresh) {
  if (exec.nodes.size() != fresh.nodes.size())
    return {CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, nullptr, nullptr};
  DenseMap<const CUgraphNode_st *, size_t> oldIndex;
  DenseMap<const CUgraphNode_st *, size_t> newIndex;
  for (size_t i = 0; i != exec.nodes.size(); ++i) {
    oldIndex[exec.nodes[i].get()] = i;
    newIndex[fresh.nodes[i].get()] = i;
  }
  for (size_t i = 0; i != exec.nodes.size(); ++i) {
    const CUgraphNode_st &was = *exec.nodes[i];
    CUgraphNode now = fresh.nodes[i].get();
    if (was.type != now->type)
      return {CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, now, nullptr};
    if (was.after.size() != now->after.size())
      return {CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, now, nullptr};
    for (size_t k = 0; k != was.after.size(); ++k)
      if (oldIndex.lookup(was.after[k]) != newIndex.lookup(now->after[k]))
        return {CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, now,
                now->after[k]};
    if (auto *kernel = std::get_if<KernelWork>(&was.work)) {
      auto *other = std::get_if<KernelWork>(&now->work);
      if (!other)
        return {CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED, now, nullptr};
      if (kernel->function->module->ctx != other->function->module->ctx)
        return {CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE, now,
                nullptr};
      if (kernel->cooperative != other->cooperative)
        return {CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED, now, nullptr};
    }
    if (auto *copy = std::get_if<CopyWork>(&was.work)) {
      const auto &other = std::get<CopyWork>(now->work);
      if (copy->src.host != other.src.host || copy->dst.host != other.dst.host)
        return {CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED, now, nullptr};
    }
    if (std::holds_alternative<AllocWork>(was.work) ||
        std::holds_alternative<FreeWork>(was.work))
      return {CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED, now, nullptr};
    if (auto *child = std::get_if<ChildWork>(&was.work)) {
      Mismatch inside =
          compare(*child->graph, *std::get<ChildWork>(now->work).graph);
      if (inside.result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
        return inside;
    }
  }
  return {};
}

void take(CUgraph_st &exec, const CUgraph_st &fresh) {
  for (size_t i = 0; i != exec.nodes.size(); ++i) {
    Work &work = exec.nodes[i]->work;
    if (auto *child = std::get_if<ChildWork>(&work))
      take(*child->graph, *std::get<ChildWork>(fresh.nodes[i]->work).graph);
    else
      work = fresh.nodes[i]->work;
  }
}

CUresult update(const char *name, CUgraphExec handle, CUgraph graph,
                Mismatch &found) {
  return onExec(name, handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  found.result = CU_GRAPH_EXEC_UPDATE_ERROR;
                  if (!isGraph(graph))
                    return CUDA_ERROR_INVALID_VALUE;
                  if (CUresult bad = checkCurrent(*exec.graph))
                    return bad;
                  if (CUresult bad = checkCurrent(*graph))
                    return bad;
                  found = compare(*exec.graph, *graph);
                  if (found.result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
                    return refuse(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
                                  "the graph differs from the executable one "
                                  "in more than parameters");
                  take(*exec.graph, *graph);
                  return CUDA_SUCCESS;
                });
}

} // namespace

CUresult CUDAAPI cuGraphExecUpdate(CUgraphExec exec, CUgraph graph,
                                   CUgraphNode *errorNode,
                                   CUgraphExecUpdateResult *result) {
  Mismatch found;
  CUresult status = update("cuGraphExecUpdate", exec, graph, found);
  if (errorNode)
    *errorNode = found.node;
  if (result)
    *result = found.result;
  return status;
}

CUresult CUDAAPI cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph,
                                      CUgraphExecUpdateResultInfo *info) {
  Mismatch found;
  CUresult status = update("cuGraphExecUpdate_v2", exec, graph, found);
  if (info)
    *info = {found.result, found.node, found.from};
  return status;
}

CUresult CUDAAPI cuGraphExecChildGraphNodeSetParams(CUgraphExec handle,
                                                    CUgraphNode node,
                                                    CUgraph child) {
  return onExec("cuGraphExecChildGraphNodeSetParams", handle,
                [&](CUctx_st &, CUgraphExec_st &exec) -> CUresult {
                  CUgraphNode twin = findTwin(*exec.graph, node);
                  auto *work =
                      twin ? std::get_if<ChildWork>(&twin->work) : nullptr;
                  if (!work || !isGraph(child))
                    return CUDA_ERROR_INVALID_VALUE;
                  if (CUresult bad = checkCurrent(*work->graph))
                    return bad;
                  if (CUresult bad = checkCurrent(*child))
                    return bad;
                  if (compare(*work->graph, *child).result !=
                      CU_GRAPH_EXEC_UPDATE_SUCCESS)
                    return CUDA_ERROR_INVALID_VALUE;
                  take(*work->graph, *child);
                  return CUDA_SUCCESS;
                });
}

//===--- printing -----------------------------------------------------------//

static void printDot(raw_ostream &os, const CUgraph_st &graph,
                     const std::string &prefix, unsigned depth) {
  std::string indent(depth * 2, ' ');
  DenseMap<const CUgraphNode_st *, size_t> index;
  for (size_t i = 0; i != graph.nodes.size(); ++i) {
    const CUgraphNode_st &node = *graph.nodes[i];
    index[&node] = i;
    std::string name = prefix + std::to_string(i);
    std::string label = describe(node.work);
    printEscapedString(label, os << indent << "  n" << name << " [label=\"");
    os << "\"];\n";
    if (auto *child = std::get_if<ChildWork>(&node.work)) {
      os << indent << "  subgraph cluster_" << name << " {\n";
      printDot(os, *child->graph, name + "_", depth + 1);
      os << indent << "  }\n";
    }
  }
  for (const auto &node : graph.nodes)
    for (CUgraphNode before : node->after)
      os << indent << "  n" << prefix << index.lookup(before) << " -> n"
         << prefix << index.lookup(node.get()) << ";\n";
}

CUresult CUDAAPI cuGraphDebugDotPrint(CUgraph graph, const char *path,
                                      unsigned flags) {
  return inDriver("cuGraphDebugDotPrint", [&]() -> CUresult {
    if (!isGraph(graph) || !path)
      return CUDA_ERROR_INVALID_VALUE;
    if (CUresult bad = checkCurrent(*graph))
      return bad;
    std::error_code ec;
    raw_fd_ostream os(path, ec);
    if (ec)
      return refuse(CUDA_ERROR_OPERATING_SYSTEM,
                    Twine("'") + path + "': " + ec.message());
    os << "digraph graph_" << graph->id << " {\n";
    printDot(os, *graph, "", 0);
    os << "}\n";
    os.flush();
    if (os.has_error()) {
      os.clear_error();
      return CUDA_ERROR_OPERATING_SYSTEM;
    }
    return CUDA_SUCCESS;
  });
}
