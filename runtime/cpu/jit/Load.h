//===- Load.h - object code to callable functions -------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>

namespace moec::jit {

/// Objects linked into memory. They may refer to each other and to a few
/// functions of the C library, to nothing else.
class LoadedCode {
public:
  static llvm::Expected<std::unique_ptr<LoadedCode>>
  load(llvm::ArrayRef<llvm::StringRef> objects);
  ~LoadedCode();

  llvm::Error lookup(llvm::ArrayRef<const char *> names,
                     llvm::MutableArrayRef<void *> addresses);

private:
  struct State;
  explicit LoadedCode(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace moec::jit
