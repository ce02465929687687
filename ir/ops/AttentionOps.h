//===- AttentionOps.h - rotary embedding, paged cache, attention ----------===//
//
// The cache of one layer is two states: keys [blocks, heads, headDim,
// blockSize] and values [blocks, heads, blockSize, valueDim], so that both sums
// of attention run over contiguous memory. A sequence s owns tokens
// [seq_offsets[s], seq_offsets[s+1]); position p of it lives in block
// block_table[s, p / blockSize], slot p % blockSize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"

namespace moec {

/// `%y = rope %x, %positions {heads = 9, ...}`: rotates, in each of `heads`
/// equal parts of a row, pair i by the angle position * inverse_frequencies[i].
/// Pairs are (2i, 2i+1) if interleaved, else (i, i + pairs). Columns behind the
/// first 2 * pairs of a head pass unchanged. Angles are computed in double.
/// What turns is then multiplied by `magnitude`.
///
///   (C1) x is [tokens, heads * head_dim], positions i32 [tokens]
///   (C2) 2 * |inverse_frequencies| <= head_dim
///   (C3) the result has the shape of x
struct RopeAttrs final : AttrsOf<RopeAttrs> {
  int64_t heads = 1;
  bool interleaved = false;
  std::vector<double> inverseFrequencies;
  double magnitude = 1;
  template <typename V> void fields(V &v) {
    v.field("heads", heads);
    v.field("interleaved", interleaved);
    v.field("inverse_frequencies", inverseFrequencies);
    v.field("magnitude", magnitude);
  }
};

/// `%y = join_heads %a, %b {heads = 4}`: of each of `heads` heads the columns
/// of a, then those of b. Where b is one part, all heads get it.
///
///   (C1) a and b are float matrices of as many rows
///   (C2) heads divide a's columns, and b's unless it is one part
///   (C3) the result is [rows, a's columns + b's], or with b as one part
///        [rows, a's columns + heads * b's]
struct JoinHeadsAttrs final : AttrsOf<JoinHeadsAttrs> {
  int64_t heads = 1;
  template <typename V> void fields(V &v) { v.field("heads", heads); }
};

enum class CacheKind : unsigned { key, value };
inline llvm::ArrayRef<llvm::StringRef> enumNames(CacheKind) {
  static const llvm::StringRef names[] = {"key", "value"};
  return names;
}

/// `%cache1 = kv_append %cache0, %x, %positions, %seq_offsets, %block_table`:
/// the cache with the rows of x at their positions. In place.
///
///   (C1) cache is a version of a kv state of rank 4, x [tokens, heads *
///   headDim] (C2) positions is i32 [tokens], seq_offsets i32 [seqs+1],
///   block_table
///        i32 [seqs, *]
///   (C3) the result has the type and state of cache
struct KvAppendAttrs final : AttrsOf<KvAppendAttrs> {
  CacheKind kind = CacheKind::key;
  template <typename V> void fields(V &v) { v.field("kind", kind); }
};

/// `%y = attention %q, %keys, %values, %positions, %seq_offsets, %block_table`:
/// causal attention of each token to positions max(0, p - window + 1) .. p of
/// its sequence (window 0: from 0); query head h reads cache head
/// h / (heads / cache heads). A score s counts as softcap * tanh(s / softcap)
/// unless softcap is 0.
///
///   (C1) q is [tokens, heads * headDim]; keys and values as above
///   (C2) cache heads divide heads
///   (C3) positions, seq_offsets, block_table as for kv_append
///   (C4) the result is [tokens, heads * valueDim]
///   (C5) window and softcap are 0 or more
struct AttentionAttrs final : AttrsOf<AttentionAttrs> {
  int64_t heads = 1;
  double scale = 1;
  int64_t window = 0;
  double softcap = 0;
  template <typename V> void fields(V &v) {
    v.field("heads", heads);
    v.field("scale", scale);
    v.field("window", window);
    v.field("softcap", softcap);
  }
};

} // namespace moec
