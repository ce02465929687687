/*===- moec.h - run compiled models from C --------------------------------===*\
|*
|* libmoec_runtime loads a plan (`.moep`, made by `moec compile`) and runs it.
|*
|* Functions that can fail return MOEC_OK or an error code; moec_last_error()
|* then says what went wrong, in the words that the moec command prints. Objects
|* are released by the function that their maker names. A model may be used by
|* several threads at once; sessions of one model, one after the other.
|*
|* Structures begin with their size, so that they can grow: set `size` to
|* sizeof(the structure) and everything else that is not needed to zero.
|*
\*===----------------------------------------------------------------------===*/
#ifndef MOEC_H
#define MOEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(MOEC_BUILDING_RUNTIME)
#define MOEC_API __attribute__((visibility("default")))
#else
#define MOEC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moec_model moec_model;
typedef struct moec_session moec_session;

typedef enum moec_status {
  MOEC_OK = 0,
  MOEC_ERROR = 1,      /* moec_last_error() says what */
  MOEC_INTERRUPTED = 2 /* moec_interrupt() was called */
} moec_status;

/* The version of the library, such as "0.1.0". */
MOEC_API const char *moec_version(void);

/* The last error of the calling thread; valid until its next call. */
MOEC_API const char *moec_last_error(void);

/* Makes a running generation or prefill of any thread end soon, with
 * MOEC_INTERRUPTED. Safe in a signal handler. moec_interrupt_clear() undoes it;
 * nothing else does. */
MOEC_API void moec_interrupt(void);
MOEC_API void moec_interrupt_clear(void);

/* Releases memory that a function has handed out. */
MOEC_API void moec_release(void *memory);

/*--- Models -----------------------------------------------------------------*/

typedef struct moec_load_options {
  size_t size;
  uint32_t threads;        /* 0: one for each processor */
  int32_t no_pinning;      /* 1: threads may wander between processors */
  int32_t verify;          /* 1: compare the digests of weights */
  const char *variant;     /* NULL: the best that this machine supports */
  const char *jit_library; /* NULL: found beside this library */
} moec_load_options;

/* Loads a plan with its weights. `options` may be NULL. Weights that have to be
 * computed must have been packed by `moec compile --pack`. */
MOEC_API moec_status moec_model_load(const char *path,
                                     const moec_load_options *options,
                                     moec_model **model);
/* Sessions keep what they need of a model. */
MOEC_API void moec_model_free(moec_model *model);

MOEC_API int64_t moec_model_vocabulary(const moec_model *model);
MOEC_API int64_t moec_model_context(const moec_model *model);
/* The value of a fact of the plan, such as "model.name"; NULL where it has
 * none. Valid as long as the model. */
MOEC_API const char *moec_model_fact(const moec_model *model, const char *key);
/* Seconds that loading took. */
MOEC_API double moec_model_load_seconds(const moec_model *model);

/*--- Text -------------------------------------------------------------------*/

/* Text to ids. `*ids` is released with moec_release. `add_special` 1 puts the
 * model's special tokens around the text (mostly one at its beginning). */
MOEC_API moec_status moec_tokenize(const moec_model *model, const char *text,
                                   size_t length, int32_t add_special,
                                   int32_t **ids, size_t *count);
/* Ids to text, without special tokens. `*text` ends with a zero byte that
 * `*length`, which may be NULL, does not count; it is released with
 * moec_release. */
MOEC_API moec_status moec_detokenize(const moec_model *model,
                                     const int32_t *ids, size_t count,
                                     char **text, size_t *length);

/*--- Sessions: sequences over a KV cache ------------------------------------*/

typedef struct moec_session_options {
  size_t size;
  int64_t cache_tokens; /* in all sequences; 0: one full context */
  uint64_t cache_bytes; /* limit of the KV cache; 0: none */
} moec_session_options;

/* `options` may be NULL. */
MOEC_API moec_status moec_session_create(const moec_model *model,
                                         const moec_session_options *options,
                                         moec_session **session);
MOEC_API void moec_session_free(moec_session *session);

/* Begins a sequence; `*sequence` names it in this session. */
MOEC_API moec_status moec_sequence_begin(moec_session *session,
                                         uint32_t *sequence);
/* Ends a sequence and frees its part of the cache. */
MOEC_API moec_status moec_sequence_end(moec_session *session,
                                       uint32_t sequence);
/* Feeds `count` tokens, any number up to the context, and writes the logits of
 * the last one, as many as the vocabulary has; `logits` may be NULL. */
MOEC_API moec_status moec_sequence_feed(moec_session *session,
                                        uint32_t sequence,
                                        const int32_t *tokens, size_t count,
                                        float *logits);

/* One step as the plan's signature has it, for hosts that manage the cache's
 * blocks themselves: the tokens of `sequences` sequences one after the other,
 * each with its position; sequence s has tokens [seq_offsets[s],
 * seq_offsets[s + 1]) and the blocks block_table[s * table ...]. Writes the
 * logits of the tokens that `logit_rows` lists, row after row. */
typedef struct moec_batch {
  size_t size;
  size_t tokens_count;
  const int32_t *tokens;
  const int32_t *positions;
  size_t sequences;
  const int32_t *seq_offsets; /* sequences + 1 */
  size_t table;
  const int32_t *block_table; /* sequences * table */
  size_t rows;
  const int32_t *logit_rows;
} moec_batch;
MOEC_API moec_status moec_step(moec_session *session, const moec_batch *batch,
                               float *logits);

/*--- Generation -------------------------------------------------------------*/

typedef struct moec_generate_options {
  size_t size;
  int64_t max_tokens;
  double temperature;        /* 0: the best token always */
  uint32_t top_k;            /* 0: all */
  double top_p;              /* 0 or 1: all */
  double min_p;              /* 0: all */
  double repetition_penalty; /* 0 or 1: none */
  uint64_t seed;
  int32_t ignore_end; /* 1: goes on behind the end of the text */
} moec_generate_options;

typedef struct moec_timings {
  size_t size;
  double first_token_seconds;
  double prefill_seconds;
  double decode_seconds;
  int64_t prompt_tokens;
  int64_t decoded_tokens;
} moec_timings;

/* Called for each token, with the text that is certain by now, as it follows
 * the prompt's: whole characters, maybe none; NULL where the plan has no
 * tokenizer. At the end, once more with token -1 where text was held back.
 * Returns 0 to stop. */
typedef int (*moec_token_callback)(void *user, int32_t token, const char *text);

/* Generates after a prompt in a sequence of its own. Without `options` it takes
 * the best token always, 128 times. `callback` and `timings` may be NULL;
 * without `tokens` the tokens go to the callback only, otherwise
 * `*tokens` is released with moec_release. */
MOEC_API moec_status moec_generate(moec_session *session, const int32_t *prompt,
                                   size_t prompt_count,
                                   const moec_generate_options *options,
                                   moec_token_callback callback, void *user,
                                   int32_t **tokens, size_t *count,
                                   moec_timings *timings);

/*--- State ------------------------------------------------------------------*/

/* How often each expert of layer `index` (of those that route, in order) was
 * chosen since the session began or was reset. `*name` is valid until the next
 * call for this session; up to `capacity` numbers go to `counts`, `*experts` is
 * how many there are. Beyond the last layer: MOEC_OK and `*experts` 0. */
MOEC_API moec_status moec_expert_counts(moec_session *session, size_t index,
                                        const char **name, int64_t *counts,
                                        size_t capacity, size_t *experts);
MOEC_API moec_status moec_reset_counters(moec_session *session);

#ifdef __cplusplus
}
#endif

#endif
