//===- Benchmark.h - how fast a model runs --------------------------------===//
#pragma once

#include "runtime/generate/Session.h"

namespace moec::runtime {

struct BenchmarkOptions {
  /// Tokens of a prompt, fed in steps as large as the plan allows; 0: none.
  int64_t prefill = 512;
  /// Tokens fed one by one to a sequence that is empty at first; 0: none.
  int64_t decode = 128;
  unsigned repetitions = 5;
  /// Tokens are drawn at random; what they are decides which experts work.
  uint64_t seed = 1;
};

struct BenchmarkSample {
  double prefillSeconds = 0;
  double decodeSeconds = 0;
};

/// Time of a kernel's launches, all together.
struct KernelTime {
  std::string kernel;
  uint64_t launches = 0;
  double seconds = 0;
};

/// One warm-up run, then the repetitions, a sample each.
llvm::Expected<std::vector<BenchmarkSample>>
benchmark(Session &session, const BenchmarkOptions &options = {});

/// What the executor's profile says by kernel, the slowest first.
std::vector<KernelTime> profileByKernel(Executor &executor);

/// The middle one of some numbers; 0 where there are none.
double median(std::vector<double> numbers);

} // namespace moec::runtime
