#include "tools/driver/Spectrum.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

/// Sweeps converge quadratically: a dozen is more than any matrix needs.
static constexpr int kMaxSweeps = 30;
static constexpr double kZero = 1e-6;

std::vector<double> moec::symmetricEigenvalues(std::vector<double> a,
                                               int64_t size) {
  auto at = [&](int64_t i, int64_t j) -> double & { return a[i * size + j]; };
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    double off = 0, diagonal = 0;
    for (int64_t i = 0; i < size; ++i) {
      diagonal += at(i, i) * at(i, i);
      for (int64_t j = i + 1; j < size; ++j)
        off += at(i, j) * at(i, j);
    }
    // NaN ends here as well.
    if (!(off > 1e-30 * diagonal))
      break;
    for (int64_t p = 0; p < size; ++p)
      for (int64_t q = p + 1; q < size; ++q) {
        if (at(p, q) == 0)
          continue;
        // The rotation that makes a[p][q] zero, by the smaller angle.
        double theta = (at(q, q) - at(p, p)) / (2 * at(p, q));
        double t = std::copysign(1.0, theta) /
                   (std::abs(theta) + std::sqrt(theta * theta + 1));
        double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int64_t k = 0; k < size; ++k) {
          double left = at(k, p), right = at(k, q);
          at(k, p) = c * left - s * right;
          at(k, q) = s * left + c * right;
        }
        for (int64_t k = 0; k < size; ++k) {
          double left = at(p, k), right = at(q, k);
          at(p, k) = c * left - s * right;
          at(q, k) = s * left + c * right;
        }
      }
  }
  std::vector<double> values;
  for (int64_t i = 0; i < size; ++i)
    values.push_back(at(i, i));
  llvm::sort(values, std::greater<>());
  return values;
}

std::vector<double> moec::singularValues(llvm::ArrayRef<float> matrix,
                                         int64_t rows, int64_t columns) {
  bool wide = rows <= columns;
  int64_t size = wide ? rows : columns, length = wide ? columns : rows;
  auto at = [&](int64_t vector, int64_t i) -> double {
    return wide ? matrix[vector * columns + i] : matrix[i * columns + vector];
  };
  std::vector<double> gram(size * size);
  for (int64_t p = 0; p < size; ++p)
    for (int64_t q = p; q < size; ++q) {
      double sum = 0;
      for (int64_t i = 0; i < length; ++i)
        sum += at(p, i) * at(q, i);
      gram[p * size + q] = gram[q * size + p] = sum;
    }
  std::vector<double> values = symmetricEigenvalues(std::move(gram), size);
  for (double &value : values)
    value = std::sqrt(std::max(value, 0.0));
  return values;
}

int64_t moec::numericalRank(llvm::ArrayRef<double> singularValues) {
  return llvm::count_if(singularValues, [&](double value) {
    return value > kZero * singularValues[0];
  });
}
