#define MOEC_BUILDING_RUNTIME
#include "runtime/capi/moec.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "runtime/generate/Generate.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/ADT/STLExtras.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

using namespace moec;
using namespace moec::runtime;

struct moec_model {
  std::shared_ptr<const Model> model;
  /// Facts that were asked for, as C strings.
  mutable std::mutex mutex;
  mutable std::set<std::string> facts;
};

struct moec_session {
  std::unique_ptr<Session> session;
  std::set<uint32_t> sequences;
  std::string counterName;
};

static thread_local std::string lastError;

static moec_status fail(llvm::Error err) {
  moec_status status = isInterrupted(err) ? MOEC_INTERRUPTED : MOEC_ERROR;
  lastError = toText(std::move(err));
  return status;
}

static moec_status failArgument(const char *what) {
  return fail(error() << "argument '" << what
                      << "' is NULL, of another version or out of range");
}

/// A structure as its caller knows it, filled up with zeros; nothing where it
/// claims to be larger than this library knows.
template <typename T> static std::optional<T> readStructure(const T *given) {
  T result = {};
  if (!given)
    return result;
  if (given->size < sizeof(size_t) || given->size > sizeof(T))
    return std::nullopt;
  std::memcpy(&result, given, given->size);
  return result;
}

/// A copy that the caller releases; never null for a size of 0.
template <typename T>
static T *copyOut(llvm::ArrayRef<T> items, size_t extra = 0) {
  auto *copy = static_cast<T *>(
      std::calloc(std::max<size_t>(items.size() + extra, 1), sizeof(T)));
  if (copy && !items.empty())
    std::memcpy(copy, items.data(), items.size() * sizeof(T));
  return copy;
}

const char *moec_version(void) { return MOEC_VERSION; }

const char *moec_last_error(void) { return lastError.c_str(); }

void moec_interrupt(void) { setInterruptRequested(true); }

void moec_interrupt_clear(void) { setInterruptRequested(false); }

void moec_release(void *memory) { std::free(memory); }

moec_status moec_model_load(const char *path, const moec_load_options *given,
                            moec_model **model) {
  if (!path || !model)
    return failArgument(path ? "model" : "path");
  std::optional<moec_load_options> options = readStructure(given);
  if (!options)
    return failArgument("options");
  ModelOptions wanted;
  wanted.cpu.threads = options->threads;
  wanted.cpu.pinThreads = !options->no_pinning;
  wanted.cpu.jitLibrary = options->jit_library ? options->jit_library : "";
  wanted.variant = options->variant ? options->variant : "";
  wanted.verifyWeights = options->verify;
  auto loaded = Model::open(path, std::move(wanted));
  if (!loaded)
    return fail(loaded.takeError());
  *model = new moec_model();
  (*model)->model = std::move(*loaded);
  return MOEC_OK;
}

void moec_model_free(moec_model *model) { delete model; }

int64_t moec_model_vocabulary(const moec_model *model) {
  return model ? model->model->vocabulary() : 0;
}

int64_t moec_model_context(const moec_model *model) {
  return model ? model->model->context() : 0;
}

const char *moec_model_fact(const moec_model *model, const char *key) {
  if (!model || !key)
    return nullptr;
  std::optional<llvm::StringRef> fact = model->model->plan().fact(key);
  if (!fact)
    return nullptr;
  std::lock_guard<std::mutex> lock(model->mutex);
  return model->facts.insert(fact->str()).first->c_str();
}

double moec_model_load_seconds(const moec_model *model) {
  return model ? model->model->loadSeconds() : 0;
}

/// The plan's tokenizer, or an error.
static llvm::Expected<const Tokenizer *> tokenizerOf(const moec_model &model) {
  if (const Tokenizer *tokenizer = model.model->tokenizer())
    return tokenizer;
  return error(model.model->plan().at("")) << "has no tokenizer";
}

moec_status moec_tokenize(const moec_model *model, const char *text,
                          size_t length, int32_t addSpecial, int32_t **ids,
                          size_t *count) {
  if (!model || (!text && length) || !ids || !count)
    return failArgument(!model ? "model" : !ids ? "ids" : "text or count");
  auto tokenizer = tokenizerOf(*model);
  if (!tokenizer)
    return fail(tokenizer.takeError());
  EncodeOptions options;
  options.addSpecial = addSpecial;
  auto encoded = (*tokenizer)->encode({text, length}, options);
  if (!encoded)
    return fail(encoded.takeError());
  *ids = copyOut<int32_t>(*encoded);
  *count = encoded->size();
  return *ids ? MOEC_OK : fail(error() << "memory is short");
}

moec_status moec_detokenize(const moec_model *model, const int32_t *ids,
                            size_t count, char **text, size_t *length) {
  if (!model || (!ids && count) || !text)
    return failArgument(!model ? "model" : !text ? "text" : "ids");
  auto tokenizer = tokenizerOf(*model);
  if (!tokenizer)
    return fail(tokenizer.takeError());
  std::string decoded = (*tokenizer)->decode({ids, count});
  *text = copyOut<char>({decoded.data(), decoded.size()}, /*extra=*/1);
  if (length)
    *length = decoded.size();
  return *text ? MOEC_OK : fail(error() << "memory is short");
}

moec_status moec_session_create(const moec_model *model,
                                const moec_session_options *given,
                                moec_session **session) {
  if (!model || !session)
    return failArgument(model ? "session" : "model");
  std::optional<moec_session_options> options = readStructure(given);
  if (!options)
    return failArgument("options");
  SessionOptions wanted;
  wanted.cacheTokens = options->cache_tokens;
  wanted.cacheBytes = options->cache_bytes;
  auto created = Session::create(model->model, wanted);
  if (!created)
    return fail(created.takeError());
  *session = new moec_session();
  (*session)->session = std::move(*created);
  return MOEC_OK;
}

void moec_session_free(moec_session *session) { delete session; }

moec_status moec_sequence_begin(moec_session *session, uint32_t *sequence) {
  if (!session || !sequence)
    return failArgument(session ? "sequence" : "session");
  *sequence = uint32_t(session->session->beginSequence());
  session->sequences.insert(*sequence);
  return MOEC_OK;
}

moec_status moec_sequence_end(moec_session *session, uint32_t sequence) {
  if (!session)
    return failArgument("session");
  if (!session->sequences.erase(sequence))
    return failArgument("sequence");
  session->session->endSequence(SequenceId(sequence));
  return MOEC_OK;
}

moec_status moec_sequence_feed(moec_session *session, uint32_t sequence,
                               const int32_t *tokens, size_t count,
                               float *logits) {
  if (!session || (!tokens && count))
    return failArgument(session ? "tokens" : "session");
  if (!session->sequences.count(sequence))
    return failArgument("sequence");
  auto result =
      session->session->prefill(SequenceId(sequence), {tokens, count});
  if (!result)
    return fail(result.takeError());
  if (logits)
    std::memcpy(logits, result->data(), result->size() * sizeof(float));
  return MOEC_OK;
}

moec_status moec_step(moec_session *session, const moec_batch *given,
                      float *logits) {
  if (!session || !given || !logits)
    return failArgument(!session ? "session" : !given ? "batch" : "logits");
  std::optional<moec_batch> batch = readStructure(given);
  if (!batch || !batch->tokens || !batch->positions || !batch->seq_offsets ||
      !batch->block_table || (batch->rows && !batch->logit_rows))
    return failArgument("batch");
  std::optional<uint64_t> entries = checkedMul(batch->sequences, batch->table);
  if (!entries || batch->sequences > INT32_MAX || batch->rows > INT32_MAX)
    return failArgument("batch");
  StepBatch step;
  step.tokens = {batch->tokens, batch->tokens_count};
  step.positions = {batch->positions, batch->tokens_count};
  step.seqOffsets = {batch->seq_offsets, batch->sequences + 1};
  step.blockTable = {batch->block_table, size_t(*entries)};
  step.logitRows = {batch->logit_rows, batch->rows};
  size_t vocabulary = size_t(session->session->model().vocabulary());
  if (llvm::Error err =
          session->session->step(step, {logits, batch->rows * vocabulary}))
    return fail(std::move(err));
  return MOEC_OK;
}

moec_status moec_generate(moec_session *session, const int32_t *prompt,
                          size_t promptCount,
                          const moec_generate_options *given,
                          moec_token_callback callback, void *user,
                          int32_t **tokens, size_t *count,
                          moec_timings *timings) {
  if (!session || (!prompt && promptCount) || (tokens && !count))
    return failArgument(!session ? "session" : tokens ? "count" : "prompt");
  std::optional<moec_generate_options> options = readStructure(given);
  if (!options)
    return failArgument("options");
  if (timings &&
      (timings->size < sizeof(size_t) || timings->size > sizeof(moec_timings)))
    return failArgument("timings");
  GenerateOptions wanted;
  if (given)
    wanted.maxTokens = options->max_tokens;
  wanted.sampler.temperature = options->temperature;
  wanted.sampler.topK = options->top_k;
  wanted.sampler.topP = options->top_p == 0 ? 1 : options->top_p;
  wanted.sampler.minP = options->min_p;
  wanted.sampler.repetitionPenalty =
      options->repetition_penalty == 0 ? 1 : options->repetition_penalty;
  wanted.sampler.seed = options->seed;
  wanted.ignoreEnd = options->ignore_end;

  const Tokenizer *tokenizer = session->session->model().tokenizer();
  std::optional<StreamDecoder> decoder;
  if (tokenizer) {
    decoder.emplace(*tokenizer);
    // What follows a prompt keeps the space before its first word.
    for (size_t i = 0; i < promptCount; ++i)
      decoder->push(prompt[i]);
  }
  auto onToken = [&](int32_t token) {
    if (!callback)
      return true;
    std::string text = decoder ? decoder->push(token) : "";
    return callback(user, token, decoder ? text.c_str() : nullptr) != 0;
  };
  auto result =
      generate(*session->session, {prompt, promptCount}, wanted, onToken);
  if (!result)
    return fail(result.takeError());
  if (callback && decoder)
    if (std::string rest = decoder->finish(); !rest.empty())
      callback(user, -1, rest.c_str());
  if (timings) {
    const Timings &took = result->timings;
    moec_timings all = {timings->size,       took.firstTokenSeconds,
                        took.prefillSeconds, took.decodeSeconds,
                        took.promptTokens,   took.decodedTokens};
    std::memcpy(timings, &all, timings->size);
  }
  if (tokens) {
    *tokens = copyOut<int32_t>(result->tokens);
    *count = result->tokens.size();
    if (!*tokens)
      return fail(error() << "memory is short");
  }
  return MOEC_OK;
}

moec_status moec_expert_counts(moec_session *session, size_t index,
                               const char **name, int64_t *counts,
                               size_t capacity, size_t *experts) {
  if (!session || !experts || (!counts && capacity))
    return failArgument(!session ? "session" : "counts or experts");
  auto counters = session->session->expertCounters();
  if (!counters)
    return fail(counters.takeError());
  *experts = 0;
  if (name)
    *name = nullptr;
  if (index >= counters->size())
    return MOEC_OK;
  const ExpertCounter &counter = (*counters)[index];
  session->counterName = counter.name;
  if (name)
    *name = session->counterName.c_str();
  *experts = counter.counts.size();
  for (size_t i = 0; i < std::min(capacity, counter.counts.size()); ++i)
    counts[i] = counter.counts[i];
  return MOEC_OK;
}

moec_status moec_reset_counters(moec_session *session) {
  if (!session)
    return failArgument("session");
  if (llvm::Error err = session->session->resetCounters())
    return fail(std::move(err));
  return MOEC_OK;
}
