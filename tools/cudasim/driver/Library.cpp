// Libraries: programs that belong to no context, and their kernels, which get
// a module in each context that uses them.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "tools/cudasim/driver/Graph.h"
#include "tools/cudasim/driver/Modules.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;

namespace cudasim::driver {

CUresult moduleOf(CUlibrary library, CUctx_st &ctx, CUmodule &module) {
  auto found = library->modules.find(&ctx);
  if (found != library->modules.end()) {
    module = found->second;
    return CUDA_SUCCESS;
  }
  if (CUresult bad = makeModule(ctx, library->program, module))
    return bad;
  module->library = library;
  library->modules[&ctx] = module;
  for (size_t i = 0; i != module->functions.size(); ++i) {
    CUfunction function = module->functions[i].get();
    CUkernel kernel = library->kernels[i].get();
    function->kernel = kernel;
    auto set = kernel->maxDynamicShared.find(ctx.device->ordinal);
    if (set != kernel->maxDynamicShared.end())
      function->maxDynamicShared = set->second;
  }
  return CUDA_SUCCESS;
}

CUresult functionOf(CUkernel kernel, CUctx_st &ctx, CUfunction &function) {
  CUmodule module = nullptr;
  if (CUresult bad = moduleOf(kernel->library, ctx, module))
    return bad;
  function = module->functions[kernel->info->index].get();
  return CUDA_SUCCESS;
}

CUresult findFunction(CUctx_st &ctx, CUfunction handle, CUfunction &function,
                      CUkernel *kernel) {
  Driver &self = driver();
  if (self.knownFunctions.contains(handle)) {
    function = handle;
    return usable(handle->module->ctx);
  }
  auto asKernel = reinterpret_cast<CUkernel>(handle);
  if (!self.knownKernels.contains(asKernel))
    return refuse(CUDA_ERROR_INVALID_HANDLE, "the function is not a live one");
  if (kernel)
    *kernel = asKernel;
  return functionOf(asKernel, ctx, function);
}

} // namespace cudasim::driver

using namespace cudasim::driver;
using cudasim::Program;

static CUresult loadLibrary(CUlibrary *out, const void *image,
                            const JitOptions &jit, StringRef name) {
  Driver &self = driver();
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<const Program> program;
  if (CUresult bad = loadProgram(image, jit, name, program))
    return bad;
  auto library = std::make_unique<CUlib_st>();
  library->program = program;
  for (const cudasim::KernelInfo &info : program->kernels()) {
    auto kernel = std::make_unique<CUkern_st>();
    kernel->library = library.get();
    kernel->info = &info;
    self.knownKernels.insert(kernel.get());
    library->kernels.push_back(std::move(kernel));
  }
  *out = self.libraries.add(std::move(library));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLibraryLoadData(CUlibrary *out, const void *code,
                                   CUjit_option *options, void **values,
                                   unsigned count, CUlibraryOption *, void **,
                                   unsigned) {
  return inDriver("cuLibraryLoadData", [&]() -> CUresult {
    if (count != 0 && (!options || !values))
      return CUDA_ERROR_INVALID_VALUE;
    return loadLibrary(out, code, JitOptions(count, options, values), "ptx");
  });
}

CUresult CUDAAPI cuLibraryLoadFromFile(CUlibrary *out, const char *path,
                                       CUjit_option *options, void **values,
                                       unsigned count, CUlibraryOption *,
                                       void **, unsigned) {
  return inDriver("cuLibraryLoadFromFile", [&]() -> CUresult {
    if (count != 0 && (!options || !values))
      return CUDA_ERROR_INVALID_VALUE;
    std::string text;
    if (CUresult bad = readImage(path, text))
      return bad;
    return loadLibrary(out, text.c_str(), JitOptions(count, options, values),
                       path);
  });
}

template <typename Body>
static CUresult onLibrary(const char *name, CUlibrary handle, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!driver().libraries.has(handle))
      return refuse(CUDA_ERROR_INVALID_HANDLE, "the library is not a live one");
    return body(*handle);
  });
}

CUresult CUDAAPI cuLibraryUnload(CUlibrary handle) {
  return onLibrary("cuLibraryUnload", handle, [&](CUlib_st &library) {
    Driver &self = driver();
    for (auto [ctx, module] : library.modules) {
      self.queue.waitAll(ctx);
      for (const auto &function : module->functions)
        self.knownFunctions.erase(function.get());
      self.knownModules.erase(module);
      erase_if(ctx->modules,
               [&](const auto &each) { return each.get() == module; });
    }
    for (const auto &kernel : library.kernels)
      self.knownKernels.erase(kernel.get());
    self.libraries.take(handle);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuLibraryGetKernel(CUkernel *out, CUlibrary handle,
                                    const char *name) {
  return onLibrary(
      "cuLibraryGetKernel", handle, [&](CUlib_st &library) -> CUresult {
        if (!out || !name)
          return CUDA_ERROR_INVALID_VALUE;
        const cudasim::KernelInfo *info = library.program->findKernel(name);
        if (!info)
          return refuse(CUDA_ERROR_NOT_FOUND,
                        Twine("the library has no kernel '") + name + "'");
        *out = library.kernels[info->index].get();
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuLibraryGetKernelCount(unsigned *count, CUlibrary handle) {
  return onLibrary("cuLibraryGetKernelCount", handle,
                   [&](CUlib_st &library) -> CUresult {
                     if (!count)
                       return CUDA_ERROR_INVALID_VALUE;
                     *count = unsigned(library.kernels.size());
                     return CUDA_SUCCESS;
                   });
}

CUresult CUDAAPI cuLibraryEnumerateKernels(CUkernel *out, unsigned room,
                                           CUlibrary handle) {
  return onLibrary(
      "cuLibraryEnumerateKernels", handle, [&](CUlib_st &library) -> CUresult {
        if (!out || room == 0)
          return CUDA_ERROR_INVALID_VALUE;
        size_t count = std::min<size_t>(room, library.kernels.size());
        for (size_t i = 0; i != count; ++i)
          out[i] = library.kernels[i].get();
        return CUDA_SUCCESS;
      });
}

// These mean the library as the current context has it.
template <typename Body>
static CUresult inLibraryModule(const char *name, CUlibrary handle,
                                Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!driver().libraries.has(handle))
      return refuse(CUDA_ERROR_INVALID_HANDLE, "the library is not a live one");
    CUmodule module = nullptr;
    if (CUresult bad = moduleOf(handle, ctx, module))
      return bad;
    return body(*module);
  });
}

CUresult CUDAAPI cuLibraryGetModule(CUmodule *out, CUlibrary handle) {
  return inLibraryModule("cuLibraryGetModule", handle,
                         [&](CUmod_st &module) -> CUresult {
                           if (!out)
                             return CUDA_ERROR_INVALID_VALUE;
                           *out = &module;
                           return CUDA_SUCCESS;
                         });
}

CUresult CUDAAPI cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes,
                                    CUlibrary handle, const char *name) {
  return inLibraryModule("cuLibraryGetGlobal", handle,
                         [&](CUmod_st &module) -> CUresult {
                           if (!name || (!address && !bytes))
                             return CUDA_ERROR_INVALID_VALUE;
                           auto placed = module.instance->find(name);
                           if (!placed)
                             return CUDA_ERROR_NOT_FOUND;
                           if (address)
                             *address = placed->address;
                           if (bytes)
                             *bytes = placed->bytes;
                           return CUDA_SUCCESS;
                         });
}

//===--- kernels ------------------------------------------------------------//

template <typename Body>
static CUresult onKernel(const char *name, CUkernel handle, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!driver().knownKernels.contains(handle))
      return refuse(CUDA_ERROR_INVALID_HANDLE, "the kernel is not a live one");
    return body(*handle);
  });
}

CUresult CUDAAPI cuKernelGetName(const char **name, CUkernel handle) {
  return onKernel("cuKernelGetName", handle,
                  [&](CUkern_st &kernel) -> CUresult {
                    if (!name)
                      return CUDA_ERROR_INVALID_VALUE;
                    *name = kernel.info->name.c_str();
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuKernelGetLibrary(CUlibrary *out, CUkernel handle) {
  return onKernel("cuKernelGetLibrary", handle,
                  [&](CUkern_st &kernel) -> CUresult {
                    if (!out)
                      return CUDA_ERROR_INVALID_VALUE;
                    *out = kernel.library;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuKernelGetFunction(CUfunction *out, CUkernel handle) {
  return inContext("cuKernelGetFunction", [&](CUctx_st &ctx) -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    if (!driver().knownKernels.contains(handle))
      return CUDA_ERROR_INVALID_HANDLE;
    return functionOf(handle, ctx, *out);
  });
}

CUresult CUDAAPI cuKernelGetParamInfo(CUkernel handle, size_t index,
                                      size_t *offset, size_t *bytes) {
  return onKernel("cuKernelGetParamInfo", handle,
                  [&](CUkern_st &kernel) -> CUresult {
                    const auto &params = kernel.info->parameters;
                    if (!offset || index >= params.size())
                      return CUDA_ERROR_INVALID_VALUE;
                    *offset = params[index].offset;
                    if (bytes)
                      *bytes = params[index].bytes;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuKernelGetAttribute(int *value,
                                      CUfunction_attribute attribute,
                                      CUkernel handle, CUdevice ordinal) {
  return onKernel(
      "cuKernelGetAttribute", handle, [&](CUkern_st &kernel) -> CUresult {
        Device *device = nullptr;
        if (CUresult bad = findDevice(ordinal, device))
          return bad;
        if (!value)
          return CUDA_ERROR_INVALID_VALUE;
        auto set = kernel.maxDynamicShared.find(ordinal);
        int shared = std::max(0, device->model->sharedPerBlock -
                                     int(kernel.info->staticSharedBytes));
        if (set != kernel.maxDynamicShared.end())
          shared = int(set->second);
        return functionAttribute(*kernel.info, *kernel.library->program,
                                 *device->model, unsigned(shared), attribute,
                                 *value);
      });
}

CUresult CUDAAPI cuKernelSetAttribute(CUfunction_attribute attribute, int value,
                                      CUkernel handle, CUdevice ordinal) {
  return onKernel(
      "cuKernelSetAttribute", handle, [&](CUkern_st &kernel) -> CUresult {
        Device *device = nullptr;
        if (CUresult bad = findDevice(ordinal, device))
          return bad;
        if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
          return value < -1 || value > 100 ? CUDA_ERROR_INVALID_VALUE
                                           : CUDA_SUCCESS;
        if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
          return CUDA_ERROR_INVALID_VALUE;
        if (CUresult bad =
                checkDynamicShared(*kernel.info, *device->model, value))
          return bad;
        kernel.maxDynamicShared[ordinal] = unsigned(value);
        for (auto [ctx, module] : kernel.library->modules)
          if (ctx->device == device)
            module->functions[kernel.info->index]->maxDynamicShared =
                unsigned(value);
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuKernelSetCacheConfig(CUkernel handle, CUfunc_cache,
                                        CUdevice ordinal) {
  return onKernel("cuKernelSetCacheConfig", handle,
                  [&](CUkern_st &) -> CUresult {
                    Device *device = nullptr;
                    return findDevice(ordinal, device);
                  });
}
