//===- GraphFixture.h - graphs of kernels that do not commute -------------===//
#pragma once

#include "tests/tools/cudasim/driver/Fixture.h"

#include <vector>

namespace cudasim::test {

class GraphTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    a = words(64);
    OK(cuCtxSynchronize());
    OK(cuGraphCreate(&graph, 0));
  }

  /// A node that does p = p * times + plus.
  CUgraphNode stepNode(CUgraph to, unsigned times, unsigned plus,
                       std::vector<CUgraphNode> after) {
    unsigned count = 1;
    void *params[] = {&a, &times, &plus, &count};
    CUDA_KERNEL_NODE_PARAMS kernel = {};
    kernel.func = function("step");
    kernel.gridDimX = kernel.gridDimY = kernel.gridDimZ = 1;
    kernel.blockDimX = 32;
    kernel.blockDimY = kernel.blockDimZ = 1;
    kernel.kernelParams = params;
    CUgraphNode node = nullptr;
    EXPECT_EQ(
        cuGraphAddKernelNode(&node, to, after.data(), after.size(), &kernel),
        CUDA_SUCCESS);
    return node;
  }
  CUgraphExec instantiate(CUgraph from) {
    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiate(&exec, from, 0), CUDA_SUCCESS);
    return exec;
  }
  CUgraphNode hostNode(std::vector<CUgraphNode> after, int *counter) {
    CUDA_HOST_NODE_PARAMS host = {
        [](void *data) { ++*static_cast<int *>(data); }, counter};
    CUgraphNode node = nullptr;
    EXPECT_EQ(
        cuGraphAddHostNode(&node, graph, after.data(), after.size(), &host),
        CUDA_SUCCESS);
    return node;
  }
  unsigned launch(CUgraphExec exec) {
    CUstream s = stream();
    EXPECT_EQ(cuGraphLaunch(exec, s), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(s), CUDA_SUCCESS);
    return readOne(a);
  }

  CUdeviceptr a = 0;
  CUgraph graph = nullptr;
};

} // namespace cudasim::test
