//===- TensorOps.h - dense tensor ops -------------------------------------===//
//
// All compute in f32 from their operands' values and round once to the element
// type of the result. "rows" is any number of leading dimensions.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"

namespace moec {

enum class ActivationFn : unsigned {
  silu,
  gelu_tanh,
  gelu_erf,
  quick_gelu,
  relu,
  squared_relu,
  sigmoid,
  tanh
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(ActivationFn) {
  static const llvm::StringRef names[] = {
      "silu", "gelu_tanh",    "gelu_erf", "quick_gelu",
      "relu", "squared_relu", "sigmoid",  "tanh"};
  return names;
}

/// `%y = activation %x {fn = silu}`: the function of each element.
///   gelu_tanh  0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
///   gelu_erf   0.5 x (1 + erf(x / sqrt 2))
///   quick_gelu x sigmoid(1.702 x)
///   squared_relu max(x, 0)^2
///
///   (C1) x is a float tensor
///   (C2) the result has the shape of x
struct ActivationAttrs final : AttrsOf<ActivationAttrs> {
  ActivationFn fn = ActivationFn::silu;
  template <typename V> void fields(V &v) { v.field("fn", fn); }
};

/// `%y = add %a, %b`, `sub`, `mul`: element by element.
///
///   (C1) a and b are float tensors
///   (C2) a and b have one shape, or b is one row, [a's last dimension], or
///        beside a [rows, columns] one column, [rows, 1]
///   (C3) the result has the shape of a

/// `%y = cast %x`: x rounded to the element type of the result.
///
///   (C1) x and the result are float tensors of one shape

/// `%y = clamp %x {limit = 8.0}`: x held within [-limit, limit]; NaN stays.
///
///   (C1) x is a float tensor
///   (C2) the result has the shape of x
///   (C3) limit > 0
struct ClampAttrs final : AttrsOf<ClampAttrs> {
  double limit = 1;
  template <typename V> void fields(V &v) { v.field("limit", limit); }
};

/// `%y = embedding @table, %index`: row index[t] of the table. An index outside
/// the table is an error of the caller; the interpreter diagnoses it.
///
///   (C1) table is a float matrix
///   (C2) index is i32 [tokens]
///   (C3) the result is [tokens, table's columns]

/// `%y = gather_rows %x, %rows`: row rows[i] of x.
///
///   (C1) x is a float matrix
///   (C2) rows is i32 [count]
///   (C3) the result is [count, x's columns]

/// `%y = layer_norm %x, @weight, @bias`: (x - mean) / sqrt(variance + epsilon)
/// * weight + bias over the last dimension; variance over the whole row.
///
///   (C1) x is a float tensor of rank at least 1
///   (C2) weight and bias are [last dimension]
///   (C3) the result has the shape of x
///   (C4) epsilon >= 0
struct LayerNormAttrs final : AttrsOf<LayerNormAttrs> {
  double epsilon = 1e-5;
  template <typename V> void fields(V &v) { v.field("epsilon", epsilon); }
};

/// `%y = linear %x, @weight[, @bias]`: x weight^T + bias, summed in f32.
///
///   (C1) x is [tokens, in], weight [out, in]
///   (C2) bias is [out]
///   (C3) the result is [tokens, out]

/// `%y = rms_norm %x, @weight`: x / sqrt(mean(x^2) + epsilon) * weight over
/// each of `groups` equal parts of the last dimension (one head each in
/// qk-norm).
///
///   (C1) x is a float tensor of rank at least 1
///   (C2) groups >= 1 and divides the last dimension
///   (C3) weight is [last dimension / groups]
///   (C4) the result has the shape of x
///   (C5) epsilon >= 0
struct RmsNormAttrs final : AttrsOf<RmsNormAttrs> {
  double epsilon = 1e-5;
  int64_t groups = 1;
  template <typename V> void fields(V &v) {
    v.field("epsilon", epsilon);
    v.field("groups", groups);
  }
};

/// `%y = scale %x {factor = 2.0}`: x times a constant.
///
///   (C1) x is a float tensor
///   (C2) the result has the shape of x
struct ScaleAttrs final : AttrsOf<ScaleAttrs> {
  double factor = 1;
  template <typename V> void fields(V &v) { v.field("factor", factor); }
};

/// `%y = slice %x {start = 0, size = 64}`: columns [start, start + size).
///
///   (C1) x is a float matrix
///   (C2) 0 <= start, 0 < size, start + size <= columns
///   (C3) the result is [rows, size] of x's element type
struct SliceAttrs final : AttrsOf<SliceAttrs> {
  int64_t start = 0, size = 0;
  template <typename V> void fields(V &v) {
    v.field("start", start);
    v.field("size", size);
  }
};

/// `return %a, %b`: ends a program. `yield %a`: ends the body of a kernel op.
///
///   (C1) stands last in its block, and nowhere else
///   (C2) return: one operand per named result; yield: types of the op's
///   results

} // namespace moec
