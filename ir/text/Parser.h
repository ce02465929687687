//===- Parser.h - text to a module ----------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>

namespace moec {

class Module;

/// Reads one module. `file` names the text in messages, and ops that give no
/// place of their own get theirs in it. Any text is safe to read: what is
/// wrong gives one error with a caret. The module is well formed but not yet
/// verified (ir/verify).
llvm::Expected<std::unique_ptr<Module>> parseModule(llvm::StringRef text,
                                                    llvm::StringRef file);

} // namespace moec
