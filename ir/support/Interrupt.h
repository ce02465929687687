//===- Interrupt.h - Ctrl-C as an error -----------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace moec {

/// The error of work that the user broke off; a tool exits with code 130.
class Interrupted : public llvm::ErrorInfo<Interrupted> {
public:
  static char ID;
  void log(llvm::raw_ostream &os) const override;
  std::error_code convertToErrorCode() const override;
};

/// From now on SIGINT, SIGTERM and SIGHUP set a flag that long loops poll.
/// Where that has not ended the process within a second, it ends as by
/// `endInterrupted`; a second signal ends it at once.
void installInterruptHandler();

/// Says that the user broke off, removes temporary files, and ends the process
/// with code 130.
[[noreturn]] void endInterrupted();

/// Whether the user asked to stop. Cheap; for any thread.
bool interruptRequested();
/// An Interrupted error if the user asked to stop.
llvm::Error checkInterrupt();
/// Sets the flag, or clears it and forgets the signal (for tests and servers).
void setInterruptRequested(bool requested);

/// Whether `err` is, or contains, an Interrupted error.
bool isInterrupted(const llvm::Error &err);

/// Temporary files and directories that the handler removes when the process
/// is made to end before their owners could. At most kTemporarySlots at a
/// time; `addTemporary` returns a slot, or -1 where none is free (the owner
/// still removes its file in the normal course).
inline constexpr int kTemporarySlots = 64;
int addTemporary(llvm::StringRef path);
void removeTemporary(int slot);
/// What the handler does with them, for others that end the process.
/// Async-signal-safe.
void deleteTemporaries();

} // namespace moec
