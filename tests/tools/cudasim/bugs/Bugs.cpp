//===- Bugs.cpp - the host's half of every bug ----------------------------===//
//
// Sizes are chosen so that one thread, or a known first one, does the wrong
// thing: the report must name it.
//
//===----------------------------------------------------------------------===//
#include "tests/tools/cudasim/bugs/Scene.h"

#include <vector>

namespace bugs {

constexpr CUresult kIllegal = CUDA_ERROR_ILLEGAL_ADDRESS;
constexpr CUresult kFailed = CUDA_ERROR_LAUNCH_FAILED;
constexpr CUresult kTimeout = CUDA_ERROR_LAUNCH_TIMEOUT;

/// in: `inputs` floats; out: room for `threads` words a block.
static std::function<void(Scene &)> inAndOut(unsigned threads, size_t inputs,
                                             size_t outputs = 0) {
  return [=](Scene &scene) {
    scene.launch(1, threads, scene.floats(inputs),
                 scene.zeros(outputs ? outputs : threads));
  };
}

static std::function<void(Scene &)> onlyOut(unsigned threads) {
  return [=](Scene &scene) { scene.launch(1, threads, scene.zeros(threads)); };
}

static void useAfterFree(Scene &scene) {
  CUdeviceptr in = scene.floats(32);
  if (!scene.correct) {
    scene.check(cuMemFree(in));
    scene.forget(in);
  }
  scene.launch(1, 32, in, scene.zeros(32));
}

static void hostPointer(Scene &scene) {
  static std::vector<float> heap(4096, 1.0f);
  CUdeviceptr in = scene.correct ? scene.floats(32)
                                 : reinterpret_cast<CUdeviceptr>(heap.data());
  scene.launch(1, 32, in, scene.zeros(32));
}

static void wrongDevice(Scene &scene) {
  CUdeviceptr in = 0;
  CUcontext first = nullptr, second = nullptr;
  CUdevice other = 0;
  scene.check(cuCtxGetCurrent(&first));
  scene.check(cuDeviceGet(&other, 1));
  scene.check(cuDevicePrimaryCtxRetain(&second, other));
  scene.check(cuCtxSetCurrent(second));
  scene.check(cuMemAlloc(&in, 128));
  scene.check(cuMemsetD32(in, 0, 32));
  scene.check(cuCtxSynchronize());
  scene.check(cuCtxSetCurrent(first));
  if (scene.correct)
    scene.check(cuCtxEnablePeerAccess(second, 0));
  scene.launch(1, 32, in, scene.zeros(32));
  if (!scene.correct)
    return;
  scene.check(cuCtxSetCurrent(second));
  scene.check(cuMemFree(in));
  scene.check(cuCtxSetCurrent(first));
  scene.check(cuDevicePrimaryCtxRelease(other));
}

static void localOverflow(Scene &scene) {
  std::vector<int> index(32, 3);
  index[5] = 8;
  CUdeviceptr in = scene.zeros(32);
  scene.check(cuMemcpyHtoD(in, index.data(), 128));
  scene.launch(1, 32, in, scene.zeros(32));
}

const std::vector<Bug> &allBugs() {
  static const auto &list = *new std::vector<Bug>{
      // The seven of the feasibility study.
      {"MissingCopyWait",
       kFailed,
       {"uninit", "race"},
       -1,
       0,
       inAndOut(32, 128)},
      {"MissingBarrierAfterCopy",
       kFailed,
       {"race", "uninit"},
       -1,
       0,
       inAndOut(128, 512)},
      {"MissingBarrierBeforeReduce",
       kFailed,
       {"race", "uninit"},
       -1,
       0,
       inAndOut(128, 128)},
      {"LoopBound",
       kIllegal,
       {"shared"},
       0,
       0,
       [](Scene &scene) {
         scene.launch(1, 32, scene.floats(96), scene.zeros(32), 96);
       }},
      {"MissingGuard",
       kIllegal,
       {"behind the end"},
       36,
       1,
       [](Scene &scene) {
         scene.launch(2, 64, scene.floats(100), scene.zeros(100), 100);
       }},
      {"ReadsPastShared",
       kIllegal,
       {"shared"},
       0,
       0,
       [](Scene &scene) {
         scene.sharedBytes = 128;
         scene.launch(1, 32, scene.zeros(32), 8);
       }},
      {"BarrierInBranch",
       kFailed,
       {"barrier"},
       -1,
       0,
       [](Scene &scene) { scene.launch(1, 128, scene.zeros(128), 48); }},
      // More of memory.
      {"SharedNeighbour",
       kIllegal,
       {"shared"},
       29,
       0,
       [](Scene &scene) { scene.launch(1, 32, scene.zeros(32), 3); }},
      {"UseAfterFree", kIllegal, {"free"}, 0, 0, useAfterFree},
      {"WrongMatrixRow", kIllegal, {"shared"}, 16, 0, onlyOut(32)},
      {"MisalignedVector",
       CUDA_ERROR_MISALIGNED_ADDRESS,
       {"align"},
       0,
       0,
       [](Scene &scene) {
         scene.launch(1, 32, scene.floats(132), scene.zeros(32), 1);
       }},
      {"UnwrittenInput",
       kFailed,
       {"uninit"},
       31,
       0,
       [](Scene &scene) {
         scene.launch(1, 32, scene.floats(32, scene.correct ? 32 : 31),
                      scene.zeros(32));
       }},
      {"HostPointer", kIllegal, {"host"}, 0, 0, hostPointer},
      {"WrongDevice",
       kIllegal,
       {"device", "peer"},
       0,
       0,
       wrongDevice,
       ",devices=2"},
      {"LocalOverflow", kIllegal, {"local"}, 5, 0, localOverflow},
      {"UninitialisedRegister", kFailed, {"uninit"}, 16, 0, onlyOut(32)},
      // Asynchronous copies.
      {"WrongCopyGroup",
       kFailed,
       {"uninit", "race"},
       -1,
       0,
       inAndOut(32, 256, 64)},
      {"ExitWithPendingCopy", kFailed, {"cp.async"}, -1, 0, inAndOut(32, 128)},
      // Order between threads.
      {"WriteToShared", kFailed, {"race"}, -1, 0, onlyOut(64)},
      {"MissingFence",
       kFailed,
       {"race"},
       0,
       -1,
       [](Scene &scene) {
         scene.launch(2, 32, scene.zeros(1), scene.zeros(1), scene.zeros(1));
       }},
      {"GlobalRace",
       kFailed,
       {"race"},
       0,
       -1,
       [](Scene &scene) { scene.launch(4, 32, scene.zeros(1)); }},
      // Barriers and lanes.
      {"DivergentBarrier",
       kFailed,
       {"barrier", "bar.sync"},
       -1,
       0,
       onlyOut(64)},
      {"BarrierDeadlock", kTimeout, {"deadlock"}, -1, 0, onlyOut(64)},
      {"BarrierCount", kFailed, {"barrier", "bar.sync"}, -1, 0, onlyOut(64)},
      {"LaneOutsideMask", kFailed, {"mask"}, 16, 0, inAndOut(32, 32)},
      {"ShuffleFromInactive",
       kFailed,
       {"shfl", "lane"},
       30,
       0,
       [](Scene &scene) {
         scene.launch(1, 32, scene.floats(32), scene.zeros(32), 31);
       }},
      {"InfiniteLoop",
       kTimeout,
       {"budget", "instructions"},
       -1,
       0,
       [](Scene &scene) {
         scene.launch(1, 64, scene.zeros(1), scene.zeros(64));
       },
       ",budget=200000"},
      {"FailedAssert",
       CUDA_ERROR_ASSERT,
       {"in[threadIdx.x] < 32"},
       32,
       0,
       [](Scene &scene) {
         scene.launch(1, 64, scene.integers(64), scene.zeros(64));
       }},
  };
  return list;
}

} // namespace bugs
