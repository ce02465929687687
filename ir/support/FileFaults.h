//===- FileFaults.h - mapped files that are cut off while read ------------===//
//
// The system answers an access behind the new end of a mapped file with
// SIGBUS. A tool can say no more then than which file it was.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <cstddef>

namespace moec {

/// Notes which file is mapped at `start`, until that is forgotten. Beyond some
/// hundreds at a time, or with a very long path, it is not noted.
void noteMapping(const void *start, size_t bytes, llvm::StringRef path);
void forgetMapping(const void *start);

/// From now on such an access removes temporary files, prints one error that
/// names the file, and ends the process with code 1. To be called by a tool.
void installFileFaultHandler();

} // namespace moec
