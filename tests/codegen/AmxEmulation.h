//===- AmxEmulation.h - AMX kernels on processors without AMX -------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec::test {

/// The module with every AMX intrinsic replaced by a call into this program
/// that has the documented effect on a set of tile registers of its thread.
std::string emulateAmx(llvm::StringRef bitcode);

} // namespace moec::test
