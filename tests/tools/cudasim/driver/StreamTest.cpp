#include "tests/tools/cudasim/driver/Fixture.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

using namespace cudasim::test;

namespace {

class StreamTest : public DriverTest {};

// 3 * x + 1 and 5 * x + 3 do not commute.
TEST_F(StreamTest, AStreamKeepsItsOrder) {
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  unsigned expected = 0;
  for (unsigned i = 0; i != 20; ++i) {
    OK(step(s, a, 3, i));
    expected = expected * 3 + i;
  }
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(readOne(a), expected);
}

TEST_F(StreamTest, EventsOrderStreams) {
  for (unsigned round = 0; round != 10; ++round) {
    CUdeviceptr a = words(1);
    OK(cuCtxSynchronize());
    CUstream one = stream();
    CUstream two = stream();
    CUevent done = event();
    OK(step(one, a, 3, 1));
    OK(step(one, a, 3, 1));
    OK(cuEventRecord(done, one));
    OK(cuStreamWaitEvent(two, done, 0));
    OK(step(two, a, 5, 3));
    OK(cuStreamSynchronize(two));
    EXPECT_EQ(readOne(a), 23u);
  }
}

// Without an edge, seeds other than 0 show another order than that of the
// calls.
TEST_F(StreamTest, WithoutAnEdgeTheOrderVaries) {
  const char *options = getenv("MOEC_CUDASIM");
  bool shuffles = options && !std::string(options).ends_with("seed=0");
  bool varied = false;
  for (unsigned round = 0; round != 50 && !varied; ++round) {
    CUdeviceptr a = words(1);
    OK(cuCtxSynchronize());
    CUstream one = stream();
    CUstream two = stream();
    OK(step(one, a, 3, 1));
    OK(step(two, a, 5, 3));
    OK(cuCtxSynchronize());
    varied = readOne(a) != 8;
  }
  EXPECT_EQ(varied, shuffles);
}

TEST_F(StreamTest, TheLegacyStreamJoinsBlockingStreams) {
  for (unsigned round = 0; round != 10; ++round) {
    CUdeviceptr a = words(1);
    OK(cuCtxSynchronize());
    CUstream one = stream(CU_STREAM_DEFAULT);
    CUstream two = stream(CU_STREAM_DEFAULT);
    OK(step(one, a, 3, 1));
    OK(step(nullptr, a, 5, 3));
    OK(step(two, a, 7, 3));
    OK(cuStreamSynchronize(two));
    EXPECT_EQ(readOne(a), 59u);
  }
}

TEST_F(StreamTest, TheLegacyStreamWaitsForDestroyedStreams) {
  CUdeviceptr a = words(1);
  CUstream one = stream(CU_STREAM_DEFAULT);
  OK(step(one, a, 3, 1));
  OK(cuStreamDestroy(one));
  OK(step(nullptr, a, 5, 3));
  EXPECT_EQ(readOne(a), 8u);
  EXPECT_EQ(cuStreamSynchronize(one), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(StreamTest, EachThreadHasADefaultStreamOfItsOwn) {
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  unsigned long long here = 0;
  unsigned long long there = 0;
  unsigned long long legacy = 0;
  OK(cuStreamGetId(CU_STREAM_PER_THREAD, &here));
  OK(cuStreamGetId(CU_STREAM_LEGACY, &legacy));
  std::thread([&] {
    ASSERT_EQ(cuCtxSetCurrent(ctx), CUDA_SUCCESS);
    ASSERT_EQ(cuStreamGetId(CU_STREAM_PER_THREAD, &there), CUDA_SUCCESS);
  }).join();
  EXPECT_NE(here, there);
  EXPECT_NE(here, legacy);
  OK(step(CU_STREAM_PER_THREAD, a, 3, 1));
  OK(step(CU_STREAM_LEGACY, a, 5, 3));
  EXPECT_EQ(readOne(a), 8u);
}

// The forms of calls for programs compiled with a default stream a thread.
TEST_F(StreamTest, PerThreadFormsUseTheThreadsStream) {
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  void *found = nullptr;
  OK(cuGetProcAddress("cuMemsetD32Async", &found, CUDA_VERSION,
                      CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  auto setOwn = reinterpret_cast<decltype(&cuMemsetD32Async)>(found);
  OK(cuGetProcAddress("cuStreamBeginCapture", &found, CUDA_VERSION,
                      CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  auto beginOwn = reinterpret_cast<decltype(&cuStreamBeginCapture)>(found);
  // The legacy stream could not be captured.
  OK(beginOwn(nullptr, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  OK(setOwn(a, 5, 1, nullptr));
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(CU_STREAM_PER_THREAD, &graph));
  size_t nodes = 0;
  OK(cuGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 1u);
  OK(cuGraphDestroy(graph));
}

TEST_F(StreamTest, ThreadsShareTheDriver) {
  constexpr int kThreads = 6;
  CUdeviceptr a = words(kThreads);
  OK(cuCtxSynchronize());
  function("step");
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t != kThreads; ++t)
    threads.emplace_back([&, t] {
      auto check = [&](CUresult status) { failures += status != CUDA_SUCCESS; };
      check(cuCtxSetCurrent(ctx));
      CUstream s = nullptr;
      CUevent done = nullptr;
      check(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
      check(cuEventCreate(&done, 0));
      for (int round = 0; round != 10; ++round) {
        CUdeviceptr scratch = 0;
        check(cuMemAllocAsync(&scratch, 256, s));
        check(cuMemsetD32Async(scratch, 1, 64, s));
        check(step(s, a + 4 * unsigned(t), 1, 1));
        check(cuMemFreeAsync(scratch, s));
        check(cuEventRecord(done, s));
        check(cuEventSynchronize(done));
      }
      check(cuStreamDestroy(s));
      check(cuEventDestroy(done));
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(read(a, kThreads), std::vector<unsigned>(kThreads, 10));
}

TEST_F(StreamTest, Queries) {
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  OK(cuStreamQuery(s));
  CUevent done = event();
  OK(cuEventQuery(done));
  OK(cuEventSynchronize(done));
  for (int i = 0; i != 3; ++i)
    OK(step(s, a, 3, 1));
  OK(cuEventRecord(done, s));
  // A program that polls comes to an end.
  unsigned polls = 0;
  while (cuEventQuery(done) == CUDA_ERROR_NOT_READY)
    ASSERT_LT(++polls, 1000u);
  OK(cuEventQuery(done));
  OK(cuStreamQuery(s));
  EXPECT_EQ(readOne(a), 13u);
}

TEST_F(StreamTest, TimesAreAnEstimate) {
  CUdeviceptr a = 0;
  OK(cuMemAlloc(&a, 64 << 20));
  CUevent start = event();
  CUevent end = event();
  OK(cuEventRecord(start, nullptr));
  OK(cuMemsetD8(a, 0, 64 << 20));
  OK(cuEventRecord(end, nullptr));
  float millis = 0;
  CUresult early = cuEventElapsedTime(&millis, start, end);
  EXPECT_TRUE(early == CUDA_ERROR_NOT_READY || early == CUDA_SUCCESS);
  OK(cuEventSynchronize(end));
  OK(cuEventElapsedTime(&millis, start, end));
  // 64 MiB at 3.35 TB/s are 20 microseconds.
  EXPECT_GT(millis, 0.01f);
  EXPECT_LT(millis, 0.1f);
  CUevent untimed = event(CU_EVENT_DISABLE_TIMING);
  OK(cuEventRecord(untimed, nullptr));
  EXPECT_EQ(cuEventElapsedTime(&millis, start, untimed),
            CUDA_ERROR_INVALID_HANDLE);
  CUevent never = event();
  EXPECT_EQ(cuEventElapsedTime(&millis, never, end), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventDestroy(never));
  EXPECT_EQ(cuEventDestroy(never), CUDA_ERROR_INVALID_HANDLE);
}

struct Note {
  CUdeviceptr address;
  std::atomic<int> calls{0};
  CUresult status = CUDA_SUCCESS;
};

TEST_F(StreamTest, HostFunctionsRunInOrderAndMayNotCallTheDriver) {
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  Note note;
  void *pinned = nullptr;
  OK(cuMemAllocHost(&pinned, 4));
  note.address = reinterpret_cast<CUdeviceptr>(pinned);
  OK(step(s, a, 0, 17));
  OK(cuMemcpyDtoHAsync(pinned, a, 4, s));
  OK(cuLaunchHostFunc(
      s,
      [](void *data) {
        auto *n = static_cast<Note *>(data);
        if (*reinterpret_cast<unsigned *>(n->address) == 17)
          ++n->calls;
        CUdeviceptr none = 0;
        n->status = cuMemAlloc(&none, 4);
      },
      &note));
  OK(cuStreamAddCallback(
      s,
      [](CUstream, CUresult status, void *data) {
        if (status == CUDA_SUCCESS)
          ++static_cast<Note *>(data)->calls;
      },
      &note, 0));
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(note.calls, 2);
  EXPECT_EQ(note.status, CUDA_ERROR_NOT_PERMITTED);
  EXPECT_EQ(cuLaunchHostFunc(s, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(StreamTest, StreamsWaitForValues) {
  CUdeviceptr flag = words(2);
  CUdeviceptr a = words(1);
  OK(cuCtxSynchronize());
  CUstream one = stream();
  CUstream two = stream();
  OK(cuStreamWaitValue32(two, flag, 3, CU_STREAM_WAIT_VALUE_GEQ));
  OK(step(two, a, 5, 3));
  OK(step(one, a, 3, 1));
  OK(cuStreamWriteValue32(one, flag, 3, 0));
  OK(cuStreamSynchronize(two));
  EXPECT_EQ(readOne(a), 8u);
  EXPECT_EQ(cuStreamWaitValue32(two, flag + 2, 0, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(StreamTest, AWaitForNothingIsADeadlock) {
  CUdeviceptr flag = words(1);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  OK(cuStreamWaitValue32(s, flag, 1, CU_STREAM_WAIT_VALUE_EQ));
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuStreamSynchronize(s), CUDA_ERROR_LAUNCH_TIMEOUT);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("deadlock"), std::string::npos) << said;
  EXPECT_NE(said.find("it holds 0, and the wait is for 1"), std::string::npos)
      << said;
}

TEST_F(StreamTest, AnotherThreadMayEndAWait) {
  void *pinned = nullptr;
  OK(cuMemAllocHost(&pinned, 4));
  auto *flag = static_cast<std::atomic<unsigned> *>(pinned);
  CUstream s = stream();
  OK(cuStreamWaitValue32(s, reinterpret_cast<CUdeviceptr>(pinned), 1,
                         CU_STREAM_WAIT_VALUE_EQ));
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    *flag = 1;
  });
  OK(cuStreamSynchronize(s));
  writer.join();
}

// A kernel that spins gives way to the kernel that it waits for.
TEST_F(StreamTest, KernelsThatSpinDoNotBlockOthers) {
  CUdeviceptr flag = words(1);
  OK(cuCtxSynchronize());
  CUstream one = stream();
  CUstream two = stream();
  void *params[] = {&flag};
  OK(cuLaunchKernel(function("forever"), 1, 1, 1, 1, 1, 1, 0, one, params,
                    nullptr));
  OK(fill(two, flag, 1, 1));
  OK(cuStreamSynchronize(one));
}

TEST_F(StreamTest, PropertiesOfStreams) {
  CUstream s = nullptr;
  OK(cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, -3));
  int priority = 0;
  OK(cuStreamGetPriority(s, &priority));
  EXPECT_EQ(priority, -3);
  unsigned flags = 0;
  OK(cuStreamGetFlags(s, &flags));
  EXPECT_EQ(flags, unsigned(CU_STREAM_NON_BLOCKING));
  CUcontext owner = nullptr;
  OK(cuStreamGetCtx_v2(s, &owner, nullptr));
  EXPECT_EQ(owner, ctx);
  EXPECT_EQ(cuStreamCreate(&s, 0x10), CUDA_ERROR_INVALID_VALUE);
  // An event of one context is not recorded in a stream of another.
  CUcontext other = nullptr;
  OK(cuDevicePrimaryCtxRetain(&other, 1));
  OK(cuCtxPushCurrent(other));
  CUevent foreign = event();
  CUcontext popped = nullptr;
  OK(cuCtxPopCurrent(&popped));
  EXPECT_EQ(cuEventRecord(foreign, s), CUDA_ERROR_INVALID_HANDLE);
}

// A stream of one device may wait for an event of another.
TEST_F(StreamTest, EventsOrderDevices) {
  CUcontext other = nullptr;
  OK(cuDevicePrimaryCtxRetain(&other, 1));
  CUdeviceptr near = words(1);
  OK(cuCtxSynchronize());
  CUstream one = stream();
  CUevent done = event();
  OK(step(one, near, 0, 6));
  OK(cuEventRecord(done, one));
  OK(cuCtxPushCurrent(other));
  CUstream two = stream();
  CUdeviceptr far = words(1);
  OK(cuCtxSynchronize());
  OK(cuStreamWaitEvent(two, done, 0));
  OK(cuMemcpyPeerAsync(far, other, near, ctx, 4, two));
  OK(cuStreamSynchronize(two));
  EXPECT_EQ(readOne(far), 6u);
}

} // namespace
