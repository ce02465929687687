// Sorts segments with cub::BlockRadixSort and counts the distinct values with
// cooperative groups: headers of the CUDA toolkit, compiled by NVRTC.
//
//   c++ -DCUDA_INCLUDE_DIR='"/usr/local/cuda/include"' blockSort.cpp
//       -lcuda -lnvrtc

#include <cuda.h>
#include <nvrtc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#define CHECK(call)                                                            \
  do {                                                                         \
    CUresult status = (call);                                                  \
    if (status != CUDA_SUCCESS) {                                              \
      const char *name = "?";                                                  \
      cuGetErrorName(status, &name);                                           \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, name);     \
      exit(EXIT_FAILURE);                                                      \
    }                                                                          \
  } while (0)

static const char *const kSource = R"(
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_scan.cuh>

namespace cg = cooperative_groups;

constexpr int kThreads = 128, kItems = 4;

extern "C" __global__ void __launch_bounds__(kThreads)
    sortAndCount(const unsigned *in, unsigned *out, int *ranks, int *distinct) {
  using Sort = cub::BlockRadixSort<unsigned, kThreads, kItems>;
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ union {
    typename Sort::TempStorage sort;
    typename Scan::TempStorage scan;
  } temp;
  __shared__ unsigned lasts[kThreads];

  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
  const int base =
      (block.group_index().x * kThreads + block.thread_rank()) * kItems;
  unsigned keys[kItems];
  for (int i = 0; i < kItems; ++i)
    keys[i] = in[base + i];
  Sort(temp.sort).Sort(keys);
  lasts[threadIdx.x] = keys[kItems - 1];
  block.sync();

  int heads[kItems], firsts = 0;
  for (int i = 0; i < kItems; ++i) {
    bool first = i > 0            ? keys[i] != keys[i - 1]
                 : threadIdx.x > 0 ? keys[0] != lasts[threadIdx.x - 1]
                                   : true;
    heads[i] = first;
    firsts += first;
  }
  Scan(temp.scan).InclusiveSum(heads, heads);
  for (int i = 0; i < kItems; ++i) {
    out[base + i] = keys[i];
    ranks[base + i] = heads[i];
  }
  int sum = cg::reduce(warp, firsts, cg::plus<int>());
  if (warp.thread_rank() == 0)
    atomicAdd(&distinct[block.group_index().x], sum);
}
)";

int main() {
  CHECK(cuInit(0));
  CUdevice device;
  CHECK(cuDeviceGet(&device, 0));
  CUcontext context;
  CHECK(cuCtxCreate(&context, nullptr, 0, device));
  int major = 0, minor = 0;
  CHECK(cuDeviceGetAttribute(
      &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  CHECK(cuDeviceGetAttribute(
      &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));

  nvrtcProgram program;
  std::string architecture =
      "-arch=compute_" + std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str(), "-std=c++17",
                           "-I" CUDA_INCLUDE_DIR,
                           "-I" CUDA_INCLUDE_DIR "/cccl"};
  if (nvrtcCreateProgram(&program, kSource, "sort.cu", 0, nullptr, nullptr) !=
          NVRTC_SUCCESS ||
      nvrtcCompileProgram(program, 4, options) != NVRTC_SUCCESS) {
    size_t logSize = 0;
    nvrtcGetProgramLogSize(program, &logSize);
    std::string log(logSize, 0);
    nvrtcGetProgramLog(program, &log[0]);
    fprintf(stderr, "%s\n", log.c_str());
    return EXIT_FAILURE;
  }
  size_t ptxSize = 0;
  nvrtcGetPTXSize(program, &ptxSize);
  std::string ptx(ptxSize, 0);
  nvrtcGetPTX(program, &ptx[0]);
  nvrtcDestroyProgram(&program);

  CUmodule module;
  CUfunction kernel;
  CHECK(cuModuleLoadData(&module, ptx.c_str()));
  CHECK(cuModuleGetFunction(&kernel, module, "sortAndCount"));

  const int blocks = 5, segment = 512, count = blocks * segment;
  std::vector<unsigned> input(count), output(count);
  std::vector<int> ranks(count), distinct(blocks);
  for (unsigned &value : input)
    value = rand() % 300 * 0x01000193u;

  CUdeviceptr dIn, dOut, dRanks, dDistinct;
  CHECK(cuMemAlloc(&dIn, count * sizeof(unsigned)));
  CHECK(cuMemAlloc(&dOut, count * sizeof(unsigned)));
  CHECK(cuMemAlloc(&dRanks, count * sizeof(int)));
  CHECK(cuMemAlloc(&dDistinct, blocks * sizeof(int)));
  CHECK(cuMemcpyHtoD(dIn, input.data(), count * sizeof(unsigned)));
  CHECK(cuMemsetD32(dDistinct, 0, blocks));
  void *arguments[] = {&dIn, &dOut, &dRanks, &dDistinct};
  CHECK(cuLaunchKernel(kernel, blocks, 1, 1, 128, 1, 1, 0, nullptr, arguments,
                       nullptr));
  CHECK(cuMemcpyDtoH(output.data(), dOut, count * sizeof(unsigned)));
  CHECK(cuMemcpyDtoH(ranks.data(), dRanks, count * sizeof(int)));
  CHECK(cuMemcpyDtoH(distinct.data(), dDistinct, blocks * sizeof(int)));

  bool good = true;
  for (int b = 0; b < blocks; ++b) {
    std::vector<unsigned> want(input.begin() + b * segment,
                               input.begin() + (b + 1) * segment);
    std::sort(want.begin(), want.end());
    int rank = 0;
    for (int i = 0; i < segment; ++i) {
      rank += i == 0 || want[i] != want[i - 1];
      good &= output[b * segment + i] == want[i];
      good &= ranks[b * segment + i] == rank;
    }
    good &= distinct[b] == rank;
  }
  CHECK(cuMemFree(dIn));
  CHECK(cuMemFree(dOut));
  CHECK(cuMemFree(dRanks));
  CHECK(cuMemFree(dDistinct));
  CHECK(cuModuleUnload(module));
  CHECK(cuCtxDestroy(context));
  printf("%s\n", good ? "PASSED" : "FAILED");
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
