// Kernels of the toy plan, compiled to bitcode when the tests are built.
#include "runtime/schema/KernelAbi.h"

enum { kVocabulary = 32, kBlockSize = 4, kExperts = 4 };

// out[i] = x[i] * weight[0] + constant[0]. Buffers: x, weight, constant, out.
// Extents: count. A task is 16 elements.
void toy_affine(void *const *buffers, const int64_t *extents, int64_t begin,
                int64_t end, void *scratch) {
  const float *x = buffers[0], *weight = buffers[1], *constant = buffers[2];
  float *out = buffers[3];
  for (int64_t i = begin * 16; i < end * 16 && i < extents[0]; ++i)
    out[i] = x[i] * weight[0] + constant[0];
}

// out[i] = 2 x[i], by way of the scratch memory. Buffers: x, out.
void toy_double(void *const *buffers, const int64_t *extents, int64_t begin,
                int64_t end, void *scratch) {
  const float *x = buffers[0];
  float *out = buffers[1], *own = scratch;
  for (int64_t task = begin; task < end; ++task) {
    for (int64_t i = 0; i < 16 && task * 16 + i < extents[0]; ++i)
      own[i] = x[task * 16 + i];
    for (int64_t i = 0; i < 16 && task * 16 + i < extents[0]; ++i)
      out[task * 16 + i] = own[i] + own[i];
  }
}

static int64_t sequenceOf(const int32_t *offsets, int64_t seqs, int64_t token) {
  for (int64_t s = 0; s < seqs; ++s)
    if (token < offsets[s + 1])
      return s;
  return seqs - 1;
}

// Writes tokens to the paged cache. Buffers: cache, tokens, positions,
// seqOffsets, blockTable, counters. Extents: tokens, seqs, table.
void toy_append(void *const *buffers, const int64_t *extents, int64_t begin,
                int64_t end, void *scratch) {
  int32_t *cache = buffers[0];
  const int32_t *tokens = buffers[1], *positions = buffers[2];
  const int32_t *offsets = buffers[3], *table = buffers[4];
  int64_t *counters = buffers[5];
  for (int64_t t = begin; t < end; ++t) {
    int64_t s = sequenceOf(offsets, extents[1], t);
    int64_t p = positions[t];
    int64_t block = table[s * extents[2] + p / kBlockSize];
    cache[block * kBlockSize + p % kBlockSize] = tokens[t];
    __atomic_fetch_add(&counters[tokens[t] % kExperts], 1, __ATOMIC_RELAXED);
  }
}

// The toy model: after tokens t0..tp comes (t0 + ... + tp + p) % vocabulary,
// whose logit is 8; all others are 0. Buffers: cache, positions, seqOffsets,
// blockTable, logitRows, logits. Extents: rows, seqs, table.
void toy_logits(void *const *buffers, const int64_t *extents, int64_t begin,
                int64_t end, void *scratch) {
  const int32_t *cache = buffers[0], *positions = buffers[1];
  const int32_t *offsets = buffers[2], *table = buffers[3];
  const int32_t *rows = buffers[4];
  float *logits = buffers[5];
  for (int64_t r = begin; r < end; ++r) {
    int64_t t = rows[r];
    int64_t s = sequenceOf(offsets, extents[1], t);
    int64_t sum = positions[t];
    for (int64_t p = 0; p <= positions[t]; ++p) {
      int64_t block = table[s * extents[2] + p / kBlockSize];
      sum += cache[block * kBlockSize + p % kBlockSize];
    }
    for (int64_t v = 0; v < kVocabulary; ++v)
      logits[r * kVocabulary + v] = v == sum % kVocabulary ? 8.0f : 0.0f;
  }
}
