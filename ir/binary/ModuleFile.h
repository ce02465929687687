//===- ModuleFile.h - modules on disk, in either form ---------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>

namespace moec {

class Module;

enum class ModuleForm { text, binary };

/// A module in either form, verified. `file` names the bytes in messages.
llvm::Expected<std::unique_ptr<Module>> readModule(llvm::StringRef bytes,
                                                   llvm::StringRef file);

/// Reads and verifies a file, or standard input for "-". Relative paths of
/// checkpoints are then relative to the folder of the file.
llvm::Expected<std::unique_ptr<Module>> loadModule(llvm::StringRef path);

/// Writes a file, whole or not at all, or standard output for "-". Where the
/// folder is another one than the module came from, relative paths of
/// checkpoints become absolute.
llvm::Error saveModule(Module &module, llvm::StringRef path, ModuleForm form);

} // namespace moec
