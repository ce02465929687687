#include "tests/tools/cudasim/driver/GraphFixture.h"
#include "tests/tools/cudasim/driver/TemporaryFile.h"

#include <string>

using namespace cudasim::test;

namespace {

TEST_F(GraphTest, NodesRunInTheOrderOfTheirEdges) {
  CUDA_MEMSET_NODE_PARAMS set = {};
  set.dst = a;
  set.value = 2;
  set.elementSize = 4;
  set.width = 1;
  set.height = 1;
  CUgraphNode first = nullptr;
  OK(cuGraphAddMemsetNode(&first, graph, nullptr, 0, &set, ctx));
  CUgraphNode second = stepNode(graph, 3, 1, {first});
  CUgraphNode third = stepNode(graph, 5, 3, {second});
  int calls = 0;
  CUgraphNode last = hostNode({third}, &calls);
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(launch(exec), 38u);
  EXPECT_EQ(launch(exec), 38u);
  EXPECT_EQ(calls, 2);
  CUgraphNodeType type;
  OK(cuGraphNodeGetType(last, &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_HOST);
  OK(cuGraphExecDestroy(exec));
  EXPECT_EQ(cuGraphLaunch(exec, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, EdgesAreListedAndChanged) {
  CUgraphNode one = stepNode(graph, 3, 1, {});
  CUgraphNode two = stepNode(graph, 5, 3, {one});
  CUgraphNode three = nullptr;
  OK(cuGraphAddEmptyNode(&three, graph, &two, 1));
  size_t count = 0;
  OK(cuGraphGetNodes(graph, nullptr, &count));
  EXPECT_EQ(count, 3u);
  OK(cuGraphGetRootNodes(graph, nullptr, &count));
  EXPECT_EQ(count, 1u);
  CUgraphNode from[4];
  CUgraphNode to[4];
  count = 4;
  OK(cuGraphGetEdges(graph, from, to, nullptr, &count));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(from[0], one);
  EXPECT_EQ(to[0], two);
  EXPECT_EQ(from[2], nullptr);
  // An edge twice, a cycle, a node of another graph.
  EXPECT_EQ(cuGraphAddDependencies(graph, &one, &two, nullptr, 1),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuGraphAddDependencies(graph, &three, &one, nullptr, 1),
            CUDA_ERROR_INVALID_VALUE);
  CUgraph other = nullptr;
  OK(cuGraphCreate(&other, 0));
  CUgraphNode foreign = nullptr;
  OK(cuGraphAddEmptyNode(&foreign, other, nullptr, 0));
  EXPECT_EQ(cuGraphAddDependencies(graph, &foreign, &one, nullptr, 1),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuGraphAddEmptyNode(&foreign, graph, &foreign, 1),
            CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphRemoveDependencies(graph, &one, &two, nullptr, 1));
  EXPECT_EQ(cuGraphRemoveDependencies(graph, &one, &two, nullptr, 1),
            CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphAddDependencies(graph, &two, &one, nullptr, 1));
  EXPECT_EQ(launch(instantiate(graph)), 10u);
  OK(cuGraphDestroyNode(two));
  EXPECT_EQ(cuGraphDestroyNode(two), CUDA_ERROR_INVALID_VALUE);
  count = 4;
  OK(cuGraphNodeGetDependencies(one, from, nullptr, &count));
  EXPECT_EQ(count, 0u);
}

TEST_F(GraphTest, ParametersChangeInNodesAndInExecutables) {
  CUgraphNode node = stepNode(graph, 0, 1, {});
  CUgraphExec exec = instantiate(graph);
  CUDA_KERNEL_NODE_PARAMS params = {};
  OK(cuGraphKernelNodeGetParams(node, &params));
  EXPECT_EQ(params.blockDimX, 32u);
  EXPECT_EQ(*static_cast<unsigned *>(params.kernelParams[2]), 1u);
  // What was handed out is the node's own; the change is made in a copy.
  unsigned times = 0;
  unsigned plus = 9;
  unsigned count = 1;
  void *own[] = {&a, &times, &plus, &count};
  params.kernelParams = own;
  OK(cuGraphKernelNodeSetParams(node, &params));
  // What was instantiated keeps its own.
  EXPECT_EQ(launch(exec), 1u);
  OK(cuGraphExecKernelNodeSetParams(exec, node, &params));
  EXPECT_EQ(launch(exec), 9u);
  params.blockDimX = 2048;
  EXPECT_EQ(cuGraphExecKernelNodeSetParams(exec, node, &params),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(exec), 9u);
  OK(cuGraphNodeSetEnabled(exec, node, 0));
  OK(cuMemsetD32(a, 77, 1));
  EXPECT_EQ(launch(exec), 77u);
  CUDA_MEMSET_NODE_PARAMS set = {};
  EXPECT_EQ(cuGraphExecMemsetNodeSetParams(exec, node, &set, ctx),
            CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, CopiesInNodes) {
  unsigned in[2] = {41, 0};
  unsigned out[2] = {};
  CUDA_MEMCPY3D copy = {};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = in;
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = a;
  copy.WidthInBytes = 4;
  copy.Height = copy.Depth = 1;
  CUgraphNode up = nullptr;
  OK(cuGraphAddMemcpyNode(&up, graph, nullptr, 0, &copy, ctx));
  CUgraphNode mid = stepNode(graph, 2, 1, {up});
  copy = {};
  copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.srcDevice = a;
  copy.dstMemoryType = CU_MEMORYTYPE_HOST;
  copy.dstHost = out;
  copy.WidthInBytes = 4;
  copy.Height = copy.Depth = 1;
  CUgraphNode down = nullptr;
  OK(cuGraphAddMemcpyNode(&down, graph, &mid, 1, &copy, ctx));
  CUgraphExec exec = instantiate(graph);
  launch(exec);
  EXPECT_EQ(out[0], 83u);
  // A graph reads host memory when it runs.
  in[0] = 1;
  launch(exec);
  EXPECT_EQ(out[0], 3u);
  copy.dstHost = out + 1;
  OK(cuGraphExecMemcpyNodeSetParams(exec, down, &copy, ctx));
  launch(exec);
  EXPECT_EQ(out[1], 3u);
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = a + 4;
  EXPECT_EQ(cuGraphExecMemcpyNodeSetParams(exec, down, &copy, ctx),
            CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, ClonesAndChildren) {
  CUgraph inner = nullptr;
  OK(cuGraphCreate(&inner, 0));
  CUgraphNode inside = stepNode(inner, 3, 1, {});
  CUgraphNode child = nullptr;
  CUgraphNode before = stepNode(graph, 0, 2, {});
  OK(cuGraphAddChildGraphNode(&child, graph, &before, 1, inner));
  stepNode(graph, 5, 3, {child});
  // The node has a copy: this one changes nothing any more.
  OK(cuGraphDestroy(inner));
  EXPECT_EQ(cuGraphDestroy(inner), CUDA_ERROR_INVALID_VALUE);
  CUgraph own = nullptr;
  OK(cuGraphChildGraphNodeGetGraph(child, &own));
  size_t count = 0;
  OK(cuGraphGetNodes(own, nullptr, &count));
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(cuGraphDestroy(own), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(instantiate(graph)), 38u);
  CUgraph copy = nullptr;
  OK(cuGraphClone(&copy, graph));
  CUgraphNode twin = nullptr;
  OK(cuGraphNodeFindInClone(&twin, before, copy));
  EXPECT_NE(twin, before);
  EXPECT_EQ(cuGraphNodeFindInClone(&twin, inside, copy),
            CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphDestroy(graph));
  EXPECT_EQ(launch(instantiate(copy)), 38u);
}

TEST_F(GraphTest, WholeUpdates) {
  stepNode(graph, 5, 3, {stepNode(graph, 0, 1, {})});
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(launch(exec), 8u);
  CUgraph other = nullptr;
  OK(cuGraphCreate(&other, 0));
  CUgraphNode first = stepNode(other, 0, 3, {});
  CUgraphNode second = stepNode(other, 7, 4, {first});
  CUgraphExecUpdateResultInfo info = {};
  OK(cuGraphExecUpdate(exec, other, &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  EXPECT_EQ(launch(exec), 25u);
  OK(cuGraphRemoveDependencies(other, &first, &second, nullptr, 1));
  EXPECT_EQ(cuGraphExecUpdate(exec, other, &info),
            CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  OK(cuGraphDestroyNode(second));
  CUgraphNode empty = nullptr;
  OK(cuGraphAddEmptyNode(&empty, other, &first, 1));
  EXPECT_EQ(cuGraphExecUpdate(exec, other, &info),
            CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
  EXPECT_EQ(info.errorNode, empty);
  EXPECT_EQ(launch(exec), 25u);
}

TEST_F(GraphTest, LaunchesOfOneExecutableFollowEachOther) {
  stepNode(graph, 3, 1, {});
  CUgraphExec exec = instantiate(graph);
  CUstream one = stream();
  CUstream two = stream();
  for (int i = 0; i != 3; ++i) {
    OK(cuGraphLaunch(exec, one));
    OK(cuGraphLaunch(exec, two));
  }
  OK(cuCtxSynchronize());
  EXPECT_EQ(readOne(a), 364u);
}

TEST_F(GraphTest, EventsInNodes) {
  CUevent done = event();
  CUgraphNode work = stepNode(graph, 0, 5, {});
  CUgraphNode record = nullptr;
  OK(cuGraphAddEventRecordNode(&record, graph, &work, 1, done));
  CUgraphExec exec = instantiate(graph);
  CUstream one = stream();
  CUstream two = stream();
  OK(cuGraphLaunch(exec, one));
  OK(cuStreamWaitEvent(two, done, 0));
  OK(step(two, a, 3, 1));
  OK(cuStreamSynchronize(two));
  EXPECT_EQ(readOne(a), 16u);
  CUevent asked = nullptr;
  OK(cuGraphEventRecordNodeGetEvent(record, &asked));
  EXPECT_EQ(asked, done);
  EXPECT_EQ(cuGraphEventWaitNodeGetEvent(record, &asked),
            CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, MemoryOfGraphs) {
  CUDA_MEM_ALLOC_NODE_PARAMS params = {};
  params.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  params.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  params.bytesize = 256;
  CUgraphNode made = nullptr;
  OK(cuGraphAddMemAllocNode(&made, graph, nullptr, 0, &params));
  CUdeviceptr inside = params.dptr;
  ASSERT_NE(inside, 0u);
  CUDA_MEMSET_NODE_PARAMS set = {};
  set.dst = inside;
  set.value = 3;
  set.elementSize = 4;
  set.width = 64;
  set.height = 1;
  CUgraphNode filled = nullptr;
  OK(cuGraphAddMemsetNode(&filled, graph, &made, 1, &set, ctx));
  CUgraphNode freed = nullptr;
  OK(cuGraphAddMemFreeNode(&freed, graph, &filled, 1, inside));
  CUgraphExec exec = instantiate(graph);
  launch(exec);
  launch(exec);
  OK(cuGraphExecDestroy(exec));
  OK(cuGraphDestroy(graph));
  // It went with the last graph.
  unsigned word = 0;
  EXPECT_EQ(cuMemcpyDtoH(&word, inside, 4), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, AnyNode) {
  CUgraphNodeParams params = {};
  params.type = CU_GRAPH_NODE_TYPE_MEMSET;
  params.memset.dst = a;
  params.memset.value = 6;
  params.memset.elementSize = 4;
  params.memset.width = 1;
  params.memset.height = 1;
  CUgraphNode node = nullptr;
  OK(cuGraphAddNode(&node, graph, nullptr, nullptr, 0, &params));
  EXPECT_EQ(launch(instantiate(graph)), 6u);
  params.type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
  EXPECT_EQ(cuGraphAddNode(&node, graph, nullptr, nullptr, 0, &params),
            CUDA_ERROR_NOT_SUPPORTED);
}

TEST_F(GraphTest, UserObjectsLiveAsLongAsGraphs) {
  int destroyed = 0;
  CUuserObject object = nullptr;
  OK(cuUserObjectCreate(
      &object, &destroyed, [](void *data) { ++*static_cast<int *>(data); }, 1,
      CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
  OK(cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE));
  CUgraphExec exec = instantiate(graph);
  OK(cuGraphDestroy(graph));
  EXPECT_EQ(destroyed, 0);
  OK(cuGraphExecDestroy(exec));
  EXPECT_EQ(destroyed, 1);
  EXPECT_EQ(cuUserObjectRelease(object, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphTest, WhatTheyNameMayGo) {
  CUevent done = event();
  CUgraphNode record = nullptr;
  OK(cuGraphAddEventRecordNode(&record, graph, nullptr, 0, done));
  CUgraphNode node = stepNode(graph, 3, 1, {});
  CUgraphExec exec = instantiate(graph);
  OK(cuModuleUnload(module));
  module = nullptr;
  EXPECT_EQ(cuGraphLaunch(exec, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CUgraphExec again = nullptr;
  EXPECT_EQ(cuGraphInstantiate(&again, graph, 0), CUDA_ERROR_INVALID_HANDLE);
  CUDA_KERNEL_NODE_PARAMS params = {};
  EXPECT_EQ(cuGraphKernelNodeGetParams(node, &params),
            CUDA_ERROR_INVALID_HANDLE);
  OK(cuGraphDestroyNode(node));
  exec = instantiate(graph);
  OK(cuGraphLaunch(exec, nullptr));
  OK(cuEventDestroy(done));
  EXPECT_EQ(cuGraphLaunch(exec, nullptr), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(GraphTest, AreDrawn) {
  stepNode(graph, 5, 3, {stepNode(graph, 0, 1, {})});
  TemporaryFile file;
  OK(cuGraphDebugDotPrint(graph, file.path().c_str(), 0));
  std::string text = file.read();
  EXPECT_NE(text.find("digraph"), std::string::npos);
  EXPECT_NE(text.find("n0 -> n1"), std::string::npos) << text;
  EXPECT_NE(text.find("kernel 'step'"), std::string::npos);
  EXPECT_EQ(cuGraphDebugDotPrint(graph, (file.path() + "/x").c_str(), 0),
            CUDA_ERROR_OPERATING_SYSTEM);
}

} // namespace
