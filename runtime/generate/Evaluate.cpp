#include "runtime/generate/Evaluate.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "llvm/ADT/ScopeExit.h"

#include <chrono>
#include <cmath>

using namespace moec;
using namespace moec::runtime;

llvm::Error runtime::forEachLogits(
    Session &session, llvm::ArrayRef<int32_t> tokens,
    llvm::function_ref<llvm::Error(int64_t, llvm::ArrayRef<float>)> visit,
    int64_t stepTokens) {
  if (int64_t(tokens.size()) > session.maxSequenceTokens())
    return error(session.model().plan().at(""))
           << "a text of " << tokens.size()
           << " tokens does not fit: the session holds "
           << session.maxSequenceTokens() << " a sequence";
  SequenceId sequence = session.beginSequence();
  auto release = llvm::make_scope_exit([&] { session.endSequence(sequence); });
  size_t step = size_t(std::min(session.maxStepTokens(), session.maxRows()));
  if (stepTokens > 0)
    step = std::min(step, size_t(stepTokens));
  for (size_t first = 0; first < tokens.size(); first += step) {
    MOEC_TRY(checkInterrupt());
    SequenceChunk chunk{sequence, tokens.drop_front(first).take_front(step),
                        WantedLogits::all};
    MOEC_ASSIGN(llvm::ArrayRef<float> rows, session.forward(chunk));
    MOEC_TRY(visit(int64_t(first), rows));
  }
  return llvm::Error::success();
}

double runtime::negativeLogLikelihood(llvm::ArrayRef<float> logits,
                                      int32_t target) {
  float best = -INFINITY;
  for (float logit : logits)
    best = std::max(best, logit);
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(double(logit) - double(best));
  return std::log(sum) + double(best) - double(logits[size_t(target)]);
}

double Evaluation::perplexity() const {
  return tokens ? std::exp(nll / double(tokens)) : 1;
}

llvm::Expected<Evaluation>
runtime::evaluate(Session &session, llvm::ArrayRef<int32_t> tokens,
                  const EvaluationOptions &options,
                  llvm::function_ref<void(int64_t, int64_t)> progress) {
  auto start = std::chrono::steady_clock::now();
  const Model &model = session.model();
  int64_t limit = session.maxSequenceTokens();
  int64_t window = options.window ? options.window : limit;
  int64_t stride = options.stride ? options.stride : window;
  if (window < 2 || window > limit)
    return error(model.plan().at(""))
           << "expects a window of 2 to " << limit << " tokens, got " << window;
  if (stride < 1 || stride > window)
    return error(model.plan().at("")) << "expects a stride of 1 to " << window
                                      << " tokens, got " << stride;
  int64_t count = int64_t(tokens.size());
  if (count < 2)
    return error(model.plan().at(""))
           << "expects at least 2 tokens to evaluate, got " << count;
  Evaluation result;
  size_t vocabulary = size_t(model.vocabulary());
  std::vector<double> losses;
  // Targets below this have been predicted.
  int64_t done = 0;
  for (int64_t begin = 0; begin < count; begin += stride) {
    int64_t end = std::min(begin + window, count);
    llvm::ArrayRef<int32_t> text =
        tokens.slice(size_t(begin), size_t(end - begin));
    MOEC_TRY(forEachLogits(
        session, text,
        [&](int64_t first, llvm::ArrayRef<float> rows) -> llvm::Error {
          int64_t rowCount = int64_t(rows.size() / vocabulary);
          losses.assign(size_t(rowCount), 0);
          auto targetOf = [&](int64_t row) { return begin + first + row + 1; };
          MOEC_TRY(parallelFor(uint64_t(rowCount), model.device().parallelism(),
                               [&](uint64_t row) -> llvm::Error {
                                 int64_t target = targetOf(int64_t(row));
                                 if (target < end && target >= done)
                                   losses[row] = negativeLogLikelihood(
                                       rows.slice(row * vocabulary, vocabulary),
                                       tokens[size_t(target)]);
                                 return llvm::Error::success();
                               }));
          // In order, so that the sum does not depend on threads.
          for (int64_t row = 0; row < rowCount; ++row) {
            int64_t target = targetOf(row);
            if (target >= end || target < done)
              continue;
            result.nll += losses[size_t(row)];
            ++result.tokens;
          }
          if (progress)
            progress(std::min(begin + first + rowCount, count), count);
          return llvm::Error::success();
        }));
    done = end;
    if (end == count)
      break;
  }
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return result;
}
