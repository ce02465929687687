#include "runtime/generate/Benchmark.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Philox.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"

#include <chrono>

using namespace moec;
using namespace moec::runtime;
using Clock = std::chrono::steady_clock;

static double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

static llvm::Expected<BenchmarkSample>
runOnce(Session &session, llvm::ArrayRef<int32_t> prompt,
        llvm::ArrayRef<int32_t> decoded) {
  BenchmarkSample sample;
  if (!prompt.empty()) {
    SequenceId sequence = session.beginSequence();
    auto release =
        llvm::make_scope_exit([&] { session.endSequence(sequence); });
    Clock::time_point start = Clock::now();
    if (auto logits = session.prefill(sequence, prompt); !logits)
      return logits.takeError();
    sample.prefillSeconds = secondsSince(start);
  }
  SequenceId sequence = session.beginSequence();
  auto release = llvm::make_scope_exit([&] { session.endSequence(sequence); });
  Clock::time_point start = Clock::now();
  for (int32_t token : decoded) {
    MOEC_TRY(checkInterrupt());
    if (auto logits = session.forward(SequenceChunk{sequence, token}); !logits)
      return logits.takeError();
  }
  sample.decodeSeconds = secondsSince(start);
  return sample;
}

llvm::Expected<std::vector<BenchmarkSample>>
runtime::benchmark(Session &session, const BenchmarkOptions &options) {
  const Model &model = session.model();
  for (int64_t tokens : {options.prefill, options.decode})
    if (tokens < 0 || tokens > session.maxSequenceTokens())
      return error(model.plan().at(""))
             << "expects 0 to " << session.maxSequenceTokens()
             << " tokens to measure, got " << tokens;
  RandomKey key = RandomKey::of(options.seed, "benchmark", "tokens");
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < options.prefill + options.decode; ++i)
    tokens.push_back(
        int32_t(uniformInt(key, uint64_t(i), uint64_t(model.vocabulary()))));
  llvm::ArrayRef<int32_t> all(tokens);
  llvm::ArrayRef<int32_t> prompt = all.take_front(size_t(options.prefill));
  llvm::ArrayRef<int32_t> decoded = all.drop_front(size_t(options.prefill));
  // The first run meets cold caches and memory that nobody touched.
  if (auto warmUp = runOnce(session, prompt, decoded); !warmUp)
    return warmUp.takeError();
  std::vector<BenchmarkSample> samples;
  for (unsigned i = 0; i < options.repetitions; ++i) {
    MOEC_ASSIGN(BenchmarkSample sample, runOnce(session, prompt, decoded));
    samples.push_back(sample);
  }
  return samples;
}

std::vector<KernelTime> runtime::profileByKernel(Executor &executor) {
  llvm::MapVector<unsigned, KernelTime> kernels;
  const plan::Variant &variant = executor.loaded().variant();
  for (const LaunchProfile &launch : executor.profile()) {
    unsigned kernel = launch.program->launches()->Get(launch.launch)->kernel();
    KernelTime &time = kernels[kernel];
    time.kernel = variant.kernels()->Get(kernel)->name()->str();
    time.launches += launch.runs;
    time.seconds += launch.seconds;
  }
  std::vector<KernelTime> result;
  for (auto &entry : kernels)
    result.push_back(std::move(entry.second));
  llvm::sort(result, [](const KernelTime &left, const KernelTime &right) {
    return std::tie(right.seconds, left.kernel) <
           std::tie(left.seconds, right.kernel);
  });
  return result;
}

double runtime::median(std::vector<double> numbers) {
  if (numbers.empty())
    return 0;
  llvm::sort(numbers);
  size_t middle = numbers.size() / 2;
  if (numbers.size() % 2)
    return numbers[middle];
  return (numbers[middle - 1] + numbers[middle]) / 2;
}
