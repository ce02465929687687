//===- SmallProduct.h - a few rows times rows in memory -------------------===//
//
//   c[row][column] = or += sum over k of a[row][k] * b[k][column]
//
// Rows of a and c lie in scratch, c in f32. Each sum is one chain in ascending
// k, so a row's bits do not depend on how many rows there are.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/cpu/Emitter.h"

namespace moec::cpu {

struct ProductShape {
  llvm::StringRef name;
  int64_t columns = 0;
  ElementType element = ElementType::f32; ///< of b
  int64_t aStride = 0, bStride = 0, cStride = 0;
  bool accumulates = false;
  /// Two k at a time, by bf16 products: a and b are bf16, a step's count is
  /// that of pairs. Needs CpuLevel::Avx512Bf16 and `fitsPairs(columns)`.
  bool pairs = false;
  /// Above 0, b is given as a list of addresses, each of so many steps of k
  /// that follow one another in a; a call's count is that of addresses.
  int64_t listedSteps = 0;
};

class SmallProduct {
public:
  SmallProduct(Emitter &e, const ProductShape &shape) : e(e), shape(shape) {}

  static bool fitsPairs(int64_t columns) { return columns % 16 == 0; }

  /// Emits the functions; call once, before the kernel's body.
  void define();
  /// `count` steps of k, from the addresses on, for `rows` rows.
  void call(Value *rows, Value *a, Value *b, Value *c, Value *count) const;

private:
  int64_t partColumns() const;
  llvm::SmallVector<unsigned> rowSizes() const;
  Values loadStep(Value *bRow, unsigned vectors, unsigned lanes) const;

  Emitter &e;
  const ProductShape shape;
  llvm::SmallVector<llvm::Function *> functions; ///< by rowSizes()
};

} // namespace moec::cpu
