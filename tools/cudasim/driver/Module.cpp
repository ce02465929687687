// Modules from PTX, their functions and variables.
#include "tools/cudasim/driver/Modules.h"

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <algorithm>
#include <chrono>
#include <cstring>

using namespace llvm;

namespace cudasim::driver {

//===--- options of the compiler --------------------------------------------//

void JitOptions::fill(CUjit_option buffer, CUjit_option size,
                      StringRef text) const {
  char *to = nullptr;
  size_t room = 0;
  void **written = nullptr;
  for (unsigned i = 0; i != count; ++i) {
    if (options[i] == buffer)
      to = static_cast<char *>(values[i]);
    if (options[i] == size) {
      written = &values[i];
      room = unsigned(reinterpret_cast<uintptr_t>(values[i]));
    }
  }
  if (!to || room == 0)
    return;
  size_t bytes = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), bytes);
  to[bytes] = 0;
  *written = reinterpret_cast<void *>(uintptr_t(bytes));
}

void JitOptions::finish(StringRef info, StringRef errors, float millis) const {
  fill(CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, info);
  fill(CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, errors);
  for (unsigned i = 0; i != count; ++i)
    if (options[i] == CU_JIT_WALL_TIME)
      std::memcpy(&values[i], &millis, sizeof millis);
}

//===--- images -------------------------------------------------------------//

static CUresult refuseBinary(const void *image) {
  uint32_t magic = 0;
  std::memcpy(&magic, image, sizeof magic);
  const char *what = nullptr;
  if (magic == 0x464c457f)
    what = "a cubin";
  else if (magic == 0xba55ed50 || magic == 0x466243b1)
    what = "a fat binary";
  if (!what)
    return CUDA_SUCCESS;
  driver().report((Twine("the image is ") + what +
                   ": the simulated GPU runs PTX only (give it what "
                   "nvrtcGetPTX returns)")
                      .str());
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult loadProgram(const void *image, const JitOptions &jit, StringRef name,
                     std::shared_ptr<const Program> &program) {
  if (!image)
    return CUDA_ERROR_INVALID_VALUE;
  StringRef text(static_cast<const char *>(image));
  if (text.size() >= 4)
    if (CUresult bad = refuseBinary(image))
      return bad;
  using Known =
      std::map<std::string, std::weak_ptr<const Program>, std::less<>>;
  static Known &known = *new Known;
  auto found = known.find(std::string_view(text));
  if (found != known.end())
    if ((program = found->second.lock())) {
      jit.finish("", "", 0);
      return CUDA_SUCCESS;
    }
  auto start = std::chrono::steady_clock::now();
  Expected<std::unique_ptr<Program>> loaded = Program::load(text, name);
  float millis = std::chrono::duration<float, std::milli>(
                     std::chrono::steady_clock::now() - start)
                     .count();
  if (!loaded) {
    std::string why = moec::toText(loaded.takeError());
    jit.finish("", why, millis);
    driver().report(why);
    return CUDA_ERROR_INVALID_PTX;
  }
  program = std::move(*loaded);
  std::erase_if(known, [](const auto &each) { return each.second.expired(); });
  known[text.str()] = program;
  std::string info = "cudasim: " + std::to_string(program->kernels().size()) +
                     " kernels for sm_" + std::to_string(program->target());
  jit.finish(info, "", millis);
  return CUDA_SUCCESS;
}

CUresult readImage(const char *path, std::string &text) {
  if (!path)
    return CUDA_ERROR_INVALID_VALUE;
  ErrorOr<std::unique_ptr<MemoryBuffer>> file =
      MemoryBuffer::getFile(path, /*IsText=*/false);
  if (!file)
    return refuse(CUDA_ERROR_FILE_NOT_FOUND,
                  Twine("'") + path + "': " + file.getError().message());
  text = (*file)->getBuffer().str();
  return CUDA_SUCCESS;
}

CUresult checkTarget(const Program &program, const DeviceModel &model) {
  unsigned part = unsigned(model.ccMajor) * 10 + unsigned(model.ccMinor);
  if (program.target() <= part)
    return CUDA_SUCCESS;
  driver().report("the PTX is for sm_" + std::to_string(program.target()) +
                  ", but the device is an " + model.name + " (sm_" +
                  std::to_string(part) +
                  "): compile for it, or choose another with device=");
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult makeModule(CUctx_st &ctx, std::shared_ptr<const Program> program,
                    CUmodule &out) {
  Driver &self = driver();
  if (CUresult bad = checkTarget(*program, *ctx.device->model))
    return bad;
  Expected<std::unique_ptr<Instance>> placed =
      Instance::create(program, *self.memory, ctx.device->ordinal);
  if (!placed) {
    self.report(moec::toText(placed.takeError()));
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  auto module = std::make_unique<CUmod_st>();
  module->ctx = &ctx;
  module->program = program;
  module->instance = std::move(*placed);
  for (const KernelInfo &info : program->kernels()) {
    auto function = std::make_unique<CUfunc_st>();
    function->module = module.get();
    function->info = &info;
    int room = ctx.device->model->sharedPerBlock - int(info.staticSharedBytes);
    function->maxDynamicShared = unsigned(std::max(room, 0));
    self.knownFunctions.insert(function.get());
    module->functions.push_back(std::move(function));
  }
  self.knownModules.insert(module.get());
  ctx.modules.push_back(std::move(module));
  out = ctx.modules.back().get();
  return CUDA_SUCCESS;
}

//===--- attributes ---------------------------------------------------------//

int maxThreadsOf(const KernelInfo &info, const DeviceModel &model) {
  int most = model.maxThreadsPerBlock;
  if (info.maxThreads != 0)
    most = std::min(most, int(info.maxThreads));
  // Registers are given out by warp, in units of 256.
  uint64_t perWarp =
      std::max<uint64_t>(alignTo(uint64_t(info.registers) * 32, 256), 256);
  uint64_t warps = uint64_t(model.registersPerMultiprocessor) / perWarp;
  return int(std::min<uint64_t>(uint64_t(most), warps * 32));
}

CUresult functionAttribute(const KernelInfo &info, const Program &program,
                           const DeviceModel &model, unsigned maxDynamicShared,
                           CUfunction_attribute attribute, int &value) {
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    value = maxThreadsOf(info, model);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    value = int(info.staticSharedBytes);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    value = int(info.constantBytes);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    value = int(info.localBytes);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NUM_REGS:
    value = int(info.registers);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    value = int(program.target());
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
    value = model.ccMajor * 10 + model.ccMinor;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    value = 0;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    value = int(maxDynamicShared);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    value = CU_SHAREDMEM_CARVEOUT_DEFAULT;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
  case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    value = 0;
    return CUDA_SUCCESS;
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult checkDynamicShared(const KernelInfo &info, const DeviceModel &model,
                            int value) {
  int64_t room =
      int64_t(model.sharedPerBlockOptin) - int64_t(info.staticSharedBytes);
  if (value >= 0 && value <= room)
    return CUDA_SUCCESS;
  return refuse(CUDA_ERROR_INVALID_VALUE,
                "'" + info.name + "' asks for " + Twine(value) +
                    " bytes of dynamic shared memory, but beside its " +
                    Twine(info.staticSharedBytes) + " static bytes an " +
                    model.name + " has room for " + Twine(room));
}

} // namespace cudasim::driver

using namespace cudasim::driver;
using cudasim::Instance;
using cudasim::KernelInfo;
using cudasim::Program;

//===--- modules ------------------------------------------------------------//

static CUresult loadModule(CUctx_st &ctx, CUmodule *out, const void *image,
                           const JitOptions &jit, StringRef name) {
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<const Program> program;
  if (CUresult bad = loadProgram(image, jit, name, program))
    return bad;
  return makeModule(ctx, std::move(program), *out);
}

CUresult CUDAAPI cuModuleLoadData(CUmodule *out, const void *image) {
  return inContext("cuModuleLoadData", [&](CUctx_st &ctx) {
    return loadModule(ctx, out, image, JitOptions(0, nullptr, nullptr), "ptx");
  });
}

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule *out, const void *image,
                                    unsigned count, CUjit_option *options,
                                    void **values) {
  return inContext("cuModuleLoadDataEx", [&](CUctx_st &ctx) -> CUresult {
    if (count != 0 && (!options || !values))
      return CUDA_ERROR_INVALID_VALUE;
    return loadModule(ctx, out, image, JitOptions(count, options, values),
                      "ptx");
  });
}

CUresult CUDAAPI cuModuleLoad(CUmodule *out, const char *path) {
  return inContext("cuModuleLoad", [&](CUctx_st &ctx) -> CUresult {
    std::string text;
    if (CUresult bad = readImage(path, text))
      return bad;
    return loadModule(ctx, out, text.c_str(), JitOptions(0, nullptr, nullptr),
                      path);
  });
}

template <typename Body>
static CUresult onModule(const char *name, CUmodule module, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!driver().knownModules.contains(module))
      return refuse(CUDA_ERROR_INVALID_HANDLE, "the module is not a live one");
    return body(ctx, *module);
  });
}

// Waits first: what was launched from the module may still be pending.
CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
  return onModule(
      "cuModuleUnload", handle, [&](CUctx_st &, CUmod_st &module) -> CUresult {
        CUctx_st &owner = *module.ctx;
        CUresult status = driver().queue.waitAll(&owner);
        if (module.library)
          return refuse(CUDA_ERROR_INVALID_HANDLE,
                        "the module belongs to a library");
        for (const auto &function : module.functions)
          driver().knownFunctions.erase(function.get());
        driver().knownModules.erase(handle);
        erase_if(owner.modules,
                 [&](const auto &each) { return each.get() == handle; });
        return status;
      });
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *out, CUmodule handle,
                                     const char *name) {
  return onModule("cuModuleGetFunction", handle,
                  [&](CUctx_st &, CUmod_st &module) -> CUresult {
                    if (!out || !name || !*name)
                      return CUDA_ERROR_INVALID_VALUE;
                    const KernelInfo *info = module.program->findKernel(name);
                    if (!info)
                      return refuse(CUDA_ERROR_NOT_FOUND,
                                    Twine("the module has no kernel '") + name +
                                        "'");
                    *out = module.functions[info->index].get();
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuModuleGetFunctionCount(unsigned *count, CUmodule handle) {
  return onModule("cuModuleGetFunctionCount", handle,
                  [&](CUctx_st &, CUmod_st &module) -> CUresult {
                    if (!count)
                      return CUDA_ERROR_INVALID_VALUE;
                    *count = unsigned(module.functions.size());
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuModuleEnumerateFunctions(CUfunction *out, unsigned room,
                                            CUmodule handle) {
  return onModule("cuModuleEnumerateFunctions", handle,
                  [&](CUctx_st &, CUmod_st &module) -> CUresult {
                    if (!out || room == 0)
                      return CUDA_ERROR_INVALID_VALUE;
                    size_t count =
                        std::min<size_t>(room, module.functions.size());
                    for (size_t i = 0; i != count; ++i)
                      out[i] = module.functions[i].get();
                    return CUDA_SUCCESS;
                  });
}

static CUresult globalOf(CUmod_st &module, CUdeviceptr *address, size_t *bytes,
                         const char *name) {
  if (!name || (!address && !bytes))
    return CUDA_ERROR_INVALID_VALUE;
  std::optional<Instance::Placed> placed = module.instance->find(name);
  if (!placed)
    return refuse(CUDA_ERROR_NOT_FOUND,
                  Twine("the module has no variable '") + name + "'");
  if (address)
    *address = placed->address;
  if (bytes)
    *bytes = placed->bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes,
                                      CUmodule handle, const char *name) {
  return onModule("cuModuleGetGlobal_v2", handle,
                  [&](CUctx_st &, CUmod_st &module) {
                    return globalOf(module, address, bytes, name);
                  });
}

CUresult CUDAAPI cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
  return inDriver("cuModuleGetLoadingMode", [&]() -> CUresult {
    if (!mode)
      return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
  });
}

//===--- functions ----------------------------------------------------------//

template <typename Body>
static CUresult onFunction(const char *name, CUfunction handle, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    CUfunction function = nullptr;
    if (CUresult bad = findFunction(ctx, handle, function))
      return bad;
    return body(*function);
  });
}

CUresult CUDAAPI cuFuncGetAttribute(int *value, CUfunction_attribute attribute,
                                    CUfunction handle) {
  return onFunction(
      "cuFuncGetAttribute", handle, [&](CUfunc_st &function) -> CUresult {
        if (!value)
          return CUDA_ERROR_INVALID_VALUE;
        if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
          *value = function.carveout;
          return CUDA_SUCCESS;
        }
        return functionAttribute(*function.info, *function.module->program,
                                 *function.module->ctx->device->model,
                                 function.maxDynamicShared, attribute, *value);
      });
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction handle,
                                    CUfunction_attribute attribute, int value) {
  return onFunction(
      "cuFuncSetAttribute", handle, [&](CUfunc_st &function) -> CUresult {
        switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
          if (CUresult bad = checkDynamicShared(
                  *function.info, *function.module->ctx->device->model, value))
            return bad;
          function.maxDynamicShared = unsigned(value);
          return CUDA_SUCCESS;
        case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
          if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
          function.carveout = value;
          return CUDA_SUCCESS;
        case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
        case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
        case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
        case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
        case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
          return refuse(CUDA_ERROR_NOT_SUPPORTED,
                        "thread block clusters are not simulated");
        default:
          return CUDA_ERROR_INVALID_VALUE;
        }
      });
}

CUresult CUDAAPI cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
  return onFunction("cuFuncSetCacheConfig", handle,
                    [&](CUfunc_st &function) -> CUresult {
                      function.cacheConfig = config;
                      return CUDA_SUCCESS;
                    });
}

CUresult CUDAAPI cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig) {
  return onFunction("cuFuncSetSharedMemConfig", handle,
                    [&](CUfunc_st &) -> CUresult { return CUDA_SUCCESS; });
}

CUresult CUDAAPI cuFuncGetModule(CUmodule *out, CUfunction handle) {
  return onFunction("cuFuncGetModule", handle,
                    [&](CUfunc_st &function) -> CUresult {
                      if (!out)
                        return CUDA_ERROR_INVALID_VALUE;
                      *out = function.module;
                      return CUDA_SUCCESS;
                    });
}

CUresult CUDAAPI cuFuncGetName(const char **name, CUfunction handle) {
  return onFunction("cuFuncGetName", handle,
                    [&](CUfunc_st &function) -> CUresult {
                      if (!name)
                        return CUDA_ERROR_INVALID_VALUE;
                      *name = function.info->name.c_str();
                      return CUDA_SUCCESS;
                    });
}

static CUresult paramInfo(const KernelInfo &info, size_t index, size_t *offset,
                          size_t *bytes) {
  if (!offset || index >= info.parameters.size())
    return CUDA_ERROR_INVALID_VALUE;
  *offset = info.parameters[index].offset;
  if (bytes)
    *bytes = info.parameters[index].bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetParamInfo(CUfunction handle, size_t index,
                                    size_t *offset, size_t *bytes) {
  return onFunction("cuFuncGetParamInfo", handle, [&](CUfunc_st &function) {
    return paramInfo(*function.info, index, offset, bytes);
  });
}

CUresult CUDAAPI cuFuncIsLoaded(CUfunctionLoadingState *state,
                                CUfunction handle) {
  return onFunction("cuFuncIsLoaded", handle, [&](CUfunc_st &) -> CUresult {
    if (!state)
      return CUDA_ERROR_INVALID_VALUE;
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncLoad(CUfunction handle) {
  return onFunction("cuFuncLoad", handle,
                    [&](CUfunc_st &) -> CUresult { return CUDA_SUCCESS; });
}
