// cuGetProcAddress, from the table of all entry points.
#include "tools/cudasim/driver/Symbols.h"

#include "tools/cudasim/driver/Call.h"
#include "llvm/ADT/StringMap.h"

using namespace llvm;

namespace cudasim::driver {

const Symbol *findSymbol(StringRef name, int version, bool perThreadDefault,
                         bool &tooOld) {
  tooOld = false;
  const Symbol *best = nullptr;
  bool bestFits = false;
  for (const Symbol &symbol : symbols()) {
    if (name != symbol.base)
      continue;
    if (symbol.version > version) {
      tooOld = true;
      continue;
    }
    StringRef exported = symbol.name;
    bool own = exported.ends_with("_ptsz") || exported.ends_with("_ptds");
    if (own && !perThreadDefault)
      continue;
    // The form for the wanted default stream first, then the newest.
    bool fits = own == perThreadDefault;
    if (!best || (fits && !bestFits) ||
        (fits == bestFits && symbol.version > best->version)) {
      best = &symbol;
      bestFits = fits;
    }
  }
  if (best || tooOld)
    return best;
  // A name with its version, as the library exports it.
  for (const Symbol &symbol : symbols())
    if (name == symbol.name)
      return &symbol;
  return nullptr;
}

/// The address, or null and why there is none.
static CUresult lookUp(const char *name, void **out, int version,
                       cuuint64_t flags,
                       CUdriverProcAddressQueryResult &result) {
  cuuint64_t known = CU_GET_PROC_ADDRESS_LEGACY_STREAM |
                     CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  if (!name || !out || (flags & ~known) || flags == known ||
      version > CUDA_VERSION)
    return CUDA_ERROR_INVALID_VALUE;
  bool tooOld = false;
  const Symbol *found =
      findSymbol(name, version,
                 flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, tooOld);
  *out = found ? found->address : nullptr;
  result = found    ? CU_GET_PROC_ADDRESS_SUCCESS
           : tooOld ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                    : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return CUDA_SUCCESS;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

// Works before cuInit: programs look cuInit itself up. The first form says by
// its answer that there is nothing, the second by `result`.
CUresult CUDAAPI cuGetProcAddress(const char *name, void **out, int version,
                                  cuuint64_t flags) {
  CUdriverProcAddressQueryResult result;
  if (CUresult bad = lookUp(name, out, version, flags, result))
    return bad;
  return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult CUDAAPI cuGetProcAddress_v2(const char *name, void **out, int version,
                                     cuuint64_t flags,
                                     CUdriverProcAddressQueryResult *result) {
  CUdriverProcAddressQueryResult found;
  if (CUresult bad = lookUp(name, out, version, flags, found))
    return bad;
  if (result)
    *result = found;
  return CUDA_SUCCESS;
}
