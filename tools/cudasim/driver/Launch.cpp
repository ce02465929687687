// Launches, with the limits that the driver checks before anything runs.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"
#include "tools/cudasim/driver/Modules.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace llvm;

namespace cudasim::driver {

namespace {

struct Limits {
  const KernelInfo &info;
  const DeviceModel &model;
  const LaunchRequest &request;

  CUresult refused(CUresult status, const Twine &why) const {
    return refuse(status, "launch of '" + info.name + "': " + why);
  }
  CUresult check(const CUfunc_st &function) const;
  CUresult shape() const;
  CUresult shared(const CUfunc_st &function) const;
  CUresult resources() const;
};

// Axis by axis, with what was given and what is allowed.
CUresult Limits::shape() const {
  const Grid &grid = request.grid;
  const Grid &block = request.block;
  struct Axis {
    const char *name;
    unsigned given;
    int most;
  } axes[] = {{"gridDim.x", grid.x, kMaxGridX},
              {"gridDim.y", grid.y, kMaxGridYZ},
              {"gridDim.z", grid.z, kMaxGridYZ},
              {"blockDim.x", block.x, kMaxBlockXY},
              {"blockDim.y", block.y, kMaxBlockXY},
              {"blockDim.z", block.z, kMaxBlockZ}};
  for (const Axis &axis : axes)
    if (axis.given == 0 || axis.given > unsigned(axis.most))
      return refused(CUDA_ERROR_INVALID_VALUE,
                     Twine(axis.name) + " is " + Twine(axis.given) +
                         ", but it takes 1 to " + Twine(axis.most));
  if (block.count() > uint64_t(model.maxThreadsPerBlock))
    return refused(CUDA_ERROR_INVALID_VALUE,
                   "a block has " + Twine(block.count()) +
                       " threads, but at most " +
                       Twine(model.maxThreadsPerBlock) + " are allowed");
  return CUDA_SUCCESS;
}

CUresult Limits::shared(const CUfunc_st &function) const {
  if (request.dynamicShared <= function.maxDynamicShared)
    return CUDA_SUCCESS;
  return refused(CUDA_ERROR_INVALID_VALUE,
                 Twine(request.dynamicShared) +
                     " bytes of dynamic shared memory, but "
                     "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES is " +
                     Twine(function.maxDynamicShared) + " (up to " +
                     Twine(int64_t(model.sharedPerBlockOptin) -
                           int64_t(info.staticSharedBytes)) +
                     " can be set)");
}

CUresult Limits::resources() const {
  const Grid &block = request.block;
  const uint32_t *needed = info.requiredBlock;
  if (needed[0] != 0 &&
      (block.x != needed[0] || block.y != needed[1] || block.z != needed[2]))
    return refused(CUDA_ERROR_INVALID_VALUE,
                   "the block is " + Twine(block.x) + "x" + Twine(block.y) +
                       "x" + Twine(block.z) + ", but .reqntid is " +
                       Twine(needed[0]) + "x" + Twine(needed[1]) + "x" +
                       Twine(needed[2]));
  if (info.maxThreads != 0 && block.count() > info.maxThreads)
    return refused(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                   "a block has " + Twine(block.count()) +
                       " threads, but the kernel was compiled for at most " +
                       Twine(info.maxThreads) + " (.maxntid)");
  if (block.count() > uint64_t(maxThreadsOf(info, model)))
    return refused(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                   Twine(block.count()) + " threads of " +
                       Twine(info.registers) +
                       " registers do not fit into a multiprocessor");
  return CUDA_SUCCESS;
}

CUresult Limits::check(const CUfunc_st &function) const {
  if (CUresult bad = shape())
    return bad;
  if (CUresult bad = shared(function))
    return bad;
  if (CUresult bad = resources())
    return bad;
  if (!request.cooperative)
    return CUDA_SUCCESS;
  int perPart =
      occupancyOf(model, int(request.block.count()), int(info.registers),
                  uint64_t(info.staticSharedBytes) + request.dynamicShared)
          .blocksPerMultiprocessor;
  uint64_t room = uint64_t(perPart) * uint64_t(model.multiprocessors);
  if (request.grid.count() > room)
    return refused(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                   "a cooperative grid has " + Twine(request.grid.count()) +
                       " blocks, but only " + Twine(room) +
                       " can be resident at once");
  return CUDA_SUCCESS;
}

// CU_LAUNCH_PARAM_BUFFER_POINTER, its size, and an end.
CUresult readExtra(void **extra, const Limits &limits,
                   std::vector<uint8_t> &params) {
  const uint8_t *buffer = nullptr;
  const size_t *bytes = nullptr;
  for (size_t i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = static_cast<const uint8_t *>(extra[i + 1]);
    else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
      bytes = static_cast<const size_t *>(extra[i + 1]);
    else
      return limits.refused(CUDA_ERROR_INVALID_VALUE,
                            "`extra` has an unknown word");
  }
  size_t given = bytes ? *bytes : 0;
  if (given < params.size() || (given != 0 && !buffer))
    return limits.refused(CUDA_ERROR_INVALID_VALUE,
                          "the parameter buffer has " + Twine(given) +
                              " bytes, but the kernel takes " +
                              Twine(params.size()));
  if (!params.empty())
    std::memcpy(params.data(), buffer, params.size());
  return CUDA_SUCCESS;
}

CUresult readParams(const LaunchRequest &request, const Limits &limits,
                    KernelWork &work) {
  const KernelInfo &info = limits.info;
  work.params.assign(info.parameterBytes, 0);
  if (request.params && request.extra)
    return limits.refused(CUDA_ERROR_INVALID_VALUE,
                          "both kernelParams and extra are given");
  if (request.extra) {
    if (CUresult bad = readExtra(request.extra, limits, work.params))
      return bad;
  } else if (!info.parameters.empty()) {
    if (!request.params)
      return limits.refused(CUDA_ERROR_INVALID_VALUE,
                            "no parameters are given, but the kernel takes " +
                                Twine(info.parameters.size()));
    for (size_t i = 0; i != info.parameters.size(); ++i) {
      const Parameter &parameter = info.parameters[i];
      if (!request.params[i])
        return limits.refused(CUDA_ERROR_INVALID_VALUE,
                              "parameter " + Twine(i) + " is null");
      std::memcpy(work.params.data() + parameter.offset, request.params[i],
                  parameter.bytes);
    }
  }
  return CUDA_SUCCESS;
}

} // namespace

CUresult prepareLaunch(CUctx_st &ctx, const LaunchRequest &request,
                       KernelWork &work) {
  CUfunction function = nullptr;
  CUfunction wanted = request.function
                          ? request.function
                          : reinterpret_cast<CUfunction>(request.kernel);
  work.kernel = nullptr;
  if (CUresult bad = findFunction(ctx, wanted, function, &work.kernel))
    return bad;
  Limits limits = {*function->info, *function->module->ctx->device->model,
                   request};
  if (CUresult bad = limits.check(*function))
    return bad;
  work.function = function;
  work.grid = request.grid;
  work.block = request.block;
  work.dynamicShared = request.dynamicShared;
  work.cooperative = request.cooperative;
  work.priority = request.priority;
  return readParams(request, limits, work);
}

static CUresult launch(CUctx_st &ctx, CUstream handle,
                       const LaunchRequest &request) {
  CUstream stream = nullptr;
  if (CUresult bad = findStream(ctx, handle, stream))
    return bad;
  KernelWork work;
  // A kernel of a library runs in the context of the stream.
  if (CUresult bad = prepareLaunch(*stream->ctx, request, work))
    return bad;
  if (work.function->module->ctx != stream->ctx)
    return refuse(CUDA_ERROR_INVALID_HANDLE,
                  "the function and the stream are of different contexts");
  return submit(stream, std::move(work));
}

static CUresult readAttributes(const CUlaunchConfig &config,
                               LaunchRequest &request) {
  if (config.numAttrs != 0 && !config.attrs)
    return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i != config.numAttrs; ++i) {
    const CUlaunchAttribute &attribute = config.attrs[i];
    switch (attribute.id) {
    // Hints, and orders that are looser than what is done anyway.
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      break;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
      request.cooperative = attribute.value.cooperative != 0;
      break;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      request.priority = attribute.value.priority;
      break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: {
      const auto &size = attribute.value.clusterDim;
      if (size.x == 1 && size.y == 1 && size.z == 1)
        break;
      driver().report("cuLaunchKernelEx: thread block clusters "
                      "(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) are not "
                      "simulated");
      return CUDA_ERROR_NOT_SUPPORTED;
    }
    default:
      driver().report("cuLaunchKernelEx: launch attribute " +
                      std::to_string(int(attribute.id)) + " is not simulated");
      return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  return CUDA_SUCCESS;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned gridX,
                                unsigned gridY, unsigned gridZ, unsigned blockX,
                                unsigned blockY, unsigned blockZ,
                                unsigned shared, CUstream stream, void **params,
                                void **extra) {
  return inContext("cuLaunchKernel", [&](CUctx_st &ctx) {
    LaunchRequest request;
    request.function = function;
    request.grid = {gridX, gridY, gridZ};
    request.block = {blockX, blockY, blockZ};
    request.dynamicShared = shared;
    request.params = params;
    request.extra = extra;
    return launch(ctx, stream, request);
  });
}

CUresult CUDAAPI cuLaunchCooperativeKernel(CUfunction function, unsigned gridX,
                                           unsigned gridY, unsigned gridZ,
                                           unsigned blockX, unsigned blockY,
                                           unsigned blockZ, unsigned shared,
                                           CUstream stream, void **params) {
  return inContext("cuLaunchCooperativeKernel", [&](CUctx_st &ctx) {
    LaunchRequest request;
    request.function = function;
    request.grid = {gridX, gridY, gridZ};
    request.block = {blockX, blockY, blockZ};
    request.dynamicShared = shared;
    request.cooperative = true;
    request.params = params;
    return launch(ctx, stream, request);
  });
}

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig *config,
                                  CUfunction function, void **params,
                                  void **extra) {
  return inContext("cuLaunchKernelEx", [&](CUctx_st &ctx) -> CUresult {
    if (!config)
      return CUDA_ERROR_INVALID_VALUE;
    LaunchRequest request;
    request.function = function;
    request.grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
    request.block = {config->blockDimX, config->blockDimY, config->blockDimZ};
    request.dynamicShared = config->sharedMemBytes;
    request.params = params;
    request.extra = extra;
    if (CUresult bad = readAttributes(*config, request))
      return bad;
    return launch(ctx, config->hStream, request);
  });
}
