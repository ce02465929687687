#include "tests/tools/cudasim/driver/Fixture.h"

#include <nccl.h>

#include <numeric>
#include <string>
#include <thread>

using namespace cudasim::test;

namespace {

constexpr int kRanks = 4;
constexpr size_t kCount = 6;

/// Four ranks in one thread, each with a stream and two buffers of f32.
class NcclTest : public testing::Test {
protected:
  void SetUp() override {
    OK(cuInit(0));
    ASSERT_EQ(ncclCommInitAll(comms, kRanks, nullptr), ncclSuccess);
    for (int rank = 0; rank != kRanks; ++rank) {
      OK(cuDevicePrimaryCtxRetain(&contexts[rank], rank));
      OK(cuCtxSetCurrent(contexts[rank]));
      OK(cuStreamCreate(&streams[rank], CU_STREAM_NON_BLOCKING));
      OK(cuMemAlloc(&in[rank], kBytes));
      OK(cuMemAlloc(&out[rank], kBytes));
      OK(cuMemsetD8(out[rank], 0, kBytes));
      std::vector<float> values(kRanks * kCount);
      std::iota(values.begin(), values.end(), float(100 * rank));
      OK(cuMemcpyHtoD(in[rank], values.data(), kBytes));
      OK(cuCtxSynchronize());
    }
  }
  void TearDown() override {
    for (int rank = 0; rank != kRanks; ++rank)
      ncclCommAbort(comms[rank]);
    cuCtxSetCurrent(nullptr);
    for (int rank = 0; rank != kRanks; ++rank)
      cuDevicePrimaryCtxReset(rank);
  }

  const void *send(int rank) const {
    return reinterpret_cast<const void *>(in[rank]);
  }
  void *recv(int rank) const { return reinterpret_cast<void *>(out[rank]); }

  /// Calls for every rank inside of a group.
  template <typename Call> void group(Call call) {
    ASSERT_EQ(ncclGroupStart(), ncclSuccess);
    for (int rank = 0; rank != kRanks; ++rank)
      ASSERT_EQ(call(rank), ncclSuccess) << rank;
    ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
  }
  CUresult sync(int rank) {
    cuCtxSetCurrent(contexts[rank]);
    return cuStreamSynchronize(streams[rank]);
  }
  std::vector<float> result(int rank, size_t count) {
    EXPECT_EQ(sync(rank), CUDA_SUCCESS);
    std::vector<float> values(count);
    EXPECT_EQ(cuMemcpyDtoH(values.data(), out[rank], count * 4), CUDA_SUCCESS);
    return values;
  }

  static constexpr size_t kBytes = kRanks * kCount * 4;
  ncclComm_t comms[kRanks] = {};
  CUcontext contexts[kRanks] = {};
  CUstream streams[kRanks] = {};
  CUdeviceptr in[kRanks] = {};
  CUdeviceptr out[kRanks] = {};
};

TEST_F(NcclTest, AllReduce) {
  group([&](int r) {
    return ncclAllReduce(send(r), recv(r), kCount, ncclFloat, ncclSum, comms[r],
                         streams[r]);
  });
  for (int r = 0; r != kRanks; ++r)
    for (size_t i = 0; i != kCount; ++i)
      EXPECT_EQ(result(r, kCount)[i], 600 + 4 * float(i));
}

TEST_F(NcclTest, ReductionsAndTypes) {
  struct {
    ncclRedOp_t op;
    float expected;
  } cases[] = {{ncclSum, 604}, {ncclMax, 301}, {ncclMin, 1}, {ncclAvg, 151}};
  for (auto &each : cases) {
    group([&](int r) {
      return ncclAllReduce(send(r), recv(r), kCount, ncclFloat, each.op,
                           comms[r], streams[r]);
    });
    EXPECT_EQ(result(2, 2)[1], each.expected);
  }
  // bf16 is added up in f32: 1 + 2^-8 + 2^-8 + 2^-8 rounds once.
  for (int r = 0; r != kRanks; ++r) {
    cuCtxSetCurrent(contexts[r]);
    unsigned short value = r == 0 ? 0x3f80 : 0x3b80;
    OK(cuMemcpyHtoD(in[r], &value, 2));
  }
  group([&](int r) {
    return ncclAllReduce(send(r), recv(r), 1, ncclBfloat16, ncclSum, comms[r],
                         streams[r]);
  });
  OK(sync(0));
  unsigned short bits = 0;
  OK(cuMemcpyDtoH(&bits, out[0], 2));
  EXPECT_EQ(bits, 0x3f82);
}

TEST_F(NcclTest, MovesOfAllKinds) {
  group([&](int r) {
    return ncclBroadcast(send(r), recv(r), kCount, ncclFloat, 2, comms[r],
                         streams[r]);
  });
  EXPECT_EQ(result(0, kCount)[5], 205);
  group([&](int r) {
    return ncclReduce(send(r), recv(r), kCount, ncclFloat, ncclSum, 1, comms[r],
                      streams[r]);
  });
  EXPECT_EQ(result(1, kCount)[5], 620);
  EXPECT_EQ(result(0, kCount)[5], 205);
  group([&](int r) {
    return ncclAllGather(send(r), recv(r), kCount, ncclFloat, comms[r],
                         streams[r]);
  });
  EXPECT_EQ(result(3, kRanks * kCount)[2 * kCount + 1], 201);
  group([&](int r) {
    return ncclReduceScatter(send(r), recv(r), kCount, ncclFloat, ncclSum,
                             comms[r], streams[r]);
  });
  // Rank 2 has elements 12 to 17 of the sum.
  EXPECT_EQ(result(2, kCount)[0], 600 + 4 * 12);
  group([&](int r) {
    return ncclAlltoAll(send(r), recv(r), kCount, ncclFloat, comms[r],
                        streams[r]);
  });
  EXPECT_EQ(result(1, kRanks * kCount)[3 * kCount], 306);
  group([&](int r) {
    return ncclScatter(send(r), recv(r), kCount, ncclFloat, 3, comms[r],
                       streams[r]);
  });
  EXPECT_EQ(result(1, kCount)[0], 306);
  group([&](int r) {
    return ncclGather(send(r), recv(r), kCount, ncclFloat, 0, comms[r],
                      streams[r]);
  });
  EXPECT_EQ(result(0, kRanks * kCount)[kCount], 100);
}

TEST_F(NcclTest, InPlace) {
  group([&](int r) {
    return ncclAllReduce(send(r), reinterpret_cast<void *>(in[r]), kCount,
                         ncclFloat, ncclSum, comms[r], streams[r]);
  });
  OK(sync(1));
  float value = 0;
  OK(cuMemcpyDtoH(&value, in[1], 4));
  EXPECT_EQ(value, 600);
  group([&](int r) {
    return ncclAllGather(
        reinterpret_cast<void *>(out[r] + size_t(r) * kCount * 4), recv(r),
        kCount, ncclFloat, comms[r], streams[r]);
  });
  OK(sync(1));
  // Overlapping in another way is wrong.
  testing::internal::CaptureStderr();
  EXPECT_EQ(ncclAllReduce(send(0), reinterpret_cast<void *>(in[0] + 4), kCount,
                          ncclFloat, ncclSum, comms[0], streams[0]),
            ncclInvalidArgument);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("overlap"),
            std::string::npos);
}

// All to all, as products did it before there was a call.
TEST_F(NcclTest, MessagesInAGroupGoForwardTogether) {
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  for (int r = 0; r != kRanks; ++r)
    for (int peer = 0; peer != kRanks; ++peer) {
      ASSERT_EQ(
          ncclSend(reinterpret_cast<void *>(in[r] + size_t(peer) * kCount * 4),
                   kCount, ncclFloat, peer, comms[r], streams[r]),
          ncclSuccess);
      ASSERT_EQ(
          ncclRecv(reinterpret_cast<void *>(out[r] + size_t(peer) * kCount * 4),
                   kCount, ncclFloat, peer, comms[r], streams[r]),
          ncclSuccess);
    }
  ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
  for (int r = 0; r != kRanks; ++r)
    for (int from = 0; from != kRanks; ++from)
      EXPECT_EQ(result(r, kRanks * kCount)[size_t(from) * kCount],
                float(100 * from) + float(r) * kCount);
}

TEST_F(NcclTest, OneThreadARank) {
  std::vector<std::thread> threads;
  std::vector<float> sums(kRanks);
  ncclUniqueId id;
  ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  for (int r = 0; r != kRanks; ++r)
    threads.emplace_back([&, r] {
      cuCtxSetCurrent(contexts[r]);
      ncclComm_t comm = nullptr;
      ASSERT_EQ(ncclCommInitRank(&comm, kRanks, id, r), ncclSuccess);
      int rank = -1;
      ASSERT_EQ(ncclCommUserRank(comm, &rank), ncclSuccess);
      ASSERT_EQ(rank, r);
      for (int round = 0; round != 5; ++round)
        ASSERT_EQ(ncclAllReduce(send(r), recv(r), kCount, ncclFloat, ncclSum,
                                comm, streams[r]),
                  ncclSuccess);
      ASSERT_EQ(cuStreamSynchronize(streams[r]), CUDA_SUCCESS);
      ASSERT_EQ(cuMemcpyDtoH(&sums[size_t(r)], out[r], 4), CUDA_SUCCESS);
      ASSERT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(sums, std::vector<float>(kRanks, 600));
}

TEST_F(NcclTest, Splits) {
  ncclComm_t halves[kRanks] = {};
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  // Even and odd ranks; the key turns the order around.
  for (int r = 0; r != kRanks; ++r)
    ASSERT_EQ(ncclCommSplit(comms[r], r % 2, -r, &halves[r], nullptr),
              ncclSuccess);
  ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
  int rank = -1;
  int count = -1;
  ASSERT_EQ(ncclCommUserRank(halves[3], &rank), ncclSuccess);
  ASSERT_EQ(ncclCommCount(halves[3], &count), ncclSuccess);
  EXPECT_EQ(rank, 0);
  EXPECT_EQ(count, 2);
  group([&](int r) {
    return ncclAllReduce(send(r), recv(r), kCount, ncclFloat, ncclSum,
                         halves[r], streams[r]);
  });
  EXPECT_EQ(result(0, 1)[0], 200);
  EXPECT_EQ(result(1, 1)[0], 400);
}

TEST_F(NcclTest, OperatorsOfTheProgram) {
  ncclRedOp_t ops[kRanks];
  for (int r = 0; r != kRanks; ++r) {
    float scale = 0.5f;
    ASSERT_EQ(ncclRedOpCreatePreMulSum(&ops[r], &scale, ncclFloat,
                                       ncclScalarHostImmediate, comms[r]),
              ncclSuccess);
  }
  group([&](int r) {
    return ncclAllReduce(send(r), recv(r), kCount, ncclFloat, ops[r], comms[r],
                         streams[r]);
  });
  EXPECT_EQ(result(0, 1)[0], 300);
  EXPECT_EQ(ncclRedOpDestroy(ops[0], comms[0]), ncclSuccess);
}

// A captured collective runs once for each launch.
TEST_F(NcclTest, CollectivesAreCaptured) {
  CUgraphExec execs[kRanks] = {};
  for (int r = 0; r != kRanks; ++r) {
    OK(cuCtxSetCurrent(contexts[r]));
    OK(cuStreamBeginCapture(streams[r], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  }
  group([&](int r) {
    return ncclAllReduce(send(r), reinterpret_cast<void *>(in[r]), kCount,
                         ncclFloat, ncclSum, comms[r], streams[r]);
  });
  for (int r = 0; r != kRanks; ++r) {
    OK(cuCtxSetCurrent(contexts[r]));
    CUgraph graph = nullptr;
    OK(cuStreamEndCapture(streams[r], &graph));
    OK(cuGraphInstantiate(&execs[r], graph, 0));
  }
  for (int round = 0; round != 2; ++round)
    for (int r = 0; r != kRanks; ++r) {
      OK(cuCtxSetCurrent(contexts[r]));
      OK(cuGraphLaunch(execs[r], streams[r]));
    }
  for (int r = 0; r != kRanks; ++r) {
    OK(sync(r));
    float value = 0;
    OK(cuMemcpyDtoH(&value, in[r], 4));
    EXPECT_EQ(value, 2400);
  }
}

//===--- what goes wrong ----------------------------------------------------//

TEST_F(NcclTest, RanksThatDisagreeAreNamed) {
  testing::internal::CaptureStderr();
  group([&](int r) {
    return ncclAllReduce(send(r), recv(r), r == 2 ? 4 : kCount, ncclFloat,
                         ncclSum, comms[r], streams[r]);
  });
  EXPECT_EQ(sync(0), CUDA_ERROR_LAUNCH_FAILED);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("nccl deadlock"), std::string::npos) << said;
  EXPECT_NE(said.find("rank 0 calls ncclAllReduce(count 6, f32, sum), but rank "
                      "2 calls ncclAllReduce(count 4, f32, sum)"),
            std::string::npos)
      << said;
  ncclResult_t async = ncclSuccess;
  ASSERT_EQ(ncclCommGetAsyncError(comms[0], &async), ncclSuccess);
  EXPECT_EQ(async, ncclInvalidUsage);
}

TEST_F(NcclTest, OrderTypeRootAndOperatorMustAgree) {
  struct {
    const char *what;
    ncclResult_t (*call)(const void *, void *, int, ncclComm_t, CUstream);
  } cases[] = {
      {"i32",
       [](const void *s, void *d, int r, ncclComm_t c, CUstream t) {
         return ncclAllReduce(s, d, 1, r ? ncclFloat : ncclInt, ncclSum, c, t);
       }},
      {"max",
       [](const void *s, void *d, int r, ncclComm_t c, CUstream t) {
         return ncclAllReduce(s, d, 1, ncclFloat, r ? ncclSum : ncclMax, c, t);
       }},
      {"root 1",
       [](const void *s, void *d, int r, ncclComm_t c, CUstream t) {
         return ncclBroadcast(s, d, 1, ncclFloat, r ? 0 : 1, c, t);
       }},
      {"ncclAllGather",
       [](const void *s, void *d, int r, ncclComm_t c, CUstream t) {
         return r ? ncclAllReduce(s, d, 1, ncclFloat, ncclSum, c, t)
                  : ncclAllGather(s, d, 1, ncclFloat, c, t);
       }},
  };
  for (auto &each : cases) {
    TearDown();
    SetUp();
    testing::internal::CaptureStderr();
    group([&](int r) {
      return each.call(send(r), recv(r), r, comms[r], streams[r]);
    });
    std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find(each.what), std::string::npos) << said;
  }
}

TEST_F(NcclTest, AMissingRankIsNamed) {
  for (int r = 0; r != 3; ++r)
    ASSERT_EQ(ncclAllReduce(send(r), recv(r), kCount, ncclFloat, ncclSum,
                            comms[r], streams[r]),
              ncclSuccess);
  testing::internal::CaptureStderr();
  EXPECT_EQ(sync(1), CUDA_ERROR_LAUNCH_TIMEOUT);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("deadlock"), std::string::npos) << said;
  EXPECT_NE(said.find("rank 3 has not called"), std::string::npos) << said;
}

TEST_F(NcclTest, MessagesOutsideOfAGroupWaitForEachOther) {
  // Each rank sends before it receives, one call after another.
  for (int r = 0; r != 2; ++r) {
    ASSERT_EQ(ncclSend(send(r), kCount, ncclFloat, 1 - r, comms[r], streams[r]),
              ncclSuccess);
    ASSERT_EQ(ncclRecv(recv(r), kCount, ncclFloat, 1 - r, comms[r], streams[r]),
              ncclSuccess);
  }
  testing::internal::CaptureStderr();
  EXPECT_EQ(sync(0), CUDA_ERROR_LAUNCH_TIMEOUT);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("ncclSend(count 6, f32, peer 1)"), std::string::npos)
      << said;
}

TEST_F(NcclTest, MessagesMustFit) {
  testing::internal::CaptureStderr();
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  ASSERT_EQ(ncclSend(send(0), 3, ncclFloat, 1, comms[0], streams[0]),
            ncclSuccess);
  ASSERT_EQ(ncclRecv(recv(1), 4, ncclFloat, 0, comms[1], streams[1]),
            ncclSuccess);
  ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
  EXPECT_EQ(sync(1), CUDA_ERROR_LAUNCH_FAILED);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("rank 0 calls ncclSend(count 3"), std::string::npos)
      << said;
}

TEST_F(NcclTest, BadArguments) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(ncclAllReduce(send(1), recv(0), kCount, ncclFloat, ncclSum,
                          comms[0], streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(send(0), recv(0), 1 << 20, ncclFloat, ncclSum,
                          comms[0], streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(send(0), recv(0), kCount, ncclFloat, ncclSum,
                          comms[0], streams[1]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclBroadcast(send(0), recv(0), kCount, ncclFloat, 4, comms[0],
                          streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(send(0), recv(0), kCount, ncclDataType_t(99), ncclSum,
                          comms[0], streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(send(0), recv(0), kCount, ncclFloat, ncclRedOp_t(99),
                          comms[0], streams[0]),
            ncclInvalidArgument);
  int word = 0;
  EXPECT_EQ(ncclAllReduce(send(0), recv(0), kCount, ncclFloat, ncclSum,
                          reinterpret_cast<ncclComm_t>(&word), streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  // An error inside of a group is the group's.
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  ASSERT_EQ(ncclGroupStart(), ncclSuccess);
  EXPECT_EQ(ncclBroadcast(send(0), recv(0), kCount, ncclFloat, 4, comms[0],
                          streams[0]),
            ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclSuccess);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidArgument);
  int same[] = {1, 1};
  ncclComm_t two[2];
  EXPECT_EQ(ncclCommInitAll(two, 2, same), ncclInvalidUsage);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("the stream is of device 1, but the rank is on device 0"),
            std::string::npos)
      << said;
}

TEST_F(NcclTest, ARankThatNeverJoinsIsNamed) {
  ncclUniqueId id;
  ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  cuCtxSetCurrent(contexts[0]);
  ncclComm_t comm = nullptr;
  testing::internal::CaptureStderr();
  EXPECT_EQ(ncclCommInitRank(&comm, 2, id, 0), ncclSystemError);
  EXPECT_NE(testing::internal::GetCapturedStderr().find(
                "rank(s) 1 have not called it"),
            std::string::npos);
}

} // namespace
