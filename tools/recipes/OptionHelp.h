//===- OptionHelp.h - one line of help for every option of upcycle --------===//
#pragma once

#include "llvm/ADT/StringRef.h"

namespace moec {

/// What the option of the pass `upcycle` does; empty for an unknown name.
llvm::StringRef optionHelp(llvm::StringRef option);

} // namespace moec
