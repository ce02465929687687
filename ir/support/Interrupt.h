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

/// From now on SIGINT and SIGTERM set a flag that long loops poll; a second
/// one removes temporary files and ends the process at once.
void installInterruptHandler();

/// Whether the user asked to stop. Cheap; for any thread.
bool interruptRequested();
/// An Interrupted error if the user asked to stop.
llvm::Error checkInterrupt();
/// Sets or clears the flag as a signal would (for tests and servers).
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
