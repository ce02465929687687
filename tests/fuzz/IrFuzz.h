//===- IrFuzz.h - what must hold of every module that is accepted ---------===//
#pragma once

#include "ir/binary/Binary.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "ir/verify/Verifier.h"
#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"

#include <cstdlib>

namespace moec {

/// Consumes an error, as a tool would print it.
inline void ignore(llvm::Error err) { toText(std::move(err)); }

inline void require(bool holds, llvm::StringRef what) {
  if (holds)
    return;
  llvm::errs() << "does not hold: " << what << "\n";
  std::abort();
}

inline void requireRoundTrips(const Module &module) {
  std::string text = printModule(module);
  auto parsed = parseModule(text, "printed");
  require(bool(parsed), "what is printed parses");
  require(!verify(**parsed), "what is printed is valid");
  require(printModule(**parsed) == text, "print(parse(print)) == print");
  auto bytes = writeBinary(module);
  require(bool(bytes), "a module has a binary form");
  auto read = readBinary(*bytes, "written");
  require(bool(read), "what is written is read");
  require(printModule(**read) == text, "print(read(write)) == print");
}

/// Whether the pipeline ran over a copy of `module`; if so, what it made is
/// valid and round-trips.
inline bool runOnCopy(const Module &module, llvm::StringRef pipeline) {
  auto copy = llvm::cantFail(parseModule(printModule(module), "copy"));
  PassManager manager;
  manager.add(llvm::cantFail(parsePipeline(pipeline, allPasses())));
  if (llvm::Error err = manager.run(*copy)) {
    ignore(std::move(err));
    return false;
  }
  requireRoundTrips(*copy);
  return true;
}

inline void checkModule(llvm::Expected<std::unique_ptr<Module>> module) {
  if (!module)
    return ignore(module.takeError());
  // Messages print ops of modules that are not valid.
  printModule(**module);
  if (llvm::Error err = verify(**module))
    return ignore(std::move(err));
  requireRoundTrips(**module);
  require(runOnCopy(**module, "simplify,cse,dce"), "clean-up always succeeds");
  // What cannot be lowered or upcycled is an error, never a crash.
  runOnCopy(**module, loweringPipeline(ElementType::bf16, ElementType::bf16));
  runOnCopy(**module, "upcycle{experts=2},expand-ffn,form-kernels");
}

} // namespace moec
