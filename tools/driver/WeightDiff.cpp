//===- WeightDiff.cpp - the numbers of two models' weights ----------------===//

#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "tools/driver/ModuleDiff.h"
#include "tools/driver/StreamRunner.h"

#include <cmath>

using namespace moec;

namespace {
/// Sums over all elements of two tensors, part by part.
struct Sums {
  double before = 0, after = 0, product = 0, difference = 0, most = 0;

  void add(llvm::ArrayRef<float> left, llvm::ArrayRef<float> right) {
    for (size_t i = 0; i < left.size(); ++i) {
      double a = left[i], b = right[i], d = b - a;
      before += a * a;
      after += b * b;
      product += a * b;
      difference += d * d;
      // NaN stays.
      most = std::abs(d) <= most ? most : std::abs(d);
    }
  }

  void add(const Sums &other) {
    before += other.before;
    after += other.after;
    product += other.product;
    difference += other.difference;
    most = other.most <= most ? most : other.most;
  }

  NumberDiff finish() const {
    NumberDiff diff;
    diff.maxDifference = most;
    diff.relative = difference == 0 ? 0
                    : before > 0    ? std::sqrt(difference / before)
                                    : INFINITY;
    double norms = std::sqrt(before * after);
    diff.cosine = difference == 0 ? 1
                  : norms > 0     ? std::clamp(product / norms, -1.0, 1.0)
                                  : 0;
    return diff;
  }
};

/// One comparison: a weight with its namesake, or a bank with a dense matrix.
struct Task {
  WeightDiff *diff;
  const Weight *before;
  bool experts;
};
} // namespace

static llvm::Error compareAlike(WeightDiff &diff, TensorReader &before,
                                TensorReader &after, unsigned threads) {
  const TensorType &type = diff.before->type();
  // Banks expert by expert; all else in one piece.
  int64_t rows = type.rank() > 2 ? type.dim(0).constant() : 1;
  std::vector<Sums> sums(rows);
  MOEC_TRY(parallelFor(rows, threads, [&](uint64_t row) -> llvm::Error {
    auto load = [&](const Weight &weight, TensorReader &reader) {
      return type.rank() > 2 ? materializeRow(*weight.expr, row, reader)
                             : materialize(*weight.expr, reader);
    };
    MOEC_ASSIGN(std::vector<float> left, load(*diff.before, before));
    MOEC_ASSIGN(std::vector<float> right, load(*diff.after, after));
    sums[row].add(left, right);
    return llvm::Error::success();
  }));
  Sums all;
  for (const Sums &one : sums)
    all.add(one);
  diff.numbers = all.finish();
  return llvm::Error::success();
}

static llvm::Error compareExperts(WeightDiff &diff, const Weight &dense,
                                  TensorReader &before, TensorReader &after,
                                  unsigned threads) {
  MOEC_ASSIGN(std::vector<float> left, materialize(*dense.expr, before));
  int64_t experts = diff.after->type().dim(0).constant();
  diff.comparedWith = dense.name;
  diff.experts.resize(experts);
  return parallelFor(experts, threads, [&](uint64_t e) -> llvm::Error {
    MOEC_ASSIGN(std::vector<float> right,
                materializeRow(*diff.after->expr, e, after));
    Sums sums;
    sums.add(left, right);
    diff.experts[e] = sums.finish();
    return llvm::Error::success();
  });
}

/// `layers.3.ffn.up` for the bank `layers.3.moe.up`, if its experts have the
/// same shape.
static const Weight *denseOf(const WeightDiff &bank, const ModuleDiff &diff) {
  std::string name = bank.name;
  size_t at = name.find(".moe.");
  if (bank.before || at == std::string::npos)
    return nullptr;
  name.replace(at, 5, ".ffn.");
  for (const WeightDiff &other : diff.weights)
    if (other.before && other.name == name &&
        other.before->type().shape() == bank.after->type().shape().drop_front())
      return other.before;
  return nullptr;
}

llvm::Error
moec::compareWeights(ModuleDiff &diff, TensorReader &before,
                     TensorReader &after, unsigned threads,
                     llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  if (!threads)
    threads = defaultThreads();
  std::vector<Task> tasks;
  for (WeightDiff &weight : diff.weights) {
    if (weight.before && weight.after &&
        weight.before->type().shape() == weight.after->type().shape())
      tasks.push_back({&weight, weight.before, false});
    else if (const Weight *dense =
                 weight.after ? denseOf(weight, diff) : nullptr)
      tasks.push_back({&weight, dense, true});
  }
  uint64_t done = 0;
  for (Task &task : tasks) {
    MOEC_TRY(checkInterrupt());
    llvm::Error err =
        task.experts
            ? compareExperts(*task.diff, *task.before, before, after, threads)
            : compareAlike(*task.diff, before, after, threads);
    if (err)
      return withNote(std::move(err), task.before->loc,
                      "while comparing weight '" + task.diff->name + "'");
    progress(++done, tasks.size());
  }
  diff.numbersCompared = true;
  return llvm::Error::success();
}
