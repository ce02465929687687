//===- Graph.h - graphs, their nodes, and captures ------------------------===//
#pragma once

#include "tools/cudasim/driver/Driver.h"

#include <memory>
#include <thread>
#include <vector>

struct CUgraphNode_st {
  CUgraph graph = nullptr;
  /// Creation order within the process; nodes are listed in this order.
  uint64_t id = 0;
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  cudasim::driver::Work work;
  std::vector<CUgraphNode> after;
  std::vector<CUgraphNode> before;
  bool enabled = true;
  /// The node that this one is a copy of; may be dead, so only compared.
  const CUgraphNode_st *origin = nullptr;
};

struct CUgraph_st {
  uint64_t id = 0;
  unsigned flags = 0;
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
  /// The graph that this one was cloned from; only compared.
  const CUgraph_st *origin = nullptr;
  /// Kept alive by the graph, once for each reference.
  std::vector<CUuserObject> userObjects;
  /// A child graph is its node's, and is not destroyed by its handle.
  bool isChild = false;
  ~CUgraph_st();
};

struct CUgraphExec_st {
  CUcontext ctx = nullptr;
  unsigned long long flags = 0;
  /// A private copy; `origin` of its nodes is what the program calls them.
  std::shared_ptr<CUgraph_st> graph;
  /// The end of the newest launch: a graph never overlaps itself.
  cudasim::driver::OpRef last;
};

namespace cudasim::driver {

/// A capture in progress.
struct Capture {
  uint64_t id = 0;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  CUstream origin = nullptr;
  std::vector<CUstream> streams;
  CUgraph graph = nullptr;
  /// The graph was the caller's own: cuStreamBeginCaptureToGraph.
  bool intoGraph = false;
  bool invalid = false;
};

/// What of graphs the handles name.
struct GraphHandles {
  Living<CUgraphExec_st> execs;
  std::map<const CUgraph_st *, std::shared_ptr<CUgraph_st>> graphs;
  llvm::DenseSet<const CUgraphNode_st *> nodes;
  /// Includes graphs inside of nodes.
  llvm::DenseSet<const CUgraph_st *> knownGraphs;
};
GraphHandles &graphHandles();

CUgraph makeGraph(unsigned flags);
/// Adds a node behind `after`; checks nothing.
CUgraphNode addNode(CUgraph graph, Work work,
                    llvm::ArrayRef<CUgraphNode> after);
/// A deep copy whose nodes name theirs as origin.
std::shared_ptr<CUgraph_st> cloneGraph(const CUgraph_st &graph);
void addEdge(CUgraphNode from, CUgraphNode to);
void removeEdge(CUgraphNode from, CUgraphNode to);
bool hasEdge(CUgraphNode from, CUgraphNode to);
/// Nodes so that each comes behind what it depends on; empty where a cycle
/// makes that impossible and there are nodes.
std::vector<CUgraphNode> topologicalOrder(const CUgraph_st &graph);
bool isGraph(CUgraph graph);
bool isNode(CUgraphNode node);
CUgraphNodeType typeOf(const Work &work);
/// Whether the function or event that the work names is still there.
bool isCurrent(const Work &work);
/// Refuses a graph with work that is not current.
CUresult checkCurrent(const CUgraph_st &graph);

/// Submits all nodes; `before` is what they wait for. The result is done when
/// all are.
OpRef launchGraph(CUctx_st &ctx, const CUgraph_st &graph, CUstream stream,
                  OpRef before);

/// Memory for an allocation node on `device`.
CUresult makeGraphMemory(Device &device, size_t bytes, AllocWork &work);

/// The node of an executable graph that was made from `node`, in graphs inside
/// of nodes too; null where there is none.
CUgraphNode findTwin(const CUgraph_st &graph, CUgraphNode node);

/// Gives up references; the object goes with the last.
void releaseUserObject(CUuserObject object, unsigned count);

/// Marks a capture as broken; it stays so until its end.
void invalidate(Capture &capture);
/// Ends the capture in all its streams.
void forget(const std::shared_ptr<Capture> &capture);

/// Reads the parameters of a kernel node or launch; the work has them copied.
struct LaunchRequest {
  CUfunction function = nullptr;
  CUkernel kernel = nullptr;
  Grid grid;
  Grid block;
  unsigned dynamicShared = 0;
  bool cooperative = false;
  int priority = 0;
  void **params = nullptr;
  void **extra = nullptr;
};
/// Checks what a launch asks for, as the driver does, and copies parameters.
CUresult prepareLaunch(CUctx_st &ctx, const LaunchRequest &request,
                       KernelWork &work);
/// The function that a handle names: a CUfunction or a CUkernel, as calls that
/// take either do. Loads the kernel's module into `ctx` where needed.
CUresult findFunction(CUctx_st &ctx, CUfunction handle, CUfunction &function,
                      CUkernel *kernel = nullptr);

} // namespace cudasim::driver
