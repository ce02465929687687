// How a call that is not simulated answers.
#include "tools/cudasim/driver/Call.h"

namespace cudasim::driver {

int notSupported(const char *name) {
  Entry entry(name);
  driver().report(std::string(name) + " is not simulated");
  return CUDA_ERROR_NOT_SUPPORTED;
}

} // namespace cudasim::driver
