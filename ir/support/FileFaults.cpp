#include "ir/support/FileFaults.h"

#include "ir/support/Interrupt.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;

namespace {
/// A slot is free, being filled, or may be read by the handler.
enum SlotState : int { kFree, kBusy, kUsed };

struct Slot {
  std::atomic<int> state = kFree;
  std::atomic<const void *> start = nullptr;
  size_t bytes = 0;
  std::array<char, 1024> path;
};
} // namespace

// Constant-initialised, so that the handler may run at any time.
static constinit std::array<Slot, 256> slots = {};

void moec::noteMapping(const void *start, size_t bytes, llvm::StringRef path) {
  if (path.size() >= slots[0].path.size())
    return;
  for (Slot &slot : slots) {
    int expected = kFree;
    if (!slot.state.compare_exchange_strong(expected, kBusy))
      continue;
    slot.start = start;
    slot.bytes = bytes;
    // What a terminal would take for a command is not shown.
    for (size_t i = 0; i < path.size(); ++i)
      slot.path[i] = uint8_t(path[i]) < ' ' || path[i] == 127 ? '?' : path[i];
    slot.path[path.size()] = 0;
    slot.state.store(kUsed, std::memory_order_release);
    return;
  }
}

void moec::forgetMapping(const void *start) {
  for (Slot &slot : slots)
    if (slot.state.load(std::memory_order_acquire) == kUsed &&
        slot.start == start)
      slot.state.store(kFree, std::memory_order_release);
}

/// Only what may run in a handler: the fault is the program's own, so that no
/// lock of the C library is held.
static void onFault(int number, siginfo_t *info, void *) {
  auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Slot &slot : slots) {
    if (slot.state.load(std::memory_order_acquire) != kUsed)
      continue;
    auto start = reinterpret_cast<uintptr_t>(slot.start.load());
    if (address < start || address - start >= slot.bytes)
      continue;
    deleteTemporaries();
    struct stat status = {};
    ::stat(slot.path.data(), &status);
    char text[1400];
    int size = std::snprintf(
        text, sizeof(text),
        "%s: error: the file was cut off while it was read: expected %zu "
        "bytes, found %lld\n",
        slot.path.data(), slot.bytes, static_cast<long long>(status.st_size));
    ssize_t written = ::write(STDERR_FILENO, text, size_t(size));
    (void)written; // There is nothing left to do about a failure.
    ::_exit(1);
  }
  // Another kind of fault, which happens again.
  std::signal(number, SIG_DFL);
}

void moec::installFileFaultHandler() {
  struct sigaction action = {};
  action.sa_sigaction = onFault;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}
