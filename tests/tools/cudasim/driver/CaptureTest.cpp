#include "tests/tools/cudasim/driver/GraphFixture.h"

#include <thread>
#include <vector>

using namespace cudasim::test;

namespace {

class CaptureTest : public GraphTest {
protected:
  CUstream begun(CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL,
                 unsigned flags = CU_STREAM_NON_BLOCKING) {
    CUstream s = stream(flags);
    EXPECT_EQ(cuStreamBeginCapture(s, mode), CUDA_SUCCESS);
    return s;
  }
  CUresult end(CUstream s) { return cuStreamEndCapture(s, &captured); }
  CUgraph captured = nullptr;
};

TEST_F(CaptureTest, CallsBecomeNodes) {
  function("step");
  CUstream s = begun();
  OK(cuMemsetD32Async(a, 2, 1, s));
  OK(step(s, a, 3, 1));
  OK(step(s, a, 5, 3));
  CUstreamCaptureStatus status;
  OK(cuStreamIsCapturing(s, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(end(s));
  OK(cuStreamIsCapturing(s, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
  // Nothing ran.
  EXPECT_EQ(readOne(a), 0u);
  size_t count = 0;
  OK(cuGraphGetNodes(captured, nullptr, &count));
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(launch(instantiate(captured)), 38u);
}

TEST_F(CaptureTest, EventsForkAndJoin) {
  function("step");
  CUstream s = begun();
  CUstream side = stream();
  CUevent fork = event();
  CUevent join = event();
  OK(step(s, a, 0, 4));
  OK(cuEventRecord(fork, s));
  OK(cuStreamWaitEvent(side, fork, 0));
  OK(cuMemsetD32Async(a + 4, 8, 1, side));
  OK(cuEventRecord(join, side));
  OK(step(s, a, 3, 1));
  OK(cuStreamWaitEvent(s, join, 0));
  OK(cuMemcpyDtoDAsync(a + 8, a + 4, 4, s));
  OK(end(s));
  size_t count = 0;
  OK(cuGraphGetEdges(captured, nullptr, nullptr, nullptr, &count));
  EXPECT_EQ(count, 4u);
  EXPECT_EQ(launch(instantiate(captured)), 13u);
  EXPECT_EQ(read(a, 3)[2], 8u);
  // The event is not one of the device's.
  EXPECT_EQ(cuEventQuery(join), CUDA_ERROR_CAPTURED_EVENT);
}

TEST_F(CaptureTest, IllegalCallsBreakTheCapture) {
  function("step");
  CUdeviceptr b = words(1);
  OK(cuCtxSynchronize());
  struct {
    const char *what;
    CUresult (*call)(CUstream, CUdeviceptr);
    CUresult expected;
  } calls[] = {
      {"synchronize",
       [](CUstream s, CUdeviceptr) { return cuStreamSynchronize(s); },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
      {"query", [](CUstream s, CUdeviceptr) { return cuStreamQuery(s); },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
      {"context", [](CUstream, CUdeviceptr) { return cuCtxSynchronize(); },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
      {"alloc",
       [](CUstream, CUdeviceptr) {
         CUdeviceptr none = 0;
         return cuMemAlloc(&none, 4);
       },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
      {"free", [](CUstream, CUdeviceptr p) { return cuMemFree(p); },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
      {"copy",
       [](CUstream, CUdeviceptr p) {
         unsigned word = 0;
         return cuMemcpyDtoH(&word, p, 4);
       },
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
  };
  for (const auto &call : calls) {
    SCOPED_TRACE(call.what);
    CUstream s = begun();
    EXPECT_EQ(call.call(s, b), call.expected);
    CUstreamCaptureStatus status;
    OK(cuStreamIsCapturing(s, &status));
    EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    EXPECT_EQ(step(s, a, 3, 1), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    EXPECT_EQ(end(s), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    EXPECT_EQ(captured, nullptr);
    // The stream works again.
    OK(step(s, a, 3, 1));
    OK(cuStreamSynchronize(s));
  }
}

TEST_F(CaptureTest, RelaxedCapturesAllowMore) {
  CUstream s = begun(CU_STREAM_CAPTURE_MODE_RELAXED);
  CUdeviceptr more = 0;
  OK(cuMemAlloc(&more, 4));
  OK(end(s));
  // Another thread minds only global captures.
  s = begun(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  std::vector<CUresult> seen;
  auto elsewhere = [&] {
    cuCtxSetCurrent(ctx);
    CUdeviceptr none = 0;
    seen.push_back(cuMemAlloc(&none, 4));
  };
  std::thread(elsewhere).join();
  EXPECT_EQ(seen.back(), CUDA_SUCCESS);
  OK(end(s));
  s = begun(CU_STREAM_CAPTURE_MODE_GLOBAL);
  std::thread(elsewhere).join();
  EXPECT_EQ(seen.back(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(end(s), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // A thread may say that it knows what it does.
  s = begun(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  OK(cuMemAlloc(&more, 4));
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  OK(end(s));
}

TEST_F(CaptureTest, TheLegacyStreamCannotBeInvolved) {
  EXPECT_EQ(cuStreamBeginCapture(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL),
            CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  function("step");
  CUstream s = begun(CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_DEFAULT);
  EXPECT_EQ(step(nullptr, a, 3, 1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(end(s), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // A stream that does not wait for it has nothing to mind.
  s = begun();
  OK(step(nullptr, a, 3, 1));
  OK(end(s));
}

TEST_F(CaptureTest, WrongEnds) {
  function("step");
  CUstream idle = stream();
  EXPECT_EQ(end(idle), CUDA_ERROR_ILLEGAL_STATE);
  CUstream s = begun();
  EXPECT_EQ(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL),
            CUDA_ERROR_ILLEGAL_STATE);
  CUresult elsewhere = CUDA_SUCCESS;
  std::thread([&] {
    cuCtxSetCurrent(ctx);
    CUgraph none = nullptr;
    elsewhere = cuStreamEndCapture(s, &none);
  }).join();
  EXPECT_EQ(elsewhere, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  OK(end(s));

  // A side stream that is not joined, and one that ends it.
  s = begun();
  CUstream side = stream();
  CUevent fork = event();
  OK(step(s, a, 3, 1));
  OK(cuEventRecord(fork, s));
  OK(cuStreamWaitEvent(side, fork, 0));
  OK(step(side, a, 3, 1));
  EXPECT_EQ(end(s), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  s = begun();
  OK(step(s, a, 3, 1));
  OK(cuEventRecord(fork, s));
  OK(cuStreamWaitEvent(side, fork, 0));
  EXPECT_EQ(end(side), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  EXPECT_EQ(end(s), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_F(CaptureTest, CapturesDoNotMix) {
  function("step");
  CUstream one = begun();
  CUstream two = begun();
  CUevent mark = event();
  OK(step(one, a, 3, 1));
  OK(cuEventRecord(mark, one));
  EXPECT_EQ(cuStreamWaitEvent(two, mark, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  EXPECT_EQ(end(one), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(end(two), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // An event from outside would be an edge to nowhere.
  CUstream outside = stream();
  CUevent before = event();
  OK(cuEventRecord(before, outside));
  one = begun();
  EXPECT_EQ(cuStreamWaitEvent(one, before, 0),
            CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  EXPECT_EQ(end(one), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // Unless it is asked for.
  one = begun();
  OK(cuStreamWaitEvent(one, before, CU_EVENT_WAIT_EXTERNAL));
  OK(end(one));
  CUgraphNode node = nullptr;
  size_t count = 1;
  OK(cuGraphGetNodes(captured, &node, &count));
  CUgraphNodeType type;
  OK(cuGraphNodeGetType(node, &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
}

TEST_F(CaptureTest, GraphsAndMemoryAreCapturedToo) {
  stepNode(graph, 3, 1, {});
  CUgraphExec inner = instantiate(graph);
  function("step");
  CUstream s = begun();
  OK(step(s, a, 0, 2));
  OK(cuGraphLaunch(inner, s));
  CUdeviceptr scratch = 0;
  OK(cuMemAllocAsync(&scratch, 256, s));
  OK(cuMemcpyDtoDAsync(scratch, a, 4, s));
  OK(cuMemcpyDtoDAsync(a + 4, scratch, 4, s));
  OK(cuMemFreeAsync(scratch, s));
  OK(end(s));
  CUgraphExec exec = instantiate(captured);
  EXPECT_EQ(launch(exec), 7u);
  EXPECT_EQ(launch(exec), 7u);
  EXPECT_EQ(read(a, 2)[1], 7u);
}

TEST_F(CaptureTest, NodesAndGraphsMayGoDuringACapture) {
  function("step");
  CUstream s = begun();
  OK(step(s, a, 3, 1));
  CUstreamCaptureStatus status;
  CUgraph inside = nullptr;
  const CUgraphNode *last = nullptr;
  size_t count = 0;
  OK(cuStreamGetCaptureInfo(s, &status, nullptr, &inside, &last, nullptr,
                            &count));
  ASSERT_EQ(count, 1u);
  EXPECT_EQ(cuGraphDestroy(inside), CUDA_ERROR_INVALID_VALUE);
  CUevent mark = event();
  OK(cuEventRecord(mark, s));
  OK(cuGraphDestroyNode(*last));
  OK(step(s, a, 5, 3));
  OK(end(s));
  EXPECT_EQ(launch(instantiate(captured)), 3u);
  // The mark is of a capture that is over.
  EXPECT_EQ(cuStreamWaitEvent(stream(), mark, 0), CUDA_ERROR_CAPTURED_EVENT);
}

TEST_F(CaptureTest, IntoAGraphOfTheProgram) {
  function("step");
  CUgraphNode first = stepNode(graph, 0, 2, {});
  CUstream s = stream();
  OK(cuStreamBeginCaptureToGraph(s, graph, &first, nullptr, 1,
                                 CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(step(s, a, 3, 1));
  CUgraphExec early = nullptr;
  EXPECT_EQ(cuGraphInstantiate(&early, graph, 0), CUDA_ERROR_INVALID_VALUE);
  OK(end(s));
  EXPECT_EQ(captured, graph);
  EXPECT_EQ(launch(instantiate(graph)), 7u);
}

} // namespace
