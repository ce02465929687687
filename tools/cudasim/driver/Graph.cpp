// Graphs as data: nodes, edges, copies, and what lists and destroys them.
#include "tools/cudasim/driver/Graph.h"

#include "tools/cudasim/driver/Call.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;

namespace cudasim::driver {

GraphHandles &graphHandles() {
  static auto *handles = new GraphHandles;
  return *handles;
}

static std::shared_ptr<CUgraph_st> newGraph(unsigned flags) {
  auto graph = std::make_shared<CUgraph_st>();
  graph->id = driver().nextId();
  graph->flags = flags;
  graphHandles().knownGraphs.insert(graph.get());
  return graph;
}

CUgraph makeGraph(unsigned flags) {
  std::shared_ptr<CUgraph_st> graph = newGraph(flags);
  CUgraph handle = graph.get();
  graphHandles().graphs[handle] = std::move(graph);
  return handle;
}

bool isGraph(CUgraph graph) {
  return graphHandles().knownGraphs.contains(graph);
}

bool isNode(CUgraphNode node) { return graphHandles().nodes.contains(node); }

CUgraphNodeType typeOf(const Work &work) {
  struct Types {
    CUgraphNodeType operator()(const EmptyWork &) {
      return CU_GRAPH_NODE_TYPE_EMPTY;
    }
    CUgraphNodeType operator()(const KernelWork &) {
      return CU_GRAPH_NODE_TYPE_KERNEL;
    }
    CUgraphNodeType operator()(const CopyWork &) {
      return CU_GRAPH_NODE_TYPE_MEMCPY;
    }
    CUgraphNodeType operator()(const SetWork &) {
      return CU_GRAPH_NODE_TYPE_MEMSET;
    }
    CUgraphNodeType operator()(const HostWork &) {
      return CU_GRAPH_NODE_TYPE_HOST;
    }
    CUgraphNodeType operator()(const CallbackWork &) {
      return CU_GRAPH_NODE_TYPE_HOST;
    }
    CUgraphNodeType operator()(const ChildWork &) {
      return CU_GRAPH_NODE_TYPE_GRAPH;
    }
    CUgraphNodeType operator()(const RecordWork &) {
      return CU_GRAPH_NODE_TYPE_EVENT_RECORD;
    }
    CUgraphNodeType operator()(const WaitWork &) {
      return CU_GRAPH_NODE_TYPE_WAIT_EVENT;
    }
    CUgraphNodeType operator()(const AllocWork &) {
      return CU_GRAPH_NODE_TYPE_MEM_ALLOC;
    }
    CUgraphNodeType operator()(const FreeWork &) {
      return CU_GRAPH_NODE_TYPE_MEM_FREE;
    }
    CUgraphNodeType operator()(const ValueWork &) {
      return CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
    }
    // What a library submits would be kernels on a real device.
    CUgraphNodeType operator()(const ForeignWork &) {
      return CU_GRAPH_NODE_TYPE_KERNEL;
    }
  };
  return std::visit(Types(), work);
}

bool isCurrent(const Work &work) {
  if (auto *kernel = std::get_if<KernelWork>(&work))
    return driver().knownFunctions.contains(kernel->function);
  if (auto *record = std::get_if<RecordWork>(&work))
    return driver().knownEvents.contains(record->event);
  if (auto *wait = std::get_if<WaitWork>(&work))
    return driver().knownEvents.contains(wait->event);
  return true;
}

CUresult checkCurrent(const CUgraph_st &graph) {
  for (const auto &node : graph.nodes) {
    if (!isCurrent(node->work))
      return refuse(CUDA_ERROR_INVALID_HANDLE,
                    "the graph names a function or event that is gone");
    if (auto *child = std::get_if<ChildWork>(&node->work))
      if (CUresult bad = checkCurrent(*child->graph))
        return bad;
  }
  return CUDA_SUCCESS;
}

bool hasEdge(CUgraphNode from, CUgraphNode to) {
  return is_contained(to->after, from);
}

void addEdge(CUgraphNode from, CUgraphNode to) {
  to->after.push_back(from);
  from->before.push_back(to);
}

void removeEdge(CUgraphNode from, CUgraphNode to) {
  llvm::erase(to->after, from);
  llvm::erase(from->before, to);
}

CUgraphNode addNode(CUgraph graph, Work work, ArrayRef<CUgraphNode> after) {
  auto owned = std::make_unique<CUgraphNode_st>();
  CUgraphNode node = owned.get();
  node->graph = graph;
  node->id = driver().nextId();
  node->type = typeOf(work);
  node->work = std::move(work);
  if (auto *child = std::get_if<ChildWork>(&node->work))
    child->graph->isChild = true;
  graphHandles().nodes.insert(node);
  graph->nodes.push_back(std::move(owned));
  for (CUgraphNode before : after)
    addEdge(before, node);
  return node;
}

std::shared_ptr<CUgraph_st> cloneGraph(const CUgraph_st &graph) {
  std::shared_ptr<CUgraph_st> copy = newGraph(graph.flags);
  copy->origin = &graph;
  copy->userObjects = graph.userObjects;
  for (CUuserObject object : copy->userObjects)
    ++object->uses;
  DenseMap<const CUgraphNode_st *, CUgraphNode> twin;
  for (const auto &node : graph.nodes) {
    Work work = node->work;
    if (auto *child = std::get_if<ChildWork>(&work))
      child->graph = cloneGraph(*child->graph);
    CUgraphNode added = addNode(copy.get(), std::move(work), {});
    added->type = node->type;
    added->enabled = node->enabled;
    added->origin = node.get();
    twin[node.get()] = added;
  }
  for (const auto &node : graph.nodes)
    for (CUgraphNode before : node->after)
      addEdge(twin.lookup(before), twin.lookup(node.get()));
  return copy;
}

std::vector<CUgraphNode> topologicalOrder(const CUgraph_st &graph) {
  DenseMap<const CUgraphNode_st *, size_t> open;
  std::vector<CUgraphNode> order;
  for (const auto &node : graph.nodes) {
    open[node.get()] = node->after.size();
    if (node->after.empty())
      order.push_back(node.get());
  }
  for (size_t i = 0; i != order.size(); ++i)
    for (CUgraphNode behind : order[i]->before)
      if (--open[behind] == 0)
        order.push_back(behind);
  if (order.size() != graph.nodes.size())
    order.clear();
  return order;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUgraph_st::~CUgraph_st() {
  for (const auto &node : nodes)
    graphHandles().nodes.erase(node.get());
  graphHandles().knownGraphs.erase(this);
  for (CUuserObject object : userObjects)
    if (driver().userObjects.has(object))
      releaseUserObject(object, 1);
}

//===--- graphs -------------------------------------------------------------//

template <typename Body>
static CUresult onGraph(const char *name, CUgraph graph, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!isGraph(graph))
      return refuse(CUDA_ERROR_INVALID_VALUE, "the graph is not a live one");
    return body(*graph);
  });
}

template <typename Body>
static CUresult onNode(const char *name, CUgraphNode node, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!isNode(node))
      return refuse(CUDA_ERROR_INVALID_VALUE, "the node is not a live one");
    return body(*node);
  });
}

CUresult CUDAAPI cuGraphCreate(CUgraph *out, unsigned flags) {
  return inDriver("cuGraphCreate", [&]() -> CUresult {
    if (!out || flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    *out = makeGraph(flags);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
  return onGraph("cuGraphDestroy", handle, [&](CUgraph_st &graph) -> CUresult {
    if (graph.isChild || !graphHandles().graphs.count(handle))
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "the graph belongs to a node of another");
    for (const auto &capture : driver().captures)
      if (capture->graph == handle)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "the graph is still being captured to");
    graphHandles().graphs.erase(handle);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphClone(CUgraph *out, CUgraph handle) {
  return onGraph("cuGraphClone", handle, [&](CUgraph_st &graph) -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    std::shared_ptr<CUgraph_st> copy = cloneGraph(graph);
    *out = copy.get();
    graphHandles().graphs[*out] = std::move(copy);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphNodeFindInClone(CUgraphNode *out, CUgraphNode original,
                                        CUgraph clone) {
  return onGraph("cuGraphNodeFindInClone", clone,
                 [&](CUgraph_st &graph) -> CUresult {
                   if (!out)
                     return CUDA_ERROR_INVALID_VALUE;
                   for (const auto &node : graph.nodes)
                     if (node->origin == original) {
                       *out = node.get();
                       return CUDA_SUCCESS;
                     }
                   return CUDA_ERROR_INVALID_VALUE;
                 });
}

// Lists answer with their length where there is no room to fill, and put null
// in room that is left over.
template <typename T>
static CUresult giveList(ArrayRef<T> items, T *out, size_t *count) {
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  if (out) {
    size_t filled = std::min(*count, items.size());
    std::copy_n(items.begin(), filled, out);
    std::fill(out + filled, out + *count, T());
    *count = filled;
  } else {
    *count = items.size();
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphGetNodes(CUgraph handle, CUgraphNode *out,
                                 size_t *count) {
  return onGraph("cuGraphGetNodes", handle, [&](CUgraph_st &graph) {
    std::vector<CUgraphNode> nodes;
    for (const auto &node : graph.nodes)
      nodes.push_back(node.get());
    return giveList<CUgraphNode>(nodes, out, count);
  });
}

CUresult CUDAAPI cuGraphGetRootNodes(CUgraph handle, CUgraphNode *out,
                                     size_t *count) {
  return onGraph("cuGraphGetRootNodes", handle, [&](CUgraph_st &graph) {
    std::vector<CUgraphNode> nodes;
    for (const auto &node : graph.nodes)
      if (node->after.empty())
        nodes.push_back(node.get());
    return giveList<CUgraphNode>(nodes, out, count);
  });
}

//===--- edges --------------------------------------------------------------//

static CUresult getEdges(const char *name, CUgraph handle, CUgraphNode *from,
                         CUgraphNode *to, CUgraphEdgeData *data,
                         size_t *count) {
  return onGraph(name, handle, [&](CUgraph_st &graph) -> CUresult {
    if (!count || !from != !to)
      return CUDA_ERROR_INVALID_VALUE;
    std::vector<CUgraphNode> starts;
    std::vector<CUgraphNode> ends;
    for (const auto &node : graph.nodes)
      for (CUgraphNode before : node->after) {
        starts.push_back(before);
        ends.push_back(node.get());
      }
    size_t room = *count;
    if (data && from)
      std::fill_n(data, std::min(room, starts.size()), CUgraphEdgeData{});
    giveList<CUgraphNode>(starts, from, count);
    if (to)
      giveList<CUgraphNode>(ends, to, &room);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphGetEdges(CUgraph graph, CUgraphNode *from,
                                 CUgraphNode *to, size_t *count) {
  return getEdges("cuGraphGetEdges", graph, from, to, nullptr, count);
}

CUresult CUDAAPI cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from,
                                    CUgraphNode *to, CUgraphEdgeData *data,
                                    size_t *count) {
  return getEdges("cuGraphGetEdges_v2", graph, from, to, data, count);
}

static CUresult neighbours(const char *name, CUgraphNode handle, bool behind,
                           CUgraphNode *out, CUgraphEdgeData *data,
                           size_t *count) {
  return onNode(name, handle, [&](CUgraphNode_st &node) -> CUresult {
    const std::vector<CUgraphNode> &list = behind ? node.before : node.after;
    if (data && count)
      std::fill_n(data, std::min(*count, list.size()), CUgraphEdgeData{});
    return giveList<CUgraphNode>(list, out, count);
  });
}

CUresult CUDAAPI cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *out,
                                            size_t *count) {
  return neighbours("cuGraphNodeGetDependencies", node, false, out, nullptr,
                    count);
}

CUresult CUDAAPI cuGraphNodeGetDependencies_v2(CUgraphNode node,
                                               CUgraphNode *out,
                                               CUgraphEdgeData *data,
                                               size_t *count) {
  return neighbours("cuGraphNodeGetDependencies_v2", node, false, out, data,
                    count);
}

CUresult CUDAAPI cuGraphNodeGetDependentNodes(CUgraphNode node,
                                              CUgraphNode *out, size_t *count) {
  return neighbours("cuGraphNodeGetDependentNodes", node, true, out, nullptr,
                    count);
}

CUresult CUDAAPI cuGraphNodeGetDependentNodes_v2(CUgraphNode node,
                                                 CUgraphNode *out,
                                                 CUgraphEdgeData *data,
                                                 size_t *count) {
  return neighbours("cuGraphNodeGetDependentNodes_v2", node, true, out, data,
                    count);
}

// Edges are checked as a whole, so that an error changes nothing.
static CUresult changeEdges(const char *name, CUgraph handle,
                            const CUgraphNode *from, const CUgraphNode *to,
                            size_t count, bool add) {
  return onGraph(name, handle, [&](CUgraph_st &graph) -> CUresult {
    if (count != 0 && (!from || !to))
      return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i != count; ++i) {
      if (!isNode(from[i]) || !isNode(to[i]) || from[i]->graph != handle ||
          to[i]->graph != handle || from[i] == to[i])
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "an edge needs two nodes of the graph");
      if (hasEdge(from[i], to[i]) == add)
        return refuse(CUDA_ERROR_INVALID_VALUE, add ? "the edge exists already"
                                                    : "there is no such edge");
    }
    for (size_t i = 0; i != count; ++i) {
      if (add)
        addEdge(from[i], to[i]);
      else
        removeEdge(from[i], to[i]);
    }
    if (!add || !topologicalOrder(graph).empty())
      return CUDA_SUCCESS;
    for (size_t i = 0; i != count; ++i)
      removeEdge(from[i], to[i]);
    return refuse(CUDA_ERROR_INVALID_VALUE, "the edges would close a cycle");
  });
}

CUresult CUDAAPI cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from,
                                        const CUgraphNode *to, size_t count) {
  return changeEdges("cuGraphAddDependencies", graph, from, to, count, true);
}

CUresult CUDAAPI cuGraphAddDependencies_v2(CUgraph graph,
                                           const CUgraphNode *from,
                                           const CUgraphNode *to,
                                           const CUgraphEdgeData *,
                                           size_t count) {
  return changeEdges("cuGraphAddDependencies_v2", graph, from, to, count, true);
}

CUresult CUDAAPI cuGraphRemoveDependencies(CUgraph graph,
                                           const CUgraphNode *from,
                                           const CUgraphNode *to,
                                           size_t count) {
  return changeEdges("cuGraphRemoveDependencies", graph, from, to, count,
                     false);
}

CUresult CUDAAPI cuGraphRemoveDependencies_v2(CUgraph graph,
                                              const CUgraphNode *from,
                                              const CUgraphNode *to,
                                              const CUgraphEdgeData *,
                                              size_t count) {
  return changeEdges("cuGraphRemoveDependencies_v2", graph, from, to, count,
                     false);
}

CUresult CUDAAPI cuGraphDestroyNode(CUgraphNode handle) {
  return onNode(
      "cuGraphDestroyNode", handle, [&](CUgraphNode_st &node) -> CUresult {
        while (!node.after.empty())
          removeEdge(node.after.back(), handle);
        while (!node.before.empty())
          removeEdge(handle, node.before.back());
        // What would come behind it in a capture now does not.
        for (const auto &capture : driver().captures)
          for (CUstream stream : capture->streams)
            llvm::erase(stream->captureAfter, handle);
        for (const auto &ctx : driver().contexts)
          for (const auto &event : ctx->events)
            llvm::erase(event->captureAfter, handle);
        graphHandles().nodes.erase(handle);
        erase_if(node.graph->nodes,
                 [&](const auto &each) { return each.get() == handle; });
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType *type) {
  return onNode("cuGraphNodeGetType", handle,
                [&](CUgraphNode_st &node) -> CUresult {
                  if (!type)
                    return CUDA_ERROR_INVALID_VALUE;
                  *type = node.type;
                  return CUDA_SUCCESS;
                });
}
