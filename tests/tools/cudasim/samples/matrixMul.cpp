// Tiled matrix product C = A * B with shared memory, timed with events on a
// stream of its own. The block size is a template argument: the kernel is a
// name expression that NVRTC lowers.
//
//   c++ matrixMul.cpp -lcuda -lnvrtc

#include <cuda.h>
#include <nvrtc.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

static void check(CUresult status, const char *what) {
  if (status == CUDA_SUCCESS)
    return;
  const char *name = "?";
  cuGetErrorName(status, &name);
  fprintf(stderr, "%s failed: %s\n", what, name);
  exit(EXIT_FAILURE);
}

static void check(nvrtcResult status, const char *what) {
  if (status == NVRTC_SUCCESS)
    return;
  fprintf(stderr, "%s failed: %s\n", what, nvrtcGetErrorString(status));
  exit(EXIT_FAILURE);
}

#define CHECK(call) check((call), #call)

static const char *const kSource = R"(
template <int BLOCK_SIZE>
__global__ void matrixMul(float *C, const float *A, const float *B, int wA,
                          int wB) {
  int bx = blockIdx.x, by = blockIdx.y;
  int tx = threadIdx.x, ty = threadIdx.y;
  int aBegin = wA * BLOCK_SIZE * by;
  int aEnd = aBegin + wA - 1;
  int aStep = BLOCK_SIZE;
  int bBegin = BLOCK_SIZE * bx;
  int bStep = BLOCK_SIZE * wB;
  float Csub = 0;
  for (int a = aBegin, b = bBegin; a <= aEnd; a += aStep, b += bStep) {
    __shared__ float As[BLOCK_SIZE][BLOCK_SIZE];
    __shared__ float Bs[BLOCK_SIZE][BLOCK_SIZE];
    As[ty][tx] = A[a + wA * ty + tx];
    Bs[ty][tx] = B[b + wB * ty + tx];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < BLOCK_SIZE; ++k)
      Csub += As[ty][k] * Bs[k][tx];
    __syncthreads();
  }
  int c = wB * BLOCK_SIZE * by + BLOCK_SIZE * bx;
  C[c + wB * ty + tx] = Csub;
}
)";

int main() {
  const int blockSize = 16;
  const int wA = 96, hA = 64, wB = 128;

  CHECK(cuInit(0));
  CUdevice device;
  CHECK(cuDeviceGet(&device, 0));
  CUcontext context;
  CHECK(cuDevicePrimaryCtxRetain(&context, device));
  CHECK(cuCtxSetCurrent(context));
  int major = 0, minor = 0;
  CHECK(cuDeviceGetAttribute(
      &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  CHECK(cuDeviceGetAttribute(
      &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));

  nvrtcProgram program;
  CHECK(nvrtcCreateProgram(&program, kSource, "matrixMul.cu", 0, nullptr,
                           nullptr));
  std::string expression = "matrixMul<" + std::to_string(blockSize) + ">";
  CHECK(nvrtcAddNameExpression(program, expression.c_str()));
  std::string architecture =
      "-arch=compute_" + std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str(), "--use_fast_math",
                           "-lineinfo"};
  if (nvrtcCompileProgram(program, 3, options) != NVRTC_SUCCESS) {
    size_t logSize = 0;
    CHECK(nvrtcGetProgramLogSize(program, &logSize));
    std::string log(logSize, 0);
    CHECK(nvrtcGetProgramLog(program, &log[0]));
    fprintf(stderr, "%s\n", log.c_str());
    return EXIT_FAILURE;
  }
  const char *lowered = nullptr;
  CHECK(nvrtcGetLoweredName(program, expression.c_str(), &lowered));
  size_t ptxSize = 0;
  CHECK(nvrtcGetPTXSize(program, &ptxSize));
  std::string ptx(ptxSize, 0);
  CHECK(nvrtcGetPTX(program, &ptx[0]));
  CUmodule module;
  CUfunction kernel;
  CHECK(cuModuleLoadData(&module, ptx.c_str()));
  CHECK(cuModuleGetFunction(&kernel, module, lowered));
  CHECK(nvrtcDestroyProgram(&program));

  // Host memory is pinned, so that the copies may run asynchronously.
  const size_t bytesA = sizeof(float) * hA * wA;
  const size_t bytesB = sizeof(float) * wA * wB;
  const size_t bytesC = sizeof(float) * hA * wB;
  float *hostA = nullptr, *hostB = nullptr, *hostC = nullptr;
  CHECK(cuMemAllocHost(reinterpret_cast<void **>(&hostA), bytesA));
  CHECK(cuMemAllocHost(reinterpret_cast<void **>(&hostB), bytesB));
  CHECK(cuMemAllocHost(reinterpret_cast<void **>(&hostC), bytesC));
  const float valB = 0.01f;
  for (int i = 0; i < hA * wA; ++i)
    hostA[i] = 1.0f;
  for (int i = 0; i < wA * wB; ++i)
    hostB[i] = valB;

  CUdeviceptr dA, dB, dC;
  CHECK(cuMemAlloc(&dA, bytesA));
  CHECK(cuMemAlloc(&dB, bytesB));
  CHECK(cuMemAlloc(&dC, bytesC));

  CUstream stream;
  CUevent start, stop;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK(cuEventCreate(&start, CU_EVENT_DEFAULT));
  CHECK(cuEventCreate(&stop, CU_EVENT_DEFAULT));

  CHECK(cuMemcpyHtoDAsync(dA, hostA, bytesA, stream));
  CHECK(cuMemcpyHtoDAsync(dB, hostB, bytesB, stream));

  int wide = wA, columns = wB;
  void *arguments[] = {&dC, &dA, &dB, &wide, &columns};
  const int iterations = 3;
  CHECK(cuEventRecord(start, stream));
  for (int i = 0; i < iterations; ++i)
    CHECK(cuLaunchKernel(kernel, wB / blockSize, hA / blockSize, 1, blockSize,
                         blockSize, 1, 0, stream, arguments, nullptr));
  CHECK(cuEventRecord(stop, stream));
  CHECK(cuEventSynchronize(stop));
  float milliseconds = 0;
  CHECK(cuEventElapsedTime(&milliseconds, start, stop));
  printf("Time per product: %.4f ms\n", milliseconds / iterations);

  CHECK(cuMemcpyDtoHAsync(hostC, dC, bytesC, stream));
  CHECK(cuStreamSynchronize(stream));

  bool correct = true;
  for (int i = 0; i < hA * wB && correct; ++i) {
    double error = std::fabs(hostC[i] - wA * valB) / (wA * valB);
    if (error / wA > 1e-6) {
      fprintf(stderr, "Matrix[%05d]=%.8f, expected %.8f\n", i, hostC[i],
              wA * valB);
      correct = false;
    }
  }
  printf("Result = %s\n", correct ? "PASS" : "FAIL");

  CHECK(cuEventDestroy(start));
  CHECK(cuEventDestroy(stop));
  CHECK(cuStreamDestroy(stream));
  CHECK(cuMemFree(dA));
  CHECK(cuMemFree(dB));
  CHECK(cuMemFree(dC));
  CHECK(cuMemFreeHost(hostA));
  CHECK(cuMemFreeHost(hostB));
  CHECK(cuMemFreeHost(hostC));
  CHECK(cuModuleUnload(module));
  CHECK(cuDevicePrimaryCtxRelease(device));
  return correct ? EXIT_SUCCESS : EXIT_FAILURE;
}
