#include "ir/support/Interrupt.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

using namespace moec;

char Interrupted::ID = 0;

void Interrupted::log(llvm::raw_ostream &os) const { os << "interrupted"; }

std::error_code Interrupted::convertToErrorCode() const {
  return std::make_error_code(std::errc::interrupted);
}

namespace {
/// A slot is free, being filled, or holds a path that the handler may read.
enum SlotState : int { kFree, kBusy, kUsed };

struct Slot {
  std::atomic<int> state = kFree;
  std::array<char, 4096> path;
};
} // namespace

// Constant-initialised, so that the handler may run at any time.
static constinit std::atomic<bool> stopRequested = false;
static constinit std::array<Slot, kTemporarySlots> slots = {};

/// Removes a directory and the files in it. readdir may allocate, so this asks
/// the system itself.
static void removeFlatDirectory(const char *path) {
  int descriptor = ::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (descriptor < 0)
    return;
  alignas(8) char buffer[4096];
  for (;;) {
    long got = ::syscall(SYS_getdents64, descriptor, buffer, sizeof(buffer));
    if (got <= 0)
      break;
    // A record: inode (8 bytes), offset (8), its length (2), type (1), name.
    for (long at = 0; at < got;) {
      uint16_t length;
      std::memcpy(&length, buffer + at + 16, sizeof(length));
      ::unlinkat(descriptor, buffer + at + 19, 0);
      at += length;
    }
  }
  ::close(descriptor);
  ::rmdir(path);
}

void moec::deleteTemporaries() {
  // Files were registered after the directory that holds them.
  for (size_t i = slots.size(); i-- > 0;)
    if (slots[i].state.load(std::memory_order_acquire) == kUsed &&
        ::unlink(slots[i].path.data()))
      removeFlatDirectory(slots[i].path.data());
}

/// Lets SIGALRM come after so many microseconds; never, for 0.
static void setAlarm(suseconds_t microseconds) {
  itimerval once = {};
  once.it_value.tv_usec = microseconds;
  ::setitimer(ITIMER_REAL, &once, nullptr);
}

/// How long work may take to end in order.
static constexpr suseconds_t kPatience = 800'000;

/// Whether somebody is ending the process already.
static constinit std::atomic<bool> ending = false;

[[noreturn]] static void endNow() {
  deleteTemporaries();
  static constexpr char kWord[] = "interrupted\n";
  [[maybe_unused]] ssize_t told =
      ::write(STDERR_FILENO, kWord, sizeof(kWord) - 1);
  ::_exit(130);
}

/// Only async-signal-safe calls here, and in what this calls.
static void onSignal(int number) {
  int savedErrno = errno;
  if (number == SIGALRM) {
    // Back to whom this interrupts, if that is who ends it.
    if (!ending.exchange(true))
      endNow();
    errno = savedErrno;
    return;
  }
  if (!stopRequested.exchange(true)) {
    setAlarm(kPatience);
    errno = savedErrno;
    return;
  }
  deleteTemporaries();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void moec::endInterrupted() {
  if (!ending.exchange(true))
    endNow();
  for (;;) // Another thread's handler is at it.
    ::pause();
}

void moec::installInterruptHandler() {
  struct sigaction action = {};
  action.sa_handler = onSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // `nohup` ignores it.
  struct sigaction old = {};
  if (!::sigaction(SIGHUP, nullptr, &old) && old.sa_handler != SIG_IGN)
    ::sigaction(SIGHUP, &action, nullptr);
}

bool moec::interruptRequested() {
  return stopRequested.load(std::memory_order_relaxed);
}

llvm::Error moec::checkInterrupt() {
  if (interruptRequested())
    return llvm::make_error<Interrupted>();
  return llvm::Error::success();
}

void moec::setInterruptRequested(bool requested) {
  stopRequested = requested;
  if (!requested)
    setAlarm(0);
}

bool moec::isInterrupted(const llvm::Error &err) {
  return err.isA<Interrupted>();
}

int moec::addTemporary(llvm::StringRef path) {
  if (path.size() >= slots[0].path.size())
    return -1;
  for (int i = 0; i < kTemporarySlots; ++i) {
    int expected = kFree;
    if (!slots[i].state.compare_exchange_strong(expected, kBusy))
      continue;
    std::memcpy(slots[i].path.data(), path.data(), path.size());
    slots[i].path[path.size()] = 0;
    slots[i].state.store(kUsed, std::memory_order_release);
    return i;
  }
  return -1;
}

void moec::removeTemporary(int slot) {
  if (slot >= 0)
    slots[slot].state.store(kFree, std::memory_order_release);
}
