//===- Escape.h - names from files, safe to show and to write -------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec {

/// `text` as a terminal may see it: control characters other than tabs and line
/// ends, and bytes that are no UTF-8, become \xNN.
std::string escapeControls(llvm::StringRef text);

/// `text` as JSON may hold it: U+FFFD stands for what is no UTF-8. Names of
/// files and tokens may be any bytes; every string of a JSON answer that is not
/// our own comes through here.
std::string toUtf8(llvm::StringRef text);

} // namespace moec
