/* Generates text with a compiled model:
 *
 *   example PLAN [PROMPT [TOKENS]]
 *
 * A PROMPT of numbers and commas alone is taken as token ids, which works for
 * a plan without a tokenizer too. */
#include <moec.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *doing) {
  fprintf(stderr, "while %s: %s\n", doing, moec_last_error());
  return 1;
}

static int print_token(void *user, int32_t token, const char *text) {
  (void)user;
  if (text)
    fputs(text, stdout);
  else
    printf("%d ", token);
  fflush(stdout);
  return 1;
}

/* Reads `1,2,3`. */
static int32_t *parse_ids(const char *text, size_t *count) {
  int32_t *ids = malloc((strlen(text) + 1) * sizeof(int32_t));
  *count = 0;
  while (ids && *text) {
    char *end;
    ids[(*count)++] = (int32_t)strtol(text, &end, 10);
    text = *end == ',' ? end + 1 : end;
  }
  return ids;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s PLAN [PROMPT [TOKENS]]\n", argv[0]);
    return 2;
  }
  const char *prompt = argc > 2 ? argv[2] : "Once upon a time";
  moec_generate_options options = {sizeof(options)};
  options.max_tokens = argc > 3 ? atol(argv[3]) : 64;

  moec_model *model;
  if (moec_model_load(argv[1], NULL, &model) != MOEC_OK)
    return fail("loading the model");
  moec_session *session;
  if (moec_session_create(model, NULL, &session) != MOEC_OK)
    return fail("making a session");

  int32_t *ids;
  size_t count;
  int is_ids = *prompt && strspn(prompt, "0123456789,") == strlen(prompt);
  if (is_ids)
    ids = parse_ids(prompt, &count);
  else if (moec_tokenize(model, prompt, strlen(prompt), 1, &ids, &count) !=
           MOEC_OK)
    return fail("tokenizing the prompt");

  moec_timings timings = {sizeof(timings)};
  printf("%s", is_ids ? "" : prompt);
  if (moec_generate(session, ids, count, &options, print_token, NULL, NULL,
                    NULL, &timings) != MOEC_OK)
    return fail("generating");
  printf("\n");
  fprintf(
      stderr, "moec %s: %lld prompt tokens in %.3f s, %lld more in %.3f s\n",
      moec_version(), (long long)timings.prompt_tokens, timings.prefill_seconds,
      (long long)timings.decoded_tokens, timings.decode_seconds);

  if (is_ids)
    free(ids);
  else
    moec_release(ids);
  moec_session_free(session);
  moec_model_free(model);
  return 0;
}
