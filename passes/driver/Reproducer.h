//===- Reproducer.h - a failing compilation in one file -------------------===//
//
// A reproducer is IR text whose first comments hold the rest of the pipeline
// and the flags; `moec opt --replay` runs it:
//
//   // moec reproducer 1
//   // pipeline: "fuse-qkv,form-kernels{form = direct}"
//   // flag: "--verify-each"
//   module @m { ... }
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moec {

struct Reproducer {
  std::string pipeline;
  std::vector<std::string> flags;
  /// IR text: the module before the first pass of the pipeline.
  std::string ir;

  std::string text() const;
  /// Reads the comments back; `ir` becomes the whole text, so that lines in
  /// messages are those of the file.
  static llvm::Expected<Reproducer> parse(llvm::StringRef text,
                                          llvm::StringRef file);
};

/// While it lives, a crash of the process (SIGSEGV, SIGABRT, ...) writes the
/// text that was last set to `path`. One at a time.
class CrashWriter {
public:
  explicit CrashWriter(std::string path);
  ~CrashWriter();
  CrashWriter(const CrashWriter &) = delete;
  CrashWriter &operator=(const CrashWriter &) = delete;

  void setText(std::string text);

private:
  std::string path, temporary, text;
};

} // namespace moec
