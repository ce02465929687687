#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Compile.h"

#include <gtest/gtest.h>

#include <map>

namespace corpus {

static int arch = 80;
static std::map<std::string, CUmodule> &modules() {
  static auto &map = *new std::map<std::string, CUmodule>;
  return map;
}

bool succeeded(CUresult result, const char *call, const char *file, int line) {
  if (result == CUDA_SUCCESS)
    return true;
  const char *name = nullptr;
  cuGetErrorName(result, &name);
  ADD_FAILURE_AT(file, line)
      << call << " answered " << (name ? name : "an unknown error") << " ("
      << int(result) << ")";
  return false;
}

int currentArch() { return arch; }
void setCurrentArch(int wanted) { arch = wanted; }

static bool retained = false;

CUdevice device() {
  static CUdevice first = [] {
    CUdevice found = 0;
    CUcontext context = nullptr;
    CU_CHECK(cuInit(0));
    CU_CHECK(cuDeviceGet(&found, 0));
    retained = CU_CHECK(cuDevicePrimaryCtxRetain(&context, found));
    CU_CHECK(cuCtxSetCurrent(context));
    return found;
  }();
  return first;
}

void releaseDevice() {
  for (auto &[name, module] : modules())
    CU_CHECK(cuModuleUnload(module));
  modules().clear();
  if (retained)
    CU_CHECK(cuDevicePrimaryCtxRelease(device()));
  retained = false;
}

static CUmodule moduleOf(const std::string &file) {
  auto found = modules().find(file);
  if (found != modules().end())
    return found->second;
  device();
  const Compiled &compiled = compileKernel(CORPUS_KERNELS, file, arch);
  if (!compiled.error.empty()) {
    ADD_FAILURE() << file << ": " << compiled.error;
    return nullptr;
  }
  char log[4096] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER,
                            CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  CUmodule module = nullptr;
  if (!CU_CHECK(cuModuleLoadDataEx(&module, compiled.ptx.c_str(), 2, options,
                                   values))) {
    ADD_FAILURE() << file << " for sm_" << arch << ": " << log;
    return nullptr;
  }
  modules()[file] = module;
  return module;
}

CUfunction kernel(const std::string &file, const std::string &name) {
  CUfunction function = nullptr;
  if (CUmodule module = moduleOf(file))
    CU_CHECK(cuModuleGetFunction(&function, module, name.c_str()));
  return function;
}

bool hasKernel(const std::string &file, const std::string &name) {
  return compileKernel(CORPUS_KERNELS, file, arch)
             .ptx.find(".entry " + name + "(") != std::string::npos;
}

void launchRaw(CUfunction function, Shape grid, Shape block,
               unsigned sharedBytes, void **arguments, bool cooperative) {
  if (!function)
    return;
  if (sharedBytes > 48 * 1024)
    CU_CHECK(cuFuncSetAttribute(function,
                                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                int(sharedBytes)));
  if (cooperative)
    CU_CHECK(cuLaunchCooperativeKernel(function, grid.x, grid.y, grid.z,
                                       block.x, block.y, block.z, sharedBytes,
                                       nullptr, arguments));
  else
    CU_CHECK(cuLaunchKernel(function, grid.x, grid.y, grid.z, block.x, block.y,
                            block.z, sharedBytes, nullptr, arguments, nullptr));
  CU_CHECK(cuCtxSynchronize());
}

} // namespace corpus
