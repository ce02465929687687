//===- Outputs.h - what a command writes, looked at before the work -------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moec {

enum class OutputKind {
  file,
  /// A file that is not written in order, so that it cannot be a pipe.
  seekable,
  /// A folder that is new, or empty.
  folder,
  /// A file that may never come to be, or in a folder that is made first.
  later,
};

/// What a command will make. A path that is empty, for none, or `-`, for
/// standard output, needs no check.
struct Output {
  std::string path;
  OutputKind kind = OutputKind::file;
};

/// What a command is going to write, and what it reads besides its model.
struct Outputs {
  std::vector<Output> writes;
  std::vector<std::string> reads;

  /// Fails unless every output can be made, no two are one file, and none is a
  /// file that the command reads, of which `model` is the first.
  llvm::Error check(llvm::StringRef model) const;
  /// Fails where an output is a file that the model's weights come from.
  llvm::Error checkSources(const Module &module) const;
};

/// Contents for an output that may be standard output, by the name `-`.
llvm::Error writeAnswer(llvm::StringRef path, llvm::StringRef contents);
/// Checks what `-o` says, which may be nothing for a dry run; what is no text
/// is refused for standard output.
llvm::Error checkOutput(llvm::StringRef path, bool dryRun = false);

} // namespace moec
