//===- Spectrum.h - singular values of small matrices ---------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace moec {

/// Singular values of a row-major matrix, largest first, as many as its shorter
/// side: roots of the eigenvalues of the shorter side's Gram matrix, in f64, by
/// Jacobi rotations. Values below about 1e-8 of the largest are noise. Not
/// finite where the matrix is not.
std::vector<double> singularValues(llvm::ArrayRef<float> matrix, int64_t rows,
                                   int64_t columns);

/// Eigenvalues of a symmetric row-major matrix, largest first.
std::vector<double> symmetricEigenvalues(std::vector<double> matrix,
                                         int64_t size);

/// How many singular values are not zero within the precision of their
/// computation: above 1e-6 of the largest.
int64_t numericalRank(llvm::ArrayRef<double> singularValues);

} // namespace moec
