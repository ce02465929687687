#include "tools/driver/Clusters.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <limits>

using namespace moec;

float moec::dotProduct(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) {
  constexpr size_t kLanes = 16;
  float sums[kLanes] = {};
  size_t whole = a.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += a[i + lane] * b[i + lane];
  float sum = 0;
  for (float part : sums)
    sum += part;
  for (size_t i = whole; i < a.size(); ++i)
    sum += a[i] * b[i];
  return sum;
}

void moec::normalize(llvm::MutableArrayRef<float> row) {
  double sum = 0;
  for (float x : row)
    sum += double(x) * x;
  if (sum == 0)
    return;
  double factor = 1 / std::sqrt(sum);
  for (float &x : row)
    x = float(x * factor);
}

namespace {
class KMeans {
public:
  KMeans(const Rows &rows, const ClusterOptions &options)
      : rows(rows), options(options), k(options.clusters), count(rows.count()) {
  }

  llvm::Expected<Clusters> run();

private:
  double squared(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) const {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      double d = double(a[i]) - b[i];
      sum += d * d;
    }
    return sum;
  }
  llvm::ArrayRef<float> centroid(size_t c) const {
    return llvm::ArrayRef(out.centroids).slice(c * rows.width, rows.width);
  }
  void start();
  llvm::Error measure();
  void assignFree();
  void assignBalanced();
  bool cancelCycle();
  void moveCentroids();
  void renumber();

  const Rows &rows;
  const ClusterOptions &options;
  size_t k, count;
  /// [rows, clusters]: squared distances.
  std::vector<double> costs;
  Clusters out;
};
} // namespace

/// k-means++: each next centroid is a row, drawn by its squared distance to
/// the nearest one so far.
void KMeans::start() {
  out.centroids.resize(k * rows.width);
  std::vector<double> nearest(count, std::numeric_limits<double>::infinity());
  for (size_t c = 0; c < k; ++c) {
    size_t chosen = 0;
    if (c == 0) {
      chosen = uniformInt(options.key, 0, count);
    } else {
      double total = 0;
      for (double d : nearest)
        total += d;
      double target = uniform(options.key, c) * total;
      // All rows are centroids already: any row will do.
      chosen = c % count;
      for (size_t i = 0; total > 0 && i < count; ++i) {
        target -= nearest[i];
        if (nearest[i] > 0)
          chosen = i;
        if (target < 0)
          break;
      }
    }
    llvm::copy(rows[chosen], out.centroids.begin() + c * rows.width);
    for (size_t i = 0; i < count; ++i)
      nearest[i] = std::min(nearest[i], squared(rows[i], centroid(c)));
  }
}

llvm::Error KMeans::measure() {
  costs.resize(count * k);
  std::vector<double> norms(k);
  for (size_t c = 0; c < k; ++c)
    norms[c] = dotProduct(centroid(c), centroid(c));
  constexpr size_t kBlock = 64;
  return parallelFor((count + kBlock - 1) / kBlock, options.threads,
                     [&](uint64_t block) -> llvm::Error {
                       MOEC_TRY(checkInterrupt());
                       size_t end = std::min(count, (block + 1) * kBlock);
                       for (size_t i = block * kBlock; i < end; ++i) {
                         double own = dotProduct(rows[i], rows[i]);
                         for (size_t c = 0; c < k; ++c)
                           costs[i * k + c] =
                               own + norms[c] -
                               2.0 * dotProduct(rows[i], centroid(c));
                       }
                       return llvm::Error::success();
                     });
}

void KMeans::assignFree() {
  std::vector<size_t> sizes(k);
  for (size_t i = 0; i < count; ++i) {
    const double *own = &costs[i * k];
    out.of[i] = std::min_element(own, own + k) - own;
    ++sizes[out.of[i]];
  }
  for (size_t c = 0; c < k; ++c) {
    if (sizes[c])
      continue;
    size_t farthest = count;
    for (size_t i = 0; i < count; ++i)
      if (sizes[out.of[i]] > 1 &&
          (farthest == count ||
           costs[i * k + out.of[i]] > costs[farthest * k + out.of[farthest]]))
        farthest = i;
    if (farthest == count)
      continue;
    --sizes[out.of[farthest]];
    out.of[farthest] = c;
    ++sizes[c];
  }
}

/// Moves rows along one cycle of clusters that lowers the cost. Sizes stay.
bool KMeans::cancelCycle() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  // The cheapest row to move from a cluster to another.
  std::vector<double> change(k * k, kInfinity);
  std::vector<size_t> which(k * k);
  for (size_t i = 0; i < count; ++i) {
    size_t from = out.of[i];
    for (size_t to = 0; to < k; ++to) {
      double d = costs[i * k + to] - costs[i * k + from];
      if (to != from && d < change[from * k + to]) {
        change[from * k + to] = d;
        which[from * k + to] = i;
      }
    }
  }
  // Bellman and Ford, from everywhere at once.
  std::vector<double> distance(k, 0);
  std::vector<size_t> before(k, k);
  size_t changed = k;
  for (size_t round = 0; round < k; ++round) {
    changed = k;
    for (size_t a = 0; a < k; ++a)
      for (size_t b = 0; b < k; ++b)
        if (distance[a] + change[a * k + b] < distance[b] - 1e-9) {
          distance[b] = distance[a] + change[a * k + b];
          before[b] = a;
          changed = b;
        }
    if (changed == k)
      return false;
  }
  // So many steps back is on the cycle.
  size_t at = changed;
  for (size_t step = 0; step < k; ++step)
    at = before[at];
  std::vector<std::pair<size_t, size_t>> moves;
  size_t to = at;
  double gain = 0;
  do {
    size_t from = before[to];
    moves.emplace_back(which[from * k + to], to);
    gain += change[from * k + to];
    to = from;
  } while (to != at && moves.size() <= k);
  if (!(gain < -1e-9))
    return false;
  for (auto [row, cluster] : moves)
    out.of[row] = cluster;
  return true;
}

void KMeans::assignBalanced() {
  // A first assignment: rows that lose most by their second choice first.
  std::vector<std::pair<double, size_t>> order(count);
  for (size_t i = 0; i < count; ++i) {
    std::vector<double> own(&costs[i * k], &costs[i * k] + k);
    std::nth_element(own.begin(), own.begin() + std::min<size_t>(1, k - 1),
                     own.end());
    double second = own[std::min<size_t>(1, k - 1)];
    double first = *std::min_element(&costs[i * k], &costs[i * k] + k);
    order[i] = {first - second, i};
  }
  llvm::sort(order);
  std::vector<size_t> room(k, count / k);
  for (auto [loss, row] : order) {
    size_t best = k;
    for (size_t c = 0; c < k; ++c)
      if (room[c] && (best == k || costs[row * k + c] < costs[row * k + best]))
        best = c;
    out.of[row] = best;
    --room[best];
  }
  for (size_t move = 0; move < 4 * count && cancelCycle(); ++move)
    ;
}

void KMeans::moveCentroids() {
  std::vector<double> sums(k * rows.width);
  std::vector<size_t> sizes(k);
  for (size_t i = 0; i < count; ++i) {
    ++sizes[out.of[i]];
    for (size_t j = 0; j < rows.width; ++j)
      sums[out.of[i] * rows.width + j] += rows[i][j];
  }
  for (size_t c = 0; c < k; ++c)
    for (size_t j = 0; sizes[c] && j < rows.width; ++j)
      out.centroids[c * rows.width + j] =
          float(sums[c * rows.width + j] / sizes[c]);
}

void KMeans::renumber() {
  std::vector<int32_t> names(k, -1);
  int32_t next = 0;
  for (int32_t &c : out.of) {
    if (names[c] < 0)
      names[c] = next++;
    c = names[c];
  }
  std::vector<float> centroids(out.centroids.size());
  for (size_t c = 0; c < k; ++c) {
    if (names[c] < 0)
      names[c] = next++;
    llvm::copy(centroid(c), centroids.begin() + names[c] * rows.width);
  }
  out.centroids = std::move(centroids);
}

llvm::Expected<Clusters> KMeans::run() {
  if (k < 1 || k > count)
    return error() << "k-means wants " << k << " clusters of " << count
                   << " rows";
  if (options.balanced && count % k)
    return error() << "balanced k-means wants " << k << " clusters of equal "
                   << "size, but there are " << count << " rows";
  out.of.assign(count, -1);
  start();
  for (out.rounds = 0; out.rounds < options.rounds; ++out.rounds) {
    std::vector<int32_t> old = out.of;
    MOEC_TRY(measure());
    if (options.balanced)
      assignBalanced();
    else
      assignFree();
    if (out.of == old)
      break;
    moveCentroids();
  }
  out.cost = 0;
  for (size_t i = 0; i < count; ++i)
    out.cost += squared(rows[i], centroid(out.of[i]));
  renumber();
  return std::move(out);
}

llvm::Expected<Clusters> moec::cluster(const Rows &rows,
                                       const ClusterOptions &options) {
  return KMeans(rows, options).run();
}
