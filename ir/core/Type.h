//===- Type.h - the type of a value ---------------------------------------===//
#pragma once

#include "ir/core/Dim.h"
#include "ir/support/ElementType.h"

#include <string>

namespace moec {

/// The most dimensions that a type has.
inline constexpr unsigned kMaxRank = 16;

/// `tensor<[tokens, 576], bf16>`: a dense row-major tensor.
class TensorType {
public:
  TensorType() = default;
  TensorType(llvm::ArrayRef<Dim> shape, ElementType element)
      : dims(shape.begin(), shape.end()), elementType(element) {}

  ElementType element() const { return elementType; }
  llvm::ArrayRef<Dim> shape() const { return dims; }
  unsigned rank() const { return dims.size(); }
  /// Dimension `i`; negative counts from the back.
  Dim dim(int i) const { return dims[i < 0 ? int(dims.size()) + i : i]; }
  bool isStatic() const;
  /// Product of the dimensions; nothing where it overflows or a dimension is
  /// no constant.
  std::optional<int64_t> staticElements() const;
  Polynomial elements() const;

  TensorType withElement(ElementType element) const {
    return TensorType(dims, element);
  }
  friend bool operator==(const TensorType &, const TensorType &) = default;
  void print(llvm::raw_ostream &os) const;

  /// What makes the type one that no plan can hold: more than kMaxRank
  /// dimensions, a negative one, or more than 2^62 bytes where symbols have
  /// their maxima. Empty for a good
  /// type, whose sizes may then be added and multiplied without checks.
  std::string sizeProblem() const;

private:
  llvm::SmallVector<Dim, 4> dims;
  ElementType elementType = ElementType::f32;
};

llvm::raw_ostream &operator<<(llvm::raw_ostream &os, const TensorType &type);

} // namespace moec
