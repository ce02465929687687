//===- Expr.h - weights as expressions over source tensors ----------------===//
//
// A weight is defined by an expression, for example
//
//   weight @layers.0.moe.up : tensor<[8, 1536, 576], bf16> =
//     stack(resample(@layers.0.ffn.up, {axis = 0, count = 768, ...}), ...)
//
// Nothing is computed until the weight is materialised (ir/interp). An
// expression is immutable and may be shared between weights.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "ir/core/Type.h"
#include "ir/support/Diagnostic.h"

namespace moec {

class Module;
class SourceFile;
class Weight;
class Expr;
using ExprRef = std::shared_ptr<const Expr>;

enum class ExprKind : uint8_t {
#define EXPR(Name, Mnemonic, Attrs, MinArgs, MaxArgs) Name,
#include "ir/core/Exprs.def"
};

/// How deep expressions nest at most, weights that refer to weights included;
/// bounds the recursion of everybody who walks one.
inline constexpr unsigned kMaxExprDepth = 200;
/// How many expressions one is at most where each shared one counts as often as
/// it is used: whoever computes or walks an expression does so. An expert bank
/// of the largest models has some 100,000.
inline constexpr uint64_t kMaxExprNodes = 1 << 20;

class Expr {
public:
  ExprKind kind;
  std::vector<ExprRef> args;
  /// Ref only: the weight that is meant.
  Weight *weight = nullptr;
  /// Source only: the checkpoint that holds the tensor.
  SourceFile *file = nullptr;
  std::unique_ptr<Attributes> attributes;
  /// Derived from arguments and attributes when the expression is made.
  TensorType type;
  /// 1 for a leaf; a ref is one deeper than what it refers to.
  unsigned depth = 1;
  /// 1 for a leaf; all that is reached from here, shared ones counted anew.
  uint64_t nodes = 1;

  template <typename T> const T &attrs() const {
    return static_cast<const T &>(*attributes);
  }

  /// Makes an expression and derives its type; the error says which rule of
  /// the kind (Exprs.def) the arguments break.
  static llvm::Expected<ExprRef> make(ExprKind kind, std::vector<ExprRef> args,
                                      std::unique_ptr<Attributes> attrs,
                                      Weight *weight = nullptr,
                                      SourceFile *file = nullptr,
                                      Location loc = {});
};

llvm::StringRef exprName(ExprKind kind);
std::optional<ExprKind> parseExprKind(llvm::StringRef name);
std::unique_ptr<Attributes> makeExprAttrs(ExprKind kind);

/// A tensor of a checkpoint. `shape` and `element` are as stored.
struct SourceAttrs final : AttrsOf<SourceAttrs> {
  std::string key;
  std::vector<int64_t> shape;
  ElementType element = ElementType::f32;
  template <typename V> void fields(V &v) {
    v.field("key", key);
    v.field("shape", shape);
    v.field("element", element);
  }
};

struct SliceExprAttrs final : AttrsOf<SliceExprAttrs> {
  int64_t axis = 0, start = 0, size = 0;
  template <typename V> void fields(V &v) {
    v.field("axis", axis);
    v.field("start", start);
    v.field("size", size);
  }
};

/// Slices indices[start], ..., indices[start + count) along `axis` (count -1:
/// to the end of the indices). `permutation` says that the indices name every
/// slice of the axis once, which is checked when they are read.
struct TakeAttrs final : AttrsOf<TakeAttrs> {
  int64_t axis = 0, start = 0, count = -1;
  bool permutation = false;
  template <typename V> void fields(V &v) {
    v.field("axis", axis);
    v.field("start", start);
    v.field("count", count);
    v.field("permutation", permutation);
  }
};

struct AxisAttrs final : AttrsOf<AxisAttrs> {
  int64_t axis = 0;
  template <typename V> void fields(V &v) { v.field("axis", axis); }
};

struct ElementAttrs final : AttrsOf<ElementAttrs> {
  ElementType element = ElementType::f32;
  template <typename V> void fields(V &v) { v.field("element", element); }
};

struct FactorAttrs final : AttrsOf<FactorAttrs> {
  double factor = 1;
  template <typename V> void fields(V &v) { v.field("factor", factor); }
};

struct HeadsAttrs final : AttrsOf<HeadsAttrs> {
  int64_t heads = 1;
  template <typename V> void fields(V &v) { v.field("heads", heads); }
};

struct ShapeAttrs final : AttrsOf<ShapeAttrs> {
  std::vector<int64_t> shape;
  template <typename V> void fields(V &v) { v.field("shape", shape); }
};

/// Repeats each slice along `axis` `each` times in place, then the whole
/// `times` times: [a, b] with each 2, times 2 is [a, a, b, b, a, a, b, b].
struct RepeatAttrs final : AttrsOf<RepeatAttrs> {
  int64_t axis = 0, each = 1, times = 1;
  template <typename V> void fields(V &v) {
    v.field("axis", axis);
    v.field("each", each);
    v.field("times", times);
  }
};

/// What keys a random stream (spec: design.md section 3, Randomness).
struct RandomAttrs {
  int64_t seed = 0;
  /// Canonical weight name, independent of the pass that made the weight.
  std::string weight;
  int64_t expert = -1;
  std::string matrix;
  template <typename V> void randomFields(V &v) {
    v.field("seed", seed);
    v.field("weight", weight);
    v.field("expert", expert);
    v.field("matrix", matrix);
  }
};

/// Permutes the slices along `axis`.
struct PermuteAttrs final : AttrsOf<PermuteAttrs>, RandomAttrs {
  int64_t axis = 0;
  template <typename V> void fields(V &v) {
    v.field("axis", axis);
    randomFields(v);
  }
};

enum class Statistics : unsigned { selected, whole };
inline llvm::ArrayRef<llvm::StringRef> enumNames(Statistics) {
  static const llvm::StringRef names[] = {"selected", "whole"};
  return names;
}

/// Drop-Upcycling (spec 1.1): redraws `count` slices along `axis` from a normal
/// distribution with the mean and the unbiased standard deviation of the
/// selected slices, or of the whole tensor. The index set is keyed by
/// (seed, "drop.select", set, expert): matrices that name one `set` share it.
/// Values are keyed by (seed, "drop.value", weight, expert, matrix).
struct ResampleAttrs final : AttrsOf<ResampleAttrs>, RandomAttrs {
  int64_t axis = 0, count = 0;
  std::string set;
  Statistics statistics = Statistics::selected;
  template <typename V> void fields(V &v) {
    v.field("axis", axis);
    v.field("count", count);
    v.field("set", set);
    v.field("statistics", statistics);
    randomFields(v);
  }
};

/// Adds normal noise, or replaces by it, in `count` slices along `axis` (-1:
/// all). `relative` measures `deviation` in standard deviations of the tensor.
struct NoiseAttrs final : AttrsOf<NoiseAttrs>, RandomAttrs {
  double deviation = 0.02;
  bool relative = false, replace = false;
  int64_t axis = 0, count = -1;
  template <typename V> void fields(V &v) {
    v.field("deviation", deviation);
    v.field("relative", relative);
    v.field("replace", replace);
    v.field("axis", axis);
    v.field("count", count);
    randomFields(v);
  }
};

struct NormalAttrs final : AttrsOf<NormalAttrs>, RandomAttrs {
  std::vector<int64_t> shape;
  double mean = 0, deviation = 0.02;
  template <typename V> void fields(V &v) {
    v.field("shape", shape);
    v.field("mean", mean);
    v.field("deviation", deviation);
    randomFields(v);
  }
};

/// Uniform in [low, high); `centered` subtracts the mean of the drawn numbers
/// (spec 1.2, torch_rand_002).
struct UniformAttrs final : AttrsOf<UniformAttrs>, RandomAttrs {
  std::vector<int64_t> shape;
  double low = 0, high = 1;
  bool centered = false;
  template <typename V> void fields(V &v) {
    v.field("shape", shape);
    v.field("low", low);
    v.field("high", high);
    v.field("centered", centered);
    randomFields(v);
  }
};

struct FillAttrs final : AttrsOf<FillAttrs> {
  std::vector<int64_t> shape;
  double value = 0;
  template <typename V> void fields(V &v) {
    v.field("shape", shape);
    v.field("value", value);
  }
};

} // namespace moec
