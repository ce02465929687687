#include "tools/cudasim/driver/Errors.h"

#include "tools/cudasim/driver/Call.h"

using namespace llvm;

namespace cudasim::driver {

StringRef errorName(CUresult status) {
  switch (status) {
#define CUDASIM_ERROR(VALUE, TEXT)                                             \
  case VALUE:                                                                  \
    return #VALUE;
#include "tools/cudasim/driver/Errors.def"
  }
  return {};
}

StringRef errorText(CUresult status) {
  switch (status) {
#define CUDASIM_ERROR(VALUE, TEXT)                                             \
  case VALUE:                                                                  \
    return TEXT;
#include "tools/cudasim/driver/Errors.def"
  }
  return {};
}

// Works before cuInit and after any fault.
static CUresult give(StringRef text, const char **out) {
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  *out = text.empty() ? nullptr : text.data();
  return text.empty() ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult CUDAAPI cuGetErrorName(CUresult error, const char **name) {
  return give(errorName(error), name);
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char **text) {
  return give(errorText(error), text);
}
