//===- Instrumentation.h - watching passes run ----------------------------===//
#pragma once

#include "ir/text/Printer.h"

#include <string>
#include <vector>

namespace moec {

/// What tools offer as flags; the driver itself reads none.
struct InstrumentationOptions {
  /// Names of passes; see also the two below.
  std::vector<std::string> printBefore, printAfter;
  bool printBeforeAll = false;
  bool printAfterAll = false;
  /// After each pass that changed the module.
  bool printAfterChange = false;
  /// What a failing pass left behind.
  bool printAfterFailure = false;
  /// A folder that gets the module before the first pass and after each pass,
  /// as `00-input.moe`, `01-simplify.moe`, ...
  std::string treeFolder;
  /// Passes that earlier pipelines over the same module had: files are counted
  /// from there, and the module before the first pass is there already.
  unsigned treeStart = 0;
  PrintOptions print;
  /// What is printed before and after passes leaves out the bytes of assets.
  bool printElided = false;

  /// Seconds per pass, and what passes counted, after the last pass.
  bool timing = false;
  bool statistics = false;
  /// Check the module after each pass. The module is always checked before
  /// the first.
  bool verifyEach = true;

  /// Where a failure or a crash leaves a reproducer; empty for nowhere.
  std::string reproducer;
  /// What a reproducer keeps of the tool's command line.
  std::vector<std::string> flags;
};

} // namespace moec
