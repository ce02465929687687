//===- Generate.h - text after a prompt -----------------------------------===//
#pragma once

#include "runtime/generate/Session.h"
#include "runtime/text/Sampler.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace moec::runtime {

struct GenerateOptions {
  int64_t maxTokens = 128;
  SamplerOptions sampler;
  /// Goes on behind tokens that end a text.
  bool ignoreEnd = false;
  /// Further tokens that end the text.
  std::vector<int32_t> stopTokens;
};

/// What a generation took. The load is that of the model.
struct Timings {
  double loadSeconds = 0;
  /// From the start of the prefill to the first token, which is sampled from
  /// the prompt's logits.
  double firstTokenSeconds = 0;
  double prefillSeconds = 0;
  double decodeSeconds = 0;
  int64_t promptTokens = 0;
  /// Tokens that a decode step of their own was run for.
  int64_t decodedTokens = 0;

  double promptTokensPerSecond() const;
  double decodeTokensPerSecond() const;
};

enum class StopReason { end, maxTokens, context, callback };
/// `end`, `max_tokens`, `context`, `callback`.
llvm::StringRef stopReasonName(StopReason reason);

struct GenerateResult {
  /// Without the token that ended the text.
  std::vector<int32_t> tokens;
  StopReason reason = StopReason::maxTokens;
  Timings timings;
};

/// Generates after `prompt` in a new sequence, which is ended again. `onToken`
/// is called for each token as it comes and stops the generation by false. On
/// an interruption the result is an Interrupted error.
llvm::Expected<GenerateResult>
generate(Session &session, llvm::ArrayRef<int32_t> prompt,
         const GenerateOptions &options,
         llvm::function_ref<bool(int32_t)> onToken = nullptr);

} // namespace moec::runtime
