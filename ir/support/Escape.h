//===- Escape.h - names from files, safe to show --------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec {

/// `text` as a terminal may see it: control characters other than tabs and line
/// ends, and bytes that are no UTF-8, become \xNN.
std::string escapeControls(llvm::StringRef text);

} // namespace moec
