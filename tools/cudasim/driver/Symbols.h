//===- Symbols.h - the driver's entry points by name ----------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace cudasim::driver {

/// A row of Symbols.def.
struct Symbol {
  const char *base;
  int version;
  const char *name;
  void *address;
  bool isImplemented;
};

/// All, sorted by name.
llvm::ArrayRef<Symbol> symbols();

/// The newest form of `name` that is not newer than `version`; null where there
/// is none, with `tooOld` set where a newer form exists.
const Symbol *findSymbol(llvm::StringRef name, int version,
                         bool perThreadDefault, bool &tooOld);

} // namespace cudasim::driver
