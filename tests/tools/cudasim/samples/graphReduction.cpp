// A sum in two kernels, run as a CUDA graph that is made in both ways: by
// capturing a stream (with a fork to a second stream and a join), and by
// adding nodes one by one. Each graph is launched several times.
//
//   c++ graphReduction.cpp -lcuda -lnvrtc

#include <cuda.h>
#include <nvrtc.h>

#include <cmath>
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
#define THREADS_PER_BLOCK 256

__device__ double blockSum(double value) {
  __shared__ double partial[THREADS_PER_BLOCK / 32];
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_down_sync(0xffffffff, value, offset);
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0;
    for (int offset = 16; offset > 0; offset /= 2)
      value += __shfl_down_sync(0xffffffff, value, offset);
  }
  return value;
}

extern "C" __global__ void reduce(const float *input, double *partial,
                                  size_t count) {
  double sum = 0;
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count;
       i += gridDim.x * blockDim.x)
    sum += input[i];
  sum = blockSum(sum);
  if (threadIdx.x == 0)
    partial[blockIdx.x] = sum;
}

extern "C" __global__ void reduceFinal(const double *partial, double *result,
                                       size_t count) {
  double sum = 0;
  for (size_t i = threadIdx.x; i < count; i += blockDim.x)
    sum += partial[i];
  sum = blockSum(sum);
  if (threadIdx.x == 0)
    *result += sum;
}
)";

static const unsigned kThreads = 256, kBlocks = 16;
static const size_t kCount = 1 << 16;
static const int kLaunches = 3;

struct Reduction {
  CUfunction reduce, reduceFinal;
  std::vector<float> input;
  CUdeviceptr dInput, dPartial, dResult;
  double hostResult = 0;
  size_t count = kCount, partials = kBlocks;

  double expected() const {
    double sum = 0;
    for (float value : input)
      sum += value;
    return sum;
  }
  bool verify(const char *how) const {
    bool good = std::fabs(hostResult - expected()) < 1e-6 * expected();
    printf("[%s] final reduced sum = %f, expected %f\n", how, hostResult,
           expected());
    return good;
  }
};

// Each launch of the graph uploads the input, clears the result beside that,
// reduces in two steps and copies the result back.
static bool byCapture(Reduction &r) {
  CUstream stream, side;
  CUevent fork, join;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK(cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
  CHECK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
  CHECK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));

  CHECK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CHECK(cuEventRecord(fork, stream));
  CHECK(cuStreamWaitEvent(side, fork, 0));
  CHECK(cuMemcpyHtoDAsync(r.dInput, r.input.data(), kCount * sizeof(float),
                          stream));
  CHECK(cuMemsetD32Async(r.dResult, 0, 2, side));
  CHECK(cuEventRecord(join, side));
  void *first[] = {&r.dInput, &r.dPartial, &r.count};
  CHECK(cuLaunchKernel(r.reduce, kBlocks, 1, 1, kThreads, 1, 1, 0, stream,
                       first, nullptr));
  CHECK(cuStreamWaitEvent(stream, join, 0));
  void *second[] = {&r.dPartial, &r.dResult, &r.partials};
  CHECK(cuLaunchKernel(r.reduceFinal, 1, 1, 1, kThreads, 1, 1, 0, stream,
                       second, nullptr));
  CHECK(cuMemcpyDtoHAsync(&r.hostResult, r.dResult, sizeof(double), stream));
  CUgraph graph;
  CHECK(cuStreamEndCapture(stream, &graph));

  size_t nodes = 0;
  CHECK(cuGraphGetNodes(graph, nullptr, &nodes));
  printf("Nodes in the captured graph: %zu\n", nodes);

  CUgraphExec exec;
  CHECK(cuGraphInstantiate(&exec, graph, 0));
  bool good = nodes == 5;
  for (int launch = 0; launch < kLaunches; ++launch) {
    for (float &value : r.input)
      value = rand() / float(RAND_MAX);
    r.hostResult = -1;
    CHECK(cuGraphLaunch(exec, stream));
    CHECK(cuStreamSynchronize(stream));
    good &= r.verify("capture");
  }
  CHECK(cuGraphExecDestroy(exec));
  CHECK(cuGraphDestroy(graph));
  CHECK(cuEventDestroy(fork));
  CHECK(cuEventDestroy(join));
  CHECK(cuStreamDestroy(side));
  CHECK(cuStreamDestroy(stream));
  return good;
}

static bool byHand(Reduction &r, CUcontext context) {
  CUstream stream;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUgraph graph;
  CHECK(cuGraphCreate(&graph, 0));

  CUDA_MEMCPY3D upload = {};
  upload.srcMemoryType = CU_MEMORYTYPE_HOST;
  upload.srcHost = r.input.data();
  upload.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  upload.dstDevice = r.dInput;
  upload.WidthInBytes = kCount * sizeof(float);
  upload.Height = upload.Depth = 1;
  CUgraphNode uploaded;
  CHECK(cuGraphAddMemcpyNode(&uploaded, graph, nullptr, 0, &upload, context));

  CUDA_MEMSET_NODE_PARAMS clear = {};
  clear.dst = r.dResult;
  clear.elementSize = 4;
  clear.width = 2;
  clear.height = 1;
  CUgraphNode cleared;
  CHECK(cuGraphAddMemsetNode(&cleared, graph, nullptr, 0, &clear, context));

  void *first[] = {&r.dInput, &r.dPartial, &r.count};
  CUDA_KERNEL_NODE_PARAMS kernel = {};
  kernel.func = r.reduce;
  kernel.gridDimX = kBlocks;
  kernel.gridDimY = kernel.gridDimZ = 1;
  kernel.blockDimX = kThreads;
  kernel.blockDimY = kernel.blockDimZ = 1;
  kernel.kernelParams = first;
  CUgraphNode reduced;
  CHECK(cuGraphAddKernelNode(&reduced, graph, &uploaded, 1, &kernel));

  void *second[] = {&r.dPartial, &r.dResult, &r.partials};
  kernel.func = r.reduceFinal;
  kernel.gridDimX = 1;
  kernel.kernelParams = second;
  CUgraphNode before[] = {reduced, cleared}, summed;
  CHECK(cuGraphAddKernelNode(&summed, graph, before, 2, &kernel));

  CUDA_MEMCPY3D fetch = {};
  fetch.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  fetch.srcDevice = r.dResult;
  fetch.dstMemoryType = CU_MEMORYTYPE_HOST;
  fetch.dstHost = &r.hostResult;
  fetch.WidthInBytes = sizeof(double);
  fetch.Height = fetch.Depth = 1;
  CUgraphNode fetched;
  CHECK(cuGraphAddMemcpyNode(&fetched, graph, &summed, 1, &fetch, context));

  // The host checks the result itself, as the graph's last node.
  CUDA_HOST_NODE_PARAMS report = {};
  report.fn = [](void *data) {
    printf("[host node] sum is %f\n",
           static_cast<Reduction *>(data)->hostResult);
  };
  report.userData = &r;
  CUgraphNode reported;
  CHECK(cuGraphAddHostNode(&reported, graph, &fetched, 1, &report));

  size_t nodes = 0, edges = 0;
  CHECK(cuGraphGetNodes(graph, nullptr, &nodes));
  CHECK(cuGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges));
  printf("Nodes in the built graph: %zu, edges: %zu\n", nodes, edges);

  CUgraph clone;
  CUgraphExec exec, cloneExec;
  CHECK(cuGraphClone(&clone, graph));
  CHECK(cuGraphInstantiate(&exec, graph, 0));
  CHECK(cuGraphInstantiate(&cloneExec, clone, 0));
  bool good = nodes == 6 && edges == 5;
  for (int launch = 0; launch < kLaunches; ++launch) {
    for (float &value : r.input)
      value = rand() / float(RAND_MAX);
    for (CUgraphExec each : {exec, cloneExec}) {
      r.hostResult = -1;
      CHECK(cuGraphLaunch(each, stream));
      CHECK(cuStreamSynchronize(stream));
      good &= r.verify(each == exec ? "built" : "clone");
    }
  }
  CHECK(cuGraphExecDestroy(exec));
  CHECK(cuGraphExecDestroy(cloneExec));
  CHECK(cuGraphDestroy(clone));
  CHECK(cuGraphDestroy(graph));
  CHECK(cuStreamDestroy(stream));
  return good;
}

int main() {
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
  std::string architecture =
      "-arch=compute_" + std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str()};
  if (nvrtcCreateProgram(&program, kSource, "reduction.cu", 0, nullptr,
                         nullptr) != NVRTC_SUCCESS ||
      nvrtcCompileProgram(program, 1, options) != NVRTC_SUCCESS) {
    fprintf(stderr, "the kernels do not compile\n");
    return EXIT_FAILURE;
  }
  size_t ptxSize = 0;
  nvrtcGetPTXSize(program, &ptxSize);
  std::string ptx(ptxSize, 0);
  nvrtcGetPTX(program, &ptx[0]);
  nvrtcDestroyProgram(&program);

  CUmodule module;
  Reduction r;
  CHECK(cuModuleLoadData(&module, ptx.c_str()));
  CHECK(cuModuleGetFunction(&r.reduce, module, "reduce"));
  CHECK(cuModuleGetFunction(&r.reduceFinal, module, "reduceFinal"));
  r.input.resize(kCount);
  CHECK(cuMemAlloc(&r.dInput, kCount * sizeof(float)));
  CHECK(cuMemAlloc(&r.dPartial, kBlocks * sizeof(double)));
  CHECK(cuMemAlloc(&r.dResult, sizeof(double)));

  bool good = byCapture(r);
  good &= byHand(r, context);

  CHECK(cuMemFree(r.dInput));
  CHECK(cuMemFree(r.dPartial));
  CHECK(cuMemFree(r.dResult));
  CHECK(cuModuleUnload(module));
  CHECK(cuDevicePrimaryCtxRelease(device));
  printf("%s\n", good ? "PASSED" : "FAILED");
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
