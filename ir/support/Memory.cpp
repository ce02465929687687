#include "ir/support/Memory.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "llvm/Support/ErrorHandling.h"

#include <atomic>
#include <cstdio>
#include <limits>
#include <new>
#include <sys/resource.h>
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

/// No allocation here.
[[noreturn]] static void endWithoutMemory() {
  static std::atomic<bool> begun = false;
  while (begun.exchange(true))
    ::pause(); // Another thread has begun to end the process.
  deleteTemporaries();
  struct rusage used = {};
  ::getrusage(RUSAGE_SELF, &used);
  char text[256];
  int size = std::snprintf(
      text, sizeof(text),
      "moec: error: expected more memory, found none left; the process had at "
      "most %llu MB at a time",
      static_cast<unsigned long long>(used.ru_maxrss) * 1024 / 1000000);
  struct rlimit limit = {};
  if (!::getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY)
    size += std::snprintf(text + size, sizeof(text) - size_t(size),
                          " and may have %llu MB of addresses (ulimit -v)",
                          static_cast<unsigned long long>(limit.rlim_cur) /
                              1000000);
  text[size++] = '\n';
  ssize_t written = ::write(STDERR_FILENO, text, size_t(size));
  (void)written; // There is nothing left to do about a failure.
  ::_exit(1);
}

void moec::installMemoryHandler() {
  std::set_new_handler(endWithoutMemory);
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { endWithoutMemory(); });
}
