// How a call that is not simulated answers.
#include "tools/cudasim/driver/Call.h"

namespace cudasim::driver {

int notSupported(const char *name) {
  Entry entry(name);
  std::string text = std::string(name) + " is not simulated";
  // NVRTC looks for a private table and does without: nobody's mistake.
  if (llvm::StringRef(name) == "cuGetExportTable")
    driver().explain(text);
  else
    driver().report(text);
  return CUDA_ERROR_NOT_SUPPORTED;
}

} // namespace cudasim::driver
