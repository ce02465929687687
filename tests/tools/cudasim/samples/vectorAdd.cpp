// Vector addition: C = A + B, with the kernel compiled at run time by NVRTC
// and launched through the CUDA driver API.
//
//   c++ vectorAdd.cpp -lcuda -lnvrtc

#include <cuda.h>
#include <nvrtc.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#define CHECK_CUDA(call)                                                       \
  do {                                                                         \
    CUresult status = (call);                                                  \
    if (status != CUDA_SUCCESS) {                                              \
      const char *text = "?";                                                  \
      cuGetErrorString(status, &text);                                         \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, text);     \
      exit(EXIT_FAILURE);                                                      \
    }                                                                          \
  } while (0)

#define CHECK_NVRTC(call)                                                      \
  do {                                                                         \
    nvrtcResult status = (call);                                               \
    if (status != NVRTC_SUCCESS) {                                             \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,            \
              nvrtcGetErrorString(status));                                    \
      exit(EXIT_FAILURE);                                                      \
    }                                                                          \
  } while (0)

static const char *const kSource = R"(
extern "C" __global__ void vectorAdd(const float *A, const float *B, float *C,
                                     int numElements) {
  int i = blockDim.x * blockIdx.x + threadIdx.x;
  if (i < numElements)
    C[i] = A[i] + B[i];
}
)";

int main() {
  CHECK_CUDA(cuInit(0));
  int deviceCount = 0;
  CHECK_CUDA(cuDeviceGetCount(&deviceCount));
  if (deviceCount == 0) {
    fprintf(stderr, "no CUDA device\n");
    return EXIT_FAILURE;
  }
  CUdevice device;
  CHECK_CUDA(cuDeviceGet(&device, 0));
  char name[256];
  int major = 0, minor = 0;
  CHECK_CUDA(cuDeviceGetName(name, sizeof name, device));
  CHECK_CUDA(cuDeviceGetAttribute(
      &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  CHECK_CUDA(cuDeviceGetAttribute(
      &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
  printf("> Using device 0: %s, compute capability %d.%d\n", name, major,
         minor);

  CUcontext context;
  CHECK_CUDA(cuCtxCreate(&context, nullptr, 0, device));

  nvrtcProgram program;
  CHECK_NVRTC(nvrtcCreateProgram(&program, kSource, "vectorAdd.cu", 0, nullptr,
                                 nullptr));
  std::string architecture = "--gpu-architecture=compute_" +
                             std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str()};
  nvrtcResult compiled = nvrtcCompileProgram(program, 1, options);
  if (compiled != NVRTC_SUCCESS) {
    size_t logSize = 0;
    CHECK_NVRTC(nvrtcGetProgramLogSize(program, &logSize));
    std::string log(logSize, 0);
    CHECK_NVRTC(nvrtcGetProgramLog(program, &log[0]));
    fprintf(stderr, "%s\n", log.c_str());
    return EXIT_FAILURE;
  }
  size_t ptxSize = 0;
  CHECK_NVRTC(nvrtcGetPTXSize(program, &ptxSize));
  std::vector<char> ptx(ptxSize);
  CHECK_NVRTC(nvrtcGetPTX(program, ptx.data()));
  CHECK_NVRTC(nvrtcDestroyProgram(&program));

  CUmodule module;
  CUfunction function;
  CHECK_CUDA(cuModuleLoadDataEx(&module, ptx.data(), 0, nullptr, nullptr));
  CHECK_CUDA(cuModuleGetFunction(&function, module, "vectorAdd"));

  int numElements = 50000;
  size_t size = numElements * sizeof(float);
  std::vector<float> A(numElements), B(numElements), C(numElements);
  for (int i = 0; i < numElements; ++i) {
    A[i] = rand() / float(RAND_MAX);
    B[i] = rand() / float(RAND_MAX);
  }

  CUdeviceptr dA, dB, dC;
  CHECK_CUDA(cuMemAlloc(&dA, size));
  CHECK_CUDA(cuMemAlloc(&dB, size));
  CHECK_CUDA(cuMemAlloc(&dC, size));
  CHECK_CUDA(cuMemcpyHtoD(dA, A.data(), size));
  CHECK_CUDA(cuMemcpyHtoD(dB, B.data(), size));

  int threadsPerBlock = 256;
  int blocksPerGrid = (numElements + threadsPerBlock - 1) / threadsPerBlock;
  printf("CUDA kernel launch with %d blocks of %d threads\n", blocksPerGrid,
         threadsPerBlock);
  void *arguments[] = {&dA, &dB, &dC, &numElements};
  CHECK_CUDA(cuLaunchKernel(function, blocksPerGrid, 1, 1, threadsPerBlock, 1,
                            1, 0, nullptr, arguments, nullptr));
  CHECK_CUDA(cuCtxSynchronize());
  CHECK_CUDA(cuMemcpyDtoH(C.data(), dC, size));

  for (int i = 0; i < numElements; ++i) {
    if (std::fabs(A[i] + B[i] - C[i]) > 1e-5) {
      fprintf(stderr, "Result verification failed at element %d\n", i);
      return EXIT_FAILURE;
    }
  }
  printf("Test PASSED\n");

  CHECK_CUDA(cuMemFree(dA));
  CHECK_CUDA(cuMemFree(dB));
  CHECK_CUDA(cuMemFree(dC));
  CHECK_CUDA(cuModuleUnload(module));
  CHECK_CUDA(cuCtxDestroy(context));
  return EXIT_SUCCESS;
}
