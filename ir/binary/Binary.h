//===- Binary.h - a module as a flatbuffer --------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>

namespace moec {

class Module;

/// Version of the flatbuffer form. A reader refuses a newer major; within a
/// major it reads what it knows and refuses ops and attributes that it does
/// not.
inline constexpr unsigned kModuleMajor = 1;
inline constexpr unsigned kModuleMinor = 0;

/// The flatbuffer; an error where it would pass 2 GiB.
llvm::Expected<std::string> writeBinary(const Module &module);

/// Whether the bytes carry the identifier of the flatbuffer form.
bool looksLikeBinary(llvm::StringRef bytes);

/// Any bytes are safe to read. `file` names them in messages. The module is
/// well formed but not yet verified (ir/verify).
llvm::Expected<std::unique_ptr<Module>> readBinary(llvm::StringRef bytes,
                                                   llvm::StringRef file);

} // namespace moec
