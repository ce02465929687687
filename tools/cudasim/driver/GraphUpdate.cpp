// Executable graphs updated as a whole, and graphs printed.
#include "tools/cudasim/driver/GraphNodes.h"
#include "tools/cudasim/driver/OnHandle.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace cudasim::driver;

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
