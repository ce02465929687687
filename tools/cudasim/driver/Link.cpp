// The linker, as far as one PTX module needs it: the linked image is its text.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Modules.h"

#include <set>

using namespace llvm;
using namespace cudasim::driver;

struct CUlinkState_st {
  bool hasInput = false;
  std::string image;
};

static std::map<CUlinkState, std::unique_ptr<CUlinkState_st>> &links() {
  static auto *all = new std::map<CUlinkState, std::unique_ptr<CUlinkState_st>>;
  return *all;
}

template <typename Body>
static CUresult onLink(const char *name, CUlinkState state, Body &&body) {
  return inContext(name, [&](CUctx_st &ctx) -> CUresult {
    if (!links().count(state))
      return CUDA_ERROR_INVALID_HANDLE;
    return body(ctx, *state);
  });
}

CUresult CUDAAPI cuLinkCreate_v2(unsigned, CUjit_option *, void **,
                                 CUlinkState *out) {
  return inContext("cuLinkCreate_v2", [&](CUctx_st &) -> CUresult {
    if (!out)
      return CUDA_ERROR_INVALID_VALUE;
    auto state = std::make_unique<CUlinkState_st>();
    *out = state.get();
    links()[*out] = std::move(state);
    return CUDA_SUCCESS;
  });
}

static CUresult addInput(CUctx_st &ctx, CUlinkState_st &state,
                         CUjitInputType type, std::string text,
                         const JitOptions &jit, const char *name) {
  if (type != CU_JIT_INPUT_PTX)
    return refuse(CUDA_ERROR_NOT_SUPPORTED, "only PTX can be linked");
  if (state.hasInput)
    return refuse(CUDA_ERROR_NOT_SUPPORTED,
                  "only one module can be linked: references between modules "
                  "are not simulated");
  std::shared_ptr<const cudasim::Program> program;
  if (CUresult bad =
          loadProgram(text.c_str(), jit, name ? name : "ptx", program))
    return bad;
  state.hasInput = true;
  state.image = std::move(text);
  return checkTarget(*program, *ctx.device->model);
}

CUresult CUDAAPI cuLinkAddData_v2(CUlinkState handle, CUjitInputType type,
                                  void *bytes, size_t count, const char *name,
                                  unsigned options, CUjit_option *keys,
                                  void **values) {
  return onLink("cuLinkAddData_v2", handle,
                [&](CUctx_st &ctx, CUlinkState_st &state) -> CUresult {
                  if (!bytes || count == 0)
                    return CUDA_ERROR_INVALID_VALUE;
                  std::string text(static_cast<const char *>(bytes), count);
                  return addInput(ctx, state, type, std::move(text),
                                  JitOptions(options, keys, values), name);
                });
}

CUresult CUDAAPI cuLinkAddFile_v2(CUlinkState handle, CUjitInputType type,
                                  const char *path, unsigned options,
                                  CUjit_option *keys, void **values) {
  return onLink("cuLinkAddFile_v2", handle,
                [&](CUctx_st &ctx, CUlinkState_st &state) -> CUresult {
                  std::string text;
                  if (CUresult bad = readImage(path, text))
                    return bad;
                  return addInput(ctx, state, type, std::move(text),
                                  JitOptions(options, keys, values), path);
                });
}

// The image lives as long as the state.
CUresult CUDAAPI cuLinkComplete(CUlinkState handle, void **image,
                                size_t *bytes) {
  return onLink("cuLinkComplete", handle,
                [&](CUctx_st &, CUlinkState_st &state) -> CUresult {
                  if (!image || !state.hasInput)
                    return CUDA_ERROR_INVALID_VALUE;
                  *image = state.image.data();
                  if (bytes)
                    *bytes = state.image.size() + 1;
                  return CUDA_SUCCESS;
                });
}

CUresult CUDAAPI cuLinkDestroy(CUlinkState handle) {
  return onLink("cuLinkDestroy", handle,
                [&](CUctx_st &, CUlinkState_st &) -> CUresult {
                  links().erase(handle);
                  return CUDA_SUCCESS;
                });
}
