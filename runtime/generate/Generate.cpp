#include "runtime/generate/Generate.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"

#include <chrono>

using namespace moec;
using namespace moec::runtime;

static double rate(int64_t count, double seconds) {
  return seconds > 0 ? double(count) / seconds : 0;
}

double Timings::promptTokensPerSecond() const {
  return rate(promptTokens, prefillSeconds);
}

double Timings::decodeTokensPerSecond() const {
  return rate(decodedTokens, decodeSeconds);
}

llvm::StringRef runtime::stopReasonName(StopReason reason) {
  switch (reason) {
  case StopReason::end:
    return "end";
  case StopReason::maxTokens:
    return "max_tokens";
  case StopReason::context:
    return "context";
  case StopReason::callback:
    return "callback";
  }
  llvm_unreachable("all reasons have names");
}

llvm::Expected<GenerateResult>
runtime::generate(Session &session, llvm::ArrayRef<int32_t> prompt,
                  const GenerateOptions &options,
                  llvm::function_ref<bool(int32_t)> onToken) {
  using Clock = std::chrono::steady_clock;
  auto secondsSince = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  MOEC_ASSIGN(Sampler sampler, Sampler::create(options.sampler));
  for (int32_t token : prompt)
    sampler.accept(token);
  GenerateResult result;
  result.timings.loadSeconds = session.model().loadSeconds();
  result.timings.promptTokens = int64_t(prompt.size());

  SequenceId sequence = session.beginSequence();
  auto release = llvm::make_scope_exit([&] { session.endSequence(sequence); });
  Clock::time_point start = Clock::now();
  MOEC_ASSIGN(llvm::ArrayRef<float> logits, session.prefill(sequence, prompt));
  result.timings.prefillSeconds = secondsSince(start);
  Clock::time_point decodeStart = Clock::now();
  while (int64_t(result.tokens.size()) < options.maxTokens) {
    MOEC_ASSIGN(int32_t token, sampler.sample(logits));
    if (result.tokens.empty())
      result.timings.firstTokenSeconds = secondsSince(start);
    if (llvm::is_contained(options.stopTokens, token) ||
        (!options.ignoreEnd && session.model().isEnd(token))) {
      result.reason = StopReason::end;
      break;
    }
    sampler.accept(token);
    result.tokens.push_back(token);
    if (onToken && !onToken(token)) {
      result.reason = StopReason::callback;
      break;
    }
    MOEC_TRY(checkInterrupt());
    if (int64_t(result.tokens.size()) == options.maxTokens)
      break;
    if (session.length(sequence) == session.maxSequenceTokens()) {
      result.reason = StopReason::context;
      break;
    }
    MOEC_ASSIGN(logits, session.forward(SequenceChunk{sequence, token}));
    ++result.timings.decodedTokens;
  }
  result.timings.decodeSeconds = secondsSince(decodeStart);
  return result;
}
