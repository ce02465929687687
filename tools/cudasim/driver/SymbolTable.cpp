// The table of addresses, and the entry points that do nothing. cuda.h is kept
// out: here a call is a name and an address, whatever its parameters are.
#include "tools/cudasim/driver/Symbols.h"

namespace cudasim::driver {
int notSupported(const char *name);
} // namespace cudasim::driver

// A caller passes what its prototype says; registers and stack are the
// caller's to clean up, so a function that looks at none of it may answer.
#define CUDASIM_SYMBOL(BASE, VERSION, NAME) extern "C" int NAME();
#define CUDASIM_MISSING(BASE, VERSION, NAME)                                   \
  extern "C" int NAME() { return cudasim::driver::notSupported(#NAME); }
#include "tools/cudasim/driver/Symbols.def"

namespace cudasim::driver {

llvm::ArrayRef<Symbol> symbols() {
  static const Symbol table[] = {
#define CUDASIM_SYMBOL(BASE, VERSION, NAME)                                    \
  {#BASE, VERSION, #NAME, reinterpret_cast<void *>(&NAME), true},
#define CUDASIM_MISSING(BASE, VERSION, NAME)                                   \
  {#BASE, VERSION, #NAME, reinterpret_cast<void *>(&NAME), false},
#include "tools/cudasim/driver/Symbols.def"
  };
  return table;
}

} // namespace cudasim::driver
