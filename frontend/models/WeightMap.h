//===- WeightMap.h - canonical weights and where they are stored ----------===//
//
// Canonical names, all weights [out, in] so that y = W x:
//
//   embed [vocab, hidden]        pos_embed [context, hidden]
//   layers.L.attn_norm           layers.L.ffn_norm           final_norm
//   layers.L.attn_post_norm      layers.L.ffn_post_norm
//   layers.L.attn.{q,k,v,o}      layers.L.attn.{q_norm,k_norm}
//   layers.L.ffn.{gate,up,down}  lm_head [vocab, hidden]
//   layers.L.moe.router [experts, hidden]   layers.L.moe.select_bias [experts]
//   layers.L.moe.experts.E.{gate,up,down}
//   layers.L.moe.shared.{gate,up,down}      layers.L.moe.shared.router
//
// With latents (DeepSeek-V2) q is attn.{q_nope,q_rope}, made from the hidden
// state or from attn.{q_a,q_a_norm}; k is attn.{k_nope,k_rope}, and k_nope and
// v are made from attn.{kv_a,kv_a_norm}.
//
// with `.bias` behind the name of a bias (norms too). A tied head has no entry.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "frontend/models/ModelConfig.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// One step from a stored tensor to a canonical weight.
struct WeightStep {
  enum class Kind {
    /// Keeps [begin, end) of `axis`.
    slice,
    /// Drops the leading dimension, of size 1.
    squeeze,
    /// Adds a leading dimension of size 1.
    unsqueeze,
    /// Swaps the two dimensions of a matrix.
    transpose,
    /// Rows of each of `heads` heads from interleaved to half-split rotary
    /// order: row i + j * rows / 2 of a head is stored as its row 2i + j.
    rotaryToHalf,
    /// Keeps rows [begin, end) of each of `heads` heads.
    headSlice,
    /// Adds `offset` to every number.
    offset,
  };
  Kind kind = Kind::slice;
  int64_t axis = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t heads = 0;
  double offset = 0;

  friend bool operator==(const WeightStep &, const WeightStep &) = default;
};

/// For each row of `rows` rows in half-split order, the stored row.
std::vector<int64_t> rotaryRows(int64_t rows, int64_t heads);

struct WeightEntry {
  std::string name;
  std::vector<int64_t> shape;
  /// Index into `Checkpoint::tensors`.
  size_t tensor = 0;
  /// In order; none where the tensor is stored as it is used.
  std::vector<WeightStep> steps;
};

enum class RotaryLayout {
  /// q and k as the file has them; `ModelConfig::rope.interleaved` says which.
  asStored,
  /// q and k brought to half-split order; `rope.interleaved` becomes false.
  halfSplit,
};

class WeightMap {
public:
  /// Finds every weight that `config` needs. A missing tensor or one of a
  /// wrong shape is an error at its place; a tensor that nothing needs is a
  /// warning.
  static llvm::Expected<WeightMap>
  create(const Checkpoint &checkpoint, ModelConfig &config,
         RotaryLayout layout = RotaryLayout::asStored);

  /// In the order of the model.
  llvm::ArrayRef<WeightEntry> entries() const { return all; }
  const WeightEntry *find(llvm::StringRef canonicalName) const;
  llvm::ArrayRef<std::string> warnings() const { return notes; }

  /// Decodes a whole weight, its steps applied, to f32. For tests and small
  /// models; streams go through weight expressions.
  std::vector<float> readF32(const Checkpoint &checkpoint,
                             const WeightEntry &entry) const;

private:
  std::vector<WeightEntry> all;
  llvm::StringMap<size_t> byName;
  std::vector<std::string> notes;
};

} // namespace moec
