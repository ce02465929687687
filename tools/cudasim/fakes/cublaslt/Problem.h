//===- Problem.h - one matmul, checked ------------------------------------===//
#pragma once

#include "tools/cudasim/fakes/cublaslt/Descriptors.h"

#include <vector>

namespace cudasim::cublaslt {

/// One operand as it lies in memory.
struct Matrix {
  Layout layout;
  uint64_t address = 0;

  /// The element at a row and column of a batch entry, in elements.
  uint64_t at(uint64_t batch, uint64_t row, uint64_t col) const {
    uint64_t inside = layout.order == CUBLASLT_ORDER_ROW
                          ? row * uint64_t(layout.ld) + col
                          : col * uint64_t(layout.ld) + row;
    return batch * uint64_t(layout.stride) + inside;
  }
  /// Bytes from the first element to behind the last.
  uint64_t bytes() const;
};

/// D = epilogue(alpha op(A) op(B) + beta C): everything that running needs.
struct Problem {
  Desc desc;
  Matrix a;
  Matrix b;
  Matrix c;
  Matrix d;
  uint64_t m = 0;
  uint64_t n = 0;
  uint64_t k = 0;
  uint64_t batch = 1;
  int device = 0;
  /// Where the pointer mode is host; otherwise the addresses.
  double alpha = 1;
  double beta = 0;
  uint64_t alphaAt = 0;
  uint64_t betaAt = 0;
  uint64_t workspace = 0;
  uint64_t workspaceBytes = 0;

  int biasType() const;
  int auxType() const;
  bool hasBias() const { return desc.epilogue & CUBLASLT_EPILOGUE_BIAS; }
  /// Writes a gradient of the bias where the bias pointer says.
  bool hasBiasGradient() const;
  bool hasAux() const { return desc.epilogue & 128; }
  bool readsAux() const;
  /// The aux buffer is a mask of bits.
  bool auxIsMask() const;
  uint64_t biasLength() const;
  bool readsC() const { return betaAt != 0 || beta != 0; }
};

/// From the descriptors, without pointers: types, orders, shapes, leading
/// dimensions, batches, epilogue.
cublasStatus_t describe(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                        cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                        cublasLtMatrixLayout_t d, Problem &problem);

/// Ranges, alignment and overlap, once addresses and device are known.
cublasStatus_t checkPointers(const Problem &problem, const Algo &algo);

/// A range that a matmul touches.
struct Range {
  const char *what;
  uint64_t address;
  uint64_t bytes;
  bool write;
};
std::vector<Range> rangesOf(const Problem &problem);

/// Computes it. The memory was checked.
void compute(const Problem &problem);

} // namespace cudasim::cublaslt
