//===- OptDriver.h - what `moec opt` does ---------------------------------===//
#pragma once

#include "ir/binary/ModuleFile.h"
#include "passes/driver/Instrumentation.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace llvm {
class raw_ostream;
}

namespace moec {

class PassRegistry;
class TargetQueries;

enum class RemarkForm { none, text, json };

struct OptOptions {
  /// `simplify,upcycle{experts = 8}`; empty to read, verify and print.
  std::string passes;
  /// Text that holds several modules, parted by lines `// -----`.
  bool splitInputFile = false;
  /// Print no module, but compare messages with the comments that expect them.
  bool verifyDiagnostics = false;
  RemarkForm remarks = RemarkForm::none;
  ModuleForm output = ModuleForm::text;
  InstrumentationOptions instrumentation;
  /// Given to passes; not owned.
  const TargetQueries *target = nullptr;
};

/// Reads the module or modules in `bytes`, the contents of `file`, runs the
/// pipeline over each, and prints the results to `out` and everything else to
/// `log`. Goes on after a module that fails; the error then holds each
/// failure.
llvm::Error runOpt(llvm::StringRef bytes, llvm::StringRef file,
                   const PassRegistry &registry, const OptOptions &options,
                   llvm::raw_ostream &out, llvm::raw_ostream &log);

/// The same for a reproducer (passes/driver/Reproducer.h), whose pipeline
/// takes the place of `options.passes`.
llvm::Error replayOpt(llvm::StringRef bytes, llvm::StringRef file,
                      const PassRegistry &registry, OptOptions options,
                      llvm::raw_ostream &out, llvm::raw_ostream &log);

} // namespace moec
