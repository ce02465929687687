#include "ir/support/Memory.h"

#include "ir/support/Diagnostic.h"

#include <limits>
#include <unistd.h>

using namespace moec;

uint64_t moec::physicalMemory() {
  long pages = ::sysconf(_SC_PHYS_PAGES), pageBytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || pageBytes <= 0)
    return std::numeric_limits<uint64_t>::max();
  return uint64_t(pages) * uint64_t(pageBytes);
}

llvm::Error moec::checkFitsMemory(uint64_t count, uint64_t elementBytes,
                                  const Location &loc) {
  uint64_t memory = physicalMemory();
  if (count <= memory / elementBytes)
    return llvm::Error::success();
  return error(loc) << "needs memory for " << count << " numbers of "
                    << elementBytes << " bytes, more than the " << memory
                    << " bytes that this machine has";
}
