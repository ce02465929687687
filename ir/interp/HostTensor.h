//===- HostTensor.h - numbers on the host, for the interpreter ------------===//
#pragma once

#include "ir/support/ElementType.h"

#include <cstdint>
#include <vector>

namespace moec {

/// A row-major tensor. Floats are held as doubles, integers as int64, whatever
/// the element type; `element` says to what they were rounded.
struct HostTensor {
  ElementType element = ElementType::f32;
  std::vector<int64_t> shape;
  std::vector<double> floats;
  std::vector<int64_t> ints;

  static HostTensor ofFloats(ElementType element, std::vector<int64_t> shape);
  static HostTensor ofInts(ElementType element, std::vector<int64_t> shape);
  static HostTensor ofInts(std::vector<int64_t> numbers);

  int64_t elements() const;
  int64_t dim(int i) const { return shape[i < 0 ? int(shape.size()) + i : i]; }
  /// Elements per index of the first dimension.
  int64_t rowSize() const { return shape[0] ? elements() / shape[0] : 0; }
  double *row(int64_t i) { return floats.data() + i * rowSize(); }
  const double *row(int64_t i) const { return floats.data() + i * rowSize(); }
};

/// A double rounded to an element type: to nearest, ties to even.
double roundTo(ElementType element, double number);

} // namespace moec
