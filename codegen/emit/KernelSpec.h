//===- KernelSpec.h - plain data that the emitters turn into code ---------===//
//
// A kernel op (ir/kernel/) is reduced to one of these specs; each target has
// one emitter per spec, a pure function from spec and target features to code.
// Two kernel ops with equal specs share one kernel: a spec holds constants of
// the model only, never a token count, a layer or a name.
//
// Every buffer is named in the order in which a launch binds it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::kernel {

/// One operation of a row-wise body. A row-wise kernel computes every row of
/// its results from the same row of its operands; a row is a vector of `width`
/// numbers held as f32. Operations name their inputs by position: inputs of
/// the kernel first, then earlier operations.
struct RowOp {
  enum class Kind {
    // In: buffers.
    Load,    // operand `buffer`, row r
    LoadRow, // operand `buffer` is one row [width]; the same for every row
    Gather,  // operand `buffer` is a table [*, width], row index[r] of operand
             // `index` (i32)
    // Arithmetic on rows of equal width (rounded to nothing: f32 inside). The
    // right operand of Add, Sub and Mul may have width 1: a number a row.
    Add,
    Sub,
    Mul,
    Scale /* by `scalar` */,
    Silu,
    GeluTanh,
    GeluErf,
    QuickGelu,
    Relu,
    SquaredRelu,
    Sigmoid,
    Tanh,
    Clamp, // to [-scalar, scalar]; NaN stays
    Slice, // columns [start, start + width)
    Cast,  // rounds to `element` and back
    // Reductions over each of `groups` equal parts of the row; weight row is
    // inputs[1] (width / groups numbers), bias inputs[2] (layer norm).
    RmsNorm,
    LayerNorm,
    // Rotates pairs of each head by position: `groups` heads, operand `index`
    // holds positions (i32) by row.
    Rope,
    // Of each of `groups` heads the columns of inputs[0], then those of
    // inputs[1]; all heads get inputs[1] whole if it has one head's width.
    JoinHeads,
  };
  Kind kind;
  std::vector<int> inputs = {};
  int buffer = -1;
  int index = -1;
  int64_t width = 0;
  int64_t start = 0;
  int64_t groups = 1;
  double scalar = 0; // Scale: factor. Norms: epsilon. Clamp: limit.
  ElementType element = ElementType::f32;
  // Rope: frequency of pair i is inverseFrequencies[i] (rotary pairs of one
  // head; other columns pass), interleaved pairs (2i, 2i+1) or half-split.
  std::vector<double> inverseFrequencies = {};
  bool interleaved = false;
  double magnitude = 1; // Rope: what turns is multiplied by it.

  friend bool operator==(const RowOp &, const RowOp &) = default;
};

/// Buffers: operands, then results (`stores`, one a result). Extents: rows.
struct RowwiseSpec {
  struct Operand {
    ElementType element;
    friend bool operator==(const Operand &, const Operand &) = default;
  };
  struct Store {
    int op;
    ElementType element;
    friend bool operator==(const Store &, const Store &) = default;
  };
  std::vector<Operand> operands;
  std::vector<RowOp> ops;
  std::vector<Store> stores;
  friend bool operator==(const RowwiseSpec &, const RowwiseSpec &) = default;
};

enum class Activation {
  None,
  Silu,
  GeluTanh,
  GeluErf,
  QuickGelu,
  Relu,
  SquaredRelu
};

/// out[m, n] = epilogue(sum over k of a[row(m), k] * w[n, k]), summed in f32 in
/// ascending k, the same for every m, batch and tile.
///
/// Buffers: a [rows, k], [rowIndex i32 [m]], w (packed panels; gated_panels if
/// gated), [bias [n] f32; if gated [2, n]], [residual [m, n]], out [m, n].
/// Extents: m.
/// Epilogue, in this order: + bias; activation, times up if gated; + residual;
/// round to `out`.
struct GemmSpec {
  int64_t n = 0;
  int64_t k = 0;
  ElementType a = ElementType::f32;
  ElementType w = ElementType::f32;
  ElementType out = ElementType::f32;
  bool rowIndex = false;
  bool bias = false;
  bool gated = false;
  Activation activation = Activation::None;
  bool residual = false;
  ElementType residualElement = ElementType::f32;
  friend bool operator==(const GemmSpec &, const GemmSpec &) = default;
};

/// The GEMM of every expert over its own rows. Pairs are (token, expert)
/// choices, numbered token-major: pair p belongs to token p / topk if
/// `topk` > 0, otherwise to the token t with tokenOffsets[t] <= p <
/// tokenOffsets[t + 1].
///
/// form Grouped (prefill): expertOffsets i32 [experts + 1] and order i32
///   [pairs]: pairs order[expertOffsets[e] .. expertOffsets[e + 1]) chose e.
/// form Direct (decode): pairExpert i32 [pairs], -1 where there is no pair;
///   nothing is sorted; a task is a pair and some panels, only the chosen
///   experts' weights are read.
///
/// Buffers: a [tokens, k] if gather, else [pairs, k] token-major;
///   Grouped: expertOffsets, order; Direct: pairExpert;
///   [tokenOffsets i32 [tokens + 1] if topk == 0 and gather];
///   w (panels of [experts, n, k]; gated_panels if gated), [bias [experts, n],
///   gated [experts, 2, n]], [pairWeight f32 [pairs] if weighted], out [pairs,
///   n] in token-major pair order.
/// Extents: pairs (host bound; Grouped: the true count is
///   expertOffsets[experts]), [tokens if there are tokenOffsets].
/// Epilogue: + bias; activation, times up if gated; times pairWeight if
/// weighted; round to `out`.
struct RaggedGemmSpec {
  enum class Form { Grouped, Direct };
  Form form = Form::Grouped;
  int64_t experts = 0;
  int64_t topk = 0;
  int64_t n = 0;
  int64_t k = 0;
  ElementType a = ElementType::f32;
  ElementType w = ElementType::f32;
  ElementType out = ElementType::f32;
  bool gather = false;
  bool bias = false;
  bool gated = false;
  Activation activation = Activation::None;
  bool weighted = false;
  bool searchesToken() const { return topk == 0 && gather; }
  friend bool operator==(const RaggedGemmSpec &,
                         const RaggedGemmSpec &) = default;
};

/// Appends rows of x [tokens, heads * headDim] to a paged cache.
/// Cache of keys: [blocks, heads, headDim, blockSize]; of values:
/// [blocks, heads, blockSize, headDim]. Token t of sequence s (seqOffsets i32
/// [seqs + 1]) at position p = positions[t] goes to block
/// blockTable[s, p / blockSize], slot p % blockSize.
/// Buffers: cache (in and out), x, positions, seqOffsets, blockTable.
/// Extents: tokens, seqs, blocks a row of blockTable.
struct KvAppendSpec {
  bool key = true;
  int64_t heads = 0;
  int64_t headDim = 0;
  int64_t blockSize = 0;
  ElementType x = ElementType::f32;
  ElementType cache = ElementType::f32;
  friend bool operator==(const KvAppendSpec &, const KvAppendSpec &) = default;
};

/// Causal grouped-query attention over the paged cache: token t attends to
/// positions [max(0, p - window + 1), p] of its sequence (window 0: no limit);
/// softmax in f32; query head h reads cache head h / (heads / kvHeads). Scores
/// s become softcap * tanh(s / softcap) unless softcap is 0.
/// Buffers: q [tokens, heads * headDim], keys, values, positions, seqOffsets,
///   blockTable, out [tokens, heads * valueDim].
/// Extents: tokens, seqs, blocks a row of blockTable.
struct AttentionSpec {
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  int64_t valueDim = 0; // 0: as headDim.
  int64_t blockSize = 0;
  int64_t window = 0;
  double scale = 0;
  double softcap = 0;
  ElementType q = ElementType::f32;
  ElementType cache = ElementType::f32;
  ElementType out = ElementType::f32;

  int64_t valueWidth() const { return valueDim ? valueDim : headDim; }

  friend bool operator==(const AttentionSpec &,
                         const AttentionSpec &) = default;
};

/// Chooses experts for tokens from logits [tokens, experts] f32, as RouteAttrs
/// of ir/ops/MoeOps.h says; `topk` is its k.
///
/// Where every token has `topk` pairs, pair p is of token p / topk and
/// tokenOffsets is not bound. If `ragged()`, the pairs of a token are those of
/// tokenOffsets; pairExpert is -1 behind the last pair. Counters get +1 per
/// pair (atomic).
/// Buffers: logits, [selectBias f32 [experts]], [counters i64 [experts] (in and
///   out) if counts], [tokenOffsets i32 [tokens + 1] if ragged()], pairExpert
///   i32 [pairs], pairWeight f32 [pairs].
/// Extents: tokens, [pairs (host bound) if ragged()].
struct RouteSpec {
  enum class Score { Softmax, Sigmoid, Identity, Relu };
  /// None: the score; Sum: divided by max(the sum of the chosen + epsilon,
  /// renormMinimum); SoftmaxSelected: softmax over the chosen logits.
  enum class Renorm { None, Sum, SoftmaxSelected };
  enum class Select { TopK, TopP, Threshold, All, ExpertChoice, SparseMixer };
  int64_t experts = 0;
  int64_t topk = 0;
  Score score = Score::Softmax;
  Renorm renorm = Renorm::None;
  double renormEpsilon = 0;
  double scale = 1;
  bool selectBias = false;
  bool counts = true;
  bool zscore = false;
  double logitScale = 1;
  int64_t groups = 1;
  int64_t topGroups = 1;
  /// How many of a group's best keys make its score.
  int64_t groupSummed = 1;
  /// Keys of other groups become 0, not -inf.
  bool maskZero = false;
  Select select = Select::TopK;
  /// TopP, SparseMixer: as in RouteAttrs. Threshold: what a key must exceed.
  double threshold = 0;
  double renormMinimum = 0;
  double capacity = 0;
  bool dropByWeight = false;

  bool ragged() const {
    return capacity != 0 || select == Select::TopP ||
           select == Select::Threshold || select == Select::ExpertChoice;
  }
  friend bool operator==(const RouteSpec &, const RouteSpec &) = default;
};

/// Expert-major order of pairs: a stable counting sort, one task.
/// Buffers: pairExpert i32 [pairs], expertOffsets i32 [experts + 1],
///   order i32 [pairs]. Extents: pairs (host bound; if `ragged`, pairExpert is
///   -1 where there is no pair).
struct DispatchSpec {
  int64_t experts = 0;
  bool ragged = false;
  friend bool operator==(const DispatchSpec &, const DispatchSpec &) = default;
};

/// out[t] = residual[t] + sum over the token's pairs, ascending, of
/// weight[p] * y[p] (weight only if `weighted`). The pairs of token t are
/// `topk` from t * topk on, or, if topk == 0, those of tokenOffsets.
/// Buffers: y [pairs, width], [tokenOffsets i32 [tokens + 1] if topk == 0],
///   [pairWeight f32], [residual], out.
/// Extents: tokens.
struct CombineSpec {
  int64_t topk = 0;
  int64_t width = 0;
  bool weighted = false;
  bool residual = false;
  ElementType y = ElementType::f32;
  ElementType residualElement = ElementType::f32;
  ElementType out = ElementType::f32;
  friend bool operator==(const CombineSpec &, const CombineSpec &) = default;
};

/// out[t]: the columns of head h times the weight of expert h % experts among
/// the token's pairs, 0 if it is not there. Pairs of a token as for Combine.
/// Buffers: x [tokens, heads * headDim], [tokenOffsets i32 [tokens + 1] if topk
///   == 0], pairExpert i32 [pairs], pairWeight f32 [pairs], out.
/// Extents: tokens.
struct GateHeadsSpec {
  int64_t heads = 0;
  int64_t headDim = 0;
  int64_t experts = 0;
  int64_t topk = 0;
  ElementType x = ElementType::f32;
  ElementType out = ElementType::f32;
  friend bool operator==(const GateHeadsSpec &,
                         const GateHeadsSpec &) = default;
};

} // namespace moec::kernel
