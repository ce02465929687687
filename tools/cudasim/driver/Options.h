//===- Options.h - what MOEC_CUDASIM asks for -----------------------------===//
//
//   MOEC_CUDASIM="checks=all,seed=3,device=h100,devices=4,counters=c.json"
//
// A list of key=value, parsed once when the driver is initialised. A word that
// is not understood is one located error, and cuInit fails: an option that was
// silently dropped would make a run look checked that was not.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace cudasim {
struct DeviceModel;
}

namespace cudasim::driver {

/// What the driver says on standard error.
enum class LogLevel {
  /// Nothing, not even faults.
  None,
  /// Faults, unsupported calls, deadlocks and leaks.
  Faults,
  /// Also every driver call that answers with an error.
  Errors,
  /// Also every driver call.
  Calls,
};

struct Options {
  /// Names of the checkers that are on, sorted: see kCheckNames.
  std::vector<std::string> checks;
  /// 0 is the order of submission; other seeds shuffle within what is legal.
  uint64_t seed = 0;
  /// One model a device.
  std::vector<const DeviceModel *> devices;
  /// Whether mul followed by add becomes one fused operation, as ptxas may do
  /// (fma=greedy, the default), or never (fma=never).
  bool contract = true;
  /// Adds a seeded error, within the documented bound, to approximate ops.
  bool perturb = false;
  /// Where the counters go when the process ends: a path ending in .json gets
  /// JSON, another path a table, `-` a table on standard error; empty: nowhere.
  std::string counters;
  /// Warp instructions that one launch may execute before it is stopped; 0:
  /// as many as LaunchConfig says.
  uint64_t budget = 0;
  /// Milliseconds without progress after which a wait is called a deadlock.
  uint64_t hangMs = 10000;
  LogLevel log = LogLevel::Faults;

  bool hasCheck(llvm::StringRef name) const;

  /// Parses the text of the variable; an empty text gives the defaults.
  static llvm::Expected<Options> parse(llvm::StringRef text);
};

/// The checkers by name, sorted.
llvm::ArrayRef<llvm::StringRef> checkNames();

} // namespace cudasim::driver
