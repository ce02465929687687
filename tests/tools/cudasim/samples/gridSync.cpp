// A stencil over a ring, many steps in one cooperative launch: the blocks meet
// with cooperative groups' grid.sync() between steps, and count their work in
// a cuda::atomic_ref.
//
//   c++ -DCUDA_INCLUDE_DIR='"/usr/local/cuda/include"' gridSync.cpp
//       -lcuda -lnvrtc

#include <cuda.h>
#include <nvrtc.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
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
#include <cuda/atomic>

namespace cg = cooperative_groups;

extern "C" __global__ void stencil(float *from, float *to, int *updates,
                                   int count, int steps) {
  cg::grid_group grid = cg::this_grid();
  cuda::atomic_ref<int, cuda::thread_scope_device> total(*updates);
  for (int step = 0; step < steps; ++step) {
    for (int i = grid.thread_rank(); i < count; i += grid.size()) {
      to[i] = 0.25f * from[(i + count - 1) % count] + 0.5f * from[i] +
              0.25f * from[(i + 1) % count];
      total.fetch_add(1, cuda::memory_order_relaxed);
    }
    grid.sync();
    float *next = from;
    from = to;
    to = next;
  }
}
)";

int main() {
  CHECK(cuInit(0));
  CUdevice device;
  CHECK(cuDeviceGet(&device, 0));
  CUcontext context;
  CHECK(cuCtxCreate(&context, nullptr, 0, device));
  int major = 0, minor = 0, cooperative = 0;
  CHECK(cuDeviceGetAttribute(
      &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  CHECK(cuDeviceGetAttribute(
      &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
  CHECK(cuDeviceGetAttribute(&cooperative,
                             CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, device));
  if (!cooperative) {
    fprintf(stderr, "the device has no cooperative launches\n");
    return EXIT_FAILURE;
  }

  nvrtcProgram program;
  std::string architecture =
      "-arch=compute_" + std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str(), "-std=c++17",
                           "-I" CUDA_INCLUDE_DIR,
                           "-I" CUDA_INCLUDE_DIR "/cccl"};
  if (nvrtcCreateProgram(&program, kSource, "stencil.cu", 0, nullptr,
                         nullptr) != NVRTC_SUCCESS ||
      nvrtcCompileProgram(program, 4, options) != NVRTC_SUCCESS) {
    fprintf(stderr, "the kernel does not compile\n");
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
  CHECK(cuModuleGetFunction(&kernel, module, "stencil"));

  int count = 700, steps = 6, threads = 128, perProcessor = 0;
  CHECK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&perProcessor, kernel,
                                                    threads, 0));
  if (perProcessor < 1) {
    fprintf(stderr, "the kernel does not fit\n");
    return EXIT_FAILURE;
  }
  std::vector<float> values(count), want(count), next(count);
  for (float &value : values)
    value = rand() / float(RAND_MAX);
  want = values;
  for (int step = 0; step < steps; ++step) {
    for (int i = 0; i < count; ++i)
      next[i] = 0.25f * want[(i + count - 1) % count] + 0.5f * want[i] +
                0.25f * want[(i + 1) % count];
    std::swap(want, next);
  }

  CUdeviceptr from, to, updates;
  CHECK(cuMemAlloc(&from, count * sizeof(float)));
  CHECK(cuMemAlloc(&to, count * sizeof(float)));
  CHECK(cuMemAlloc(&updates, sizeof(int)));
  CHECK(cuMemcpyHtoD(from, values.data(), count * sizeof(float)));
  CHECK(cuMemsetD32(updates, 0, 1));
  void *arguments[] = {&from, &to, &updates, &count, &steps};
  CHECK(cuLaunchCooperativeKernel(kernel, 4, 1, 1, threads, 1, 1, 0, nullptr,
                                  arguments));
  CHECK(cuCtxSynchronize());
  int done = 0;
  CHECK(cuMemcpyDtoH(values.data(), from, count * sizeof(float)));
  CHECK(cuMemcpyDtoH(&done, updates, sizeof done));

  bool good = done == count * steps;
  for (int i = 0; i < count; ++i)
    good &= std::fabs(values[i] - want[i]) < 1e-6f;
  CHECK(cuMemFree(from));
  CHECK(cuMemFree(to));
  CHECK(cuMemFree(updates));
  CHECK(cuModuleUnload(module));
  CHECK(cuCtxDestroy(context));
  printf("%s\n", good ? "PASSED" : "FAILED");
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
