#include "ir/ops/AttentionOps.h"

#include "ir/interp/OpRunner.h"
#include "ir/ops/OpInfo.h"

#include <cmath>

using namespace moec;

llvm::Error interp::runRope(OpRunner &r) {
  const auto &attrs = r.op.attrs<RopeAttrs>();
  const HostTensor &x = r.in(0);
  HostTensor &y = r.makeFloats(x.shape);
  y.floats = x.floats;
  int64_t headDim = x.dim(1) / attrs.heads;
  int64_t pairs = attrs.inverseFrequencies.size();
  for (int64_t t = 0; t < x.dim(0); ++t)
    for (int64_t head = 0; head < attrs.heads; ++head)
      for (int64_t i = 0; i < pairs; ++i) {
        double angle = r.in(1).ints[t] * attrs.inverseFrequencies[i];
        double c = std::cos(angle), s = std::sin(angle);
        int64_t base = head * headDim;
        int64_t first = base + (attrs.interleaved ? 2 * i : i);
        int64_t second = base + (attrs.interleaved ? 2 * i + 1 : i + pairs);
        double a = x.row(t)[first], b = x.row(t)[second];
        y.row(t)[first] = (a * c - b * s) * attrs.magnitude;
        y.row(t)[second] = (a * s + b * c) * attrs.magnitude;
      }
  return llvm::Error::success();
}

llvm::Error interp::runJoinHeads(OpRunner &r) {
  const HostTensor &a = r.in(0), &b = r.in(1);
  int64_t heads = r.op.attrs<JoinHeadsAttrs>().heads;
  int64_t width = r.op.result().type().dim(1).constant();
  int64_t first = a.dim(1) / heads, second = width / heads - first;
  // Where b is one part, all heads take it.
  int64_t step = b.dim(1) == second ? 0 : second;
  HostTensor &y = r.makeFloats({a.dim(0), width});
  for (int64_t t = 0; t < a.dim(0); ++t)
    for (int64_t head = 0; head < heads; ++head) {
      double *to = y.row(t) + head * (first + second);
      std::copy_n(a.row(t) + head * first, first, to);
      std::copy_n(b.row(t) + head * step, second, to + first);
    }
  return llvm::Error::success();
}

namespace {
/// Where tokens live in the cache: operands (positions, seq_offsets,
/// block_table) from `first` on.
class Paging {
public:
  Paging(const OpRunner &r, unsigned first, int64_t blocks, int64_t blockSize)
      : r(r), first(first), blocks(blocks), blockSize(blockSize) {}

  llvm::Expected<int64_t> sequenceOf(int64_t token) const {
    const auto &offsets = r.in(first + 1).ints;
    for (size_t s = 0; s + 1 < offsets.size(); ++s)
      if (offsets[s] <= token && token < offsets[s + 1])
        return s;
    return opError(r.op) << "has token " << token << " in no sequence";
  }
  int64_t position(int64_t token) const { return r.in(first).ints[token]; }
  llvm::Expected<int64_t> blockOf(int64_t seq, int64_t position) const {
    const HostTensor &table = r.in(first + 2);
    int64_t column = position / blockSize;
    if (position < 0 || column >= table.dim(1))
      return opError(r.op) << "has position " << position
                           << ", outside the block table";
    return r.index(first + 2, seq * table.dim(1) + column, blocks);
  }

private:
  const OpRunner &r;
  unsigned first;
  int64_t blocks, blockSize;
};
} // namespace

llvm::Error interp::runKvAppend(OpRunner &r) {
  const HostTensor &cache = r.in(0), &x = r.in(1);
  bool key = r.op.attrs<KvAppendAttrs>().kind == CacheKind::key;
  int64_t heads = cache.dim(1), dim = cache.dim(key ? 2 : 3),
          block = cache.dim(key ? 3 : 2);
  Paging paging(r, 2, cache.dim(0), block);
  HostTensor &y = r.makeFloats(cache.shape);
  y.floats = cache.floats;
  for (int64_t t = 0; t < x.dim(0); ++t) {
    MOEC_ASSIGN(int64_t seq, paging.sequenceOf(t));
    int64_t position = paging.position(t), slot = position % block;
    MOEC_ASSIGN(int64_t page, paging.blockOf(seq, position));
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t d = 0; d < dim; ++d)
        y.row(page)[(head * dim * block) +
                    (key ? d * block + slot : slot * dim + d)] =
            x.row(t)[head * dim + d];
  }
  return llvm::Error::success();
}

llvm::Error interp::runAttention(OpRunner &r) {
  const auto &attrs = r.op.attrs<AttentionAttrs>();
  const HostTensor &q = r.in(0), &keys = r.in(1), &values = r.in(2);
  int64_t kvHeads = keys.dim(1), dim = keys.dim(2), block = keys.dim(3);
  int64_t group = attrs.heads / kvHeads, valueDim = values.dim(3);
  Paging paging(r, 3, keys.dim(0), block);
  HostTensor &y = r.makeFloats({q.dim(0), attrs.heads * valueDim});
  for (int64_t t = 0; t < q.dim(0); ++t) {
    MOEC_ASSIGN(int64_t seq, paging.sequenceOf(t));
    int64_t last = paging.position(t);
    int64_t begin =
        attrs.window ? std::max<int64_t>(0, last - attrs.window + 1) : 0;
    for (int64_t head = 0; head < attrs.heads; ++head) {
      const double *query = q.row(t) + head * dim;
      int64_t base = head / group * dim * block;
      int64_t valueBase = head / group * valueDim * block;
      std::vector<double> scores;
      double highest = -INFINITY;
      for (int64_t p = begin; p <= last; ++p) {
        MOEC_ASSIGN(int64_t page, paging.blockOf(seq, p));
        double score = 0;
        for (int64_t d = 0; d < dim; ++d)
          score += query[d] * keys.row(page)[base + d * block + p % block];
        score *= attrs.scale;
        if (attrs.softcap)
          score = attrs.softcap * std::tanh(score / attrs.softcap);
        scores.push_back(score);
        highest = std::max(highest, scores.back());
      }
      double sum = 0;
      for (double &score : scores)
        sum += score = std::exp(score - highest);
      for (int64_t p = begin; p <= last; ++p) {
        MOEC_ASSIGN(int64_t page, paging.blockOf(seq, p));
        for (int64_t d = 0; d < valueDim; ++d)
          y.row(t)[head * valueDim + d] +=
              scores[p - begin] / sum *
              values.row(page)[valueBase + p % block * valueDim + d];
      }
    }
  }
  return llvm::Error::success();
}
