//===- Clusters.h - k-means, free and balanced ----------------------------===//
//
// Seeded, and the same bits for any number of threads: sums run in one order,
// ties go to the lower index.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Philox.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <vector>

namespace moec {

/// A matrix of rows, row-major.
struct Rows {
  llvm::ArrayRef<float> numbers;
  size_t width;
  size_t count() const { return width ? numbers.size() / width : 0; }
  llvm::ArrayRef<float> operator[](size_t row) const {
    return numbers.slice(row * width, width);
  }
};

struct Clusters {
  /// The cluster of each row. Clusters are numbered by their lowest row.
  std::vector<int32_t> of;
  /// [clusters, width]: the mean of each cluster's rows.
  std::vector<float> centroids;
  /// Sum of squared distances to the centroids.
  double cost = 0;
  int64_t rounds = 0;
};

struct ClusterOptions {
  int64_t clusters = 8;
  /// Every cluster gets as many rows; their number must be a multiple.
  bool balanced = false;
  int64_t rounds = 50;
  RandomKey key;
  unsigned threads = 1;
};

/// Lloyd's algorithm from a k-means++ start. A cluster that loses all rows
/// takes the row that is farthest from its centroid. Balanced: rows are
/// assigned at least cost, exactly, by cancelling negative cycles.
llvm::Expected<Clusters> cluster(const Rows &rows,
                                 const ClusterOptions &options);

/// Sum of products: sixteen sums in a fixed order.
float dotProduct(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b);
/// Divides by the 2-norm; a row of zeros stays.
void normalize(llvm::MutableArrayRef<float> row);

} // namespace moec
