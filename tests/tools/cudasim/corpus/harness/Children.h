//===- Children.h - a piece of a test in a process of its own -------------===//
//
// The simulator reads its options when the driver is initialised, and a fault
// stays with the context: whoever wants other options or another fault needs a
// new process. The caller must not have initialised the driver.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <functional>
#include <string>

namespace corpus {

struct ChildResult {
  /// What the body returned; -1 where the child died by a signal.
  int status = -1;
  int signal = 0;
  /// Standard output and standard error, each as written.
  std::string output, errors;
};

/// Runs `body` in a forked child with MOEC_CUDASIM set to `options`. With
/// `capture` unset, both streams stay those of the caller. A child that lives
/// longer than `seconds` is killed.
ChildResult runChild(const std::string &options, bool capture,
                     const std::function<int()> &body, unsigned seconds = 120);

} // namespace corpus
