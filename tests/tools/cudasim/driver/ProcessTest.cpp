// What a whole process shows: options, reports at its end, the library under
// its names. Each body runs in a child, because the driver reads its options
// once.
#include "tests/tools/cudasim/driver/Kernels.h"
#include "tests/tools/cudasim/driver/TemporaryFile.h"
#include "gtest/gtest.h"

#include <cuda.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

namespace {

struct Ended {
  int status = -1;
  std::string said;
};

/// Runs `body` in a child whose exit status is what it answers with.
Ended inChild(const char *options, const std::function<int()> &body) {
  int pipes[2];
  Ended ended;
  if (pipe(pipes) != 0)
    return ended;
  pid_t child = fork();
  if (child == 0) {
    dup2(pipes[1], 2);
    close(pipes[0]);
    close(pipes[1]);
    setenv("MOEC_CUDASIM", options, 1);
    exit(body());
  }
  close(pipes[1]);
  char buffer[4096];
  ssize_t count;
  while ((count = read(pipes[0], buffer, sizeof buffer)) > 0)
    ended.said.append(buffer, size_t(count));
  close(pipes[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

/// Fills 64 words by a kernel, and answers with the first error.
int fillSome(CUdeviceptr &address) {
  CUcontext ctx = nullptr;
  CUmodule module = nullptr;
  CUfunction fill = nullptr;
  unsigned value = 3;
  unsigned count = 64;
  void *params[] = {&address, &value, &count};
  CUresult status = cuInit(0);
  if (!status)
    status = cuDevicePrimaryCtxRetain(&ctx, 0);
  if (!status)
    status = cuCtxSetCurrent(ctx);
  if (!status)
    status = cuMemAlloc(&address, 256);
  if (!status)
    status = cuModuleLoadData(&module, cudasim::test::kKernels);
  if (!status)
    status = cuModuleGetFunction(&fill, module, "fill");
  if (!status)
    status =
        cuLaunchKernel(fill, 1, 1, 1, 64, 1, 1, 0, nullptr, params, nullptr);
  if (!status)
    status = cuCtxSynchronize();
  return status;
}

TEST(CudasimProcess, BadOptionsStopIt) {
  Ended ended = inChild("seed=3,speed=9", [] { return int(cuInit(0)); });
  EXPECT_EQ(ended.status, CUDA_ERROR_INVALID_VALUE);
  EXPECT_NE(ended.said.find("MOEC_CUDASIM:1:8: error: there is no option "
                            "'speed'"),
            std::string::npos)
      << ended.said;
}

TEST(CudasimProcess, NothingWorksBeforeInit) {
  Ended ended = inChild("", [] {
    int count = 0;
    return int(cuDeviceGetCount(&count));
  });
  EXPECT_EQ(ended.status, CUDA_ERROR_NOT_INITIALIZED);
}

TEST(CudasimProcess, DevicesAreChosen) {
  Ended ended = inChild("device=a100+rtx4090", [] {
    int count = 0;
    int major = 0;
    int minor = 0;
    char name[64];
    if (cuInit(0) || cuDeviceGetCount(&count) ||
        cuDeviceComputeCapability(&major, &minor, 1) ||
        cuDeviceGetName(name, sizeof name, 0))
      return 1;
    return count == 2 && major == 8 && minor == 9 && std::strstr(name, "A100")
               ? 0
               : 2;
  });
  EXPECT_EQ(ended.status, 0);
}

TEST(CudasimProcess, LeaksAreReported) {
  Ended ended = inChild("checks=leaks", [] {
    CUdeviceptr address = 0;
    return fillSome(address);
  });
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.said.find("leak: 1 allocations, 256 bytes in all"),
            std::string::npos)
      << ended.said;
  ended = inChild("checks=leaks", [] {
    CUdeviceptr address = 0;
    int status = fillSome(address);
    return status ? status : int(cuMemFree(address));
  });
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.said, "");
}

TEST(CudasimProcess, CountersAreWritten) {
  cudasim::test::TemporaryFile file(".json");
  Ended ended = inChild(("counters=" + file.path()).c_str(), [] {
    CUdeviceptr address = 0;
    return fillSome(address);
  });
  EXPECT_EQ(ended.status, 0) << ended.said;
  std::string text = file.read();
  EXPECT_EQ(text[0], '[');
  EXPECT_NE(text.find("\"fill\""), std::string::npos) << text;
  ended = inChild(("counters=" + file.path() + "/c.json").c_str(), [] {
    CUdeviceptr address = 0;
    return fillSome(address);
  });
  EXPECT_NE(ended.said.find("cannot write the counters"), std::string::npos);
  ended = inChild("counters=-", [] {
    CUdeviceptr address = 0;
    return fillSome(address);
  });
  EXPECT_NE(ended.said.find("fill"), std::string::npos);
}

TEST(CudasimProcess, TheLogGrows) {
  auto fail = [] {
    int value = 0;
    cuInit(0);
    cuDeviceGet(&value, 99);
    return 0;
  };
  EXPECT_EQ(inChild("", fail).said, "");
  std::string errors = inChild("log=errors", fail).said;
  EXPECT_NE(errors.find("device 99 is not one of 2"), std::string::npos);
  EXPECT_NE(errors.find("cuDeviceGet -> CUDA_ERROR_INVALID_DEVICE"),
            std::string::npos);
  EXPECT_EQ(errors.find("cuInit"), std::string::npos);
  std::string calls = inChild("log=calls", fail).said;
  EXPECT_NE(calls.find("cuInit -> CUDA_SUCCESS"), std::string::npos);
}

TEST(CudasimProcess, ALoopEndsByItsBudget) {
  Ended ended = inChild("budget=100000", [] {
    CUdeviceptr address = 0;
    if (int bad = fillSome(address))
      return bad;
    CUmodule module = nullptr;
    CUfunction forever = nullptr;
    void *params[] = {&address};
    cuMemsetD32(address, 0, 64);
    cuModuleLoadData(&module, cudasim::test::kKernels);
    cuModuleGetFunction(&forever, module, "forever");
    cuLaunchKernel(forever, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr);
    return cuCtxSynchronize() == CUDA_ERROR_LAUNCH_TIMEOUT ? 0 : 1;
  });
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.said.find("forever"), std::string::npos) << ended.said;
}

// A program that opens the library by path or by its usual names finds it.
TEST(CudasimProcess, IsOpenedByName) {
  for (const char *name :
       {"libmoec_cudasim.so", "libcuda.so.1", "libcuda.so"}) {
    SCOPED_TRACE(name);
    std::string path = std::string(CUDASIM_FOLDER) + "/" + name;
    Ended ended = inChild("", [&] {
      void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!library)
        return 1;
      auto init =
          reinterpret_cast<CUresult (*)(unsigned)>(dlsym(library, "cuInit"));
      return init && init(0) == CUDA_SUCCESS ? 0 : 2;
    });
    EXPECT_EQ(ended.status, 0) << ended.said;
  }
}

// Every entry point of the table is exported, in order, and found by name.
TEST(CudasimProcess, EveryEntryPointIsExported) {
  struct Row {
    const char *base;
    int version;
    const char *name;
  };
  const Row rows[] = {
#define CUDASIM_SYMBOL(BASE, VERSION, NAME) {#BASE, VERSION, #NAME},
#define CUDASIM_MISSING(BASE, VERSION, NAME) {#BASE, VERSION, #NAME},
#include "tools/cudasim/driver/Symbols.def"
  };
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(library, nullptr);
  const char *before = "";
  for (const Row &row : rows) {
    void *address = dlsym(library, row.name);
    EXPECT_NE(address, nullptr) << row.name;
    EXPECT_LT(std::strcmp(before, row.name), 0) << row.name;
    before = row.name;
    void *found = nullptr;
    bool own = std::strstr(row.name, "_pts") || std::strstr(row.name, "_ptd");
    EXPECT_EQ(
        cuGetProcAddress(row.base, &found, row.version,
                         own ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM
                             : CU_GET_PROC_ADDRESS_LEGACY_STREAM,
                         nullptr),
        CUDA_SUCCESS);
    EXPECT_EQ(found, address) << row.name;
  }
  EXPECT_GT(std::size(rows), 600u);
}

} // namespace
