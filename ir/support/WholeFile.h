//===- WholeFile.h - files, pipes and standard input, whole ---------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace moec {

/// All of a file, of what a pipe or a device gives, or of standard input, by
/// the name `-`. Waits for bytes, but not against Ctrl-C.
llvm::Expected<std::string> readWholeFile(llvm::StringRef path);

} // namespace moec
