#include "ir/ops/MoeOps.h"

#include "ir/interp/OpRunner.h"
#include "ir/ops/OpInfo.h"
#include "llvm/ADT/STLExtras.h"

#include <numeric>

using namespace moec;
using namespace moec::interp;

/// out = weight row-by-row times x, plus bias if there is one.
static void multiply(const double *weight, const double *bias, const double *x,
                     int64_t out, int64_t in, double *y) {
  for (int64_t n = 0; n < out; ++n) {
    double sum = dot(weight + n * in, x, in);
    y[n] = sum + (bias ? bias[n] : 0);
  }
}

/// One token through the FFN of `expert`; operands (weights, then biases)
/// start at `first`. An FFN is a bank of one expert. The hidden block is
/// multiplied by `factor`.
static void runOne(const OpRunner &r, unsigned first, int64_t expert,
                   const double *x, int64_t hidden, double *y,
                   double factor = 1) {
  const auto &attrs = r.op.attrs<FfnAttrs>();
  unsigned weights = attrs.numWeights();
  int64_t width = r.in(first + weights - 2).dim(-2);
  auto weight = [&](unsigned i) {
    return r.in(first + i).floats.data() + expert * width * hidden;
  };
  auto bias = [&](unsigned i, int64_t size) -> const double * {
    return attrs.biased
               ? r.in(first + weights + i).floats.data() + expert * size
               : nullptr;
  };
  std::vector<double> h(width), up(width);
  multiply(weight(0), bias(0, width), x, width, hidden, h.data());
  for (double &number : h)
    number = apply(unsigned(attrs.fn), number);
  if (attrs.gated) {
    multiply(weight(1), bias(1, width), x, width, hidden, up.data());
    for (int64_t i = 0; i < width; ++i)
      h[i] *= up[i];
  }
  if (attrs.weightedHidden)
    for (double &number : h)
      number *= factor;
  if (r.typed)
    for (double &number : h)
      number = roundTo(attrs.hidden, number);
  multiply(weight(weights - 1), bias(weights - 1, hidden), h.data(), hidden,
           width, y);
}

llvm::Error interp::runFfn(OpRunner &r) {
  const HostTensor &x = r.in(0);
  HostTensor &y = r.makeFloats(x.shape);
  for (int64_t t = 0; t < x.dim(0); ++t)
    runOne(r, 1, 0, x.row(t), x.dim(1), y.row(t));
  return llvm::Error::success();
}

/// The token of every pair.
static std::vector<int64_t> tokensOfPairs(const HostTensor &offsets) {
  std::vector<int64_t> tokens;
  for (int64_t t = 0; t + 1 < offsets.dim(0); ++t)
    tokens.insert(tokens.end(), offsets.ints[t + 1] - offsets.ints[t], t);
  return tokens;
}

llvm::Error interp::runMoeExperts(OpRunner &r) {
  const HostTensor &x = r.in(0);
  std::vector<int64_t> tokens = tokensOfPairs(r.in(1));
  int64_t experts = r.in(3).dim(0);
  HostTensor &y = r.makeFloats({int64_t(tokens.size()), x.dim(1)});
  for (size_t p = 0; p < tokens.size(); ++p) {
    MOEC_ASSIGN(int64_t expert, r.index(2, p, experts));
    double factor =
        r.op.attrs<FfnAttrs>().weightedHidden ? r.inputs.back()->floats[p] : 1;
    runOne(r, 3, expert, x.row(tokens[p]), x.dim(1), y.row(p), factor);
  }
  return llvm::Error::success();
}

llvm::Error interp::runMoeGroupedLinear(OpRunner &r) {
  const HostTensor &x = r.in(0), &weight = r.in(3);
  bool gather = r.op.attrs<GroupedLinearAttrs>().gather;
  std::vector<int64_t> tokens = tokensOfPairs(r.in(1));
  int64_t experts = weight.dim(0), out = weight.dim(1), in = weight.dim(2);
  HostTensor &y = r.makeFloats({int64_t(tokens.size()), out});
  for (size_t p = 0; p < tokens.size(); ++p) {
    MOEC_ASSIGN(int64_t expert, r.index(2, p, experts));
    const double *bias =
        r.inputs.size() == 5 ? r.in(4).floats.data() + expert * out : nullptr;
    multiply(weight.row(expert), bias, x.row(gather ? tokens[p] : p), out, in,
             y.row(p));
  }
  return llvm::Error::success();
}

llvm::Error interp::runMoeWeigh(OpRunner &r) {
  const HostTensor &x = r.in(0), &weight = r.in(1);
  HostTensor &y = r.makeFloats(x.shape);
  for (int64_t p = 0; p < x.dim(0); ++p)
    for (int64_t i = 0; i < x.dim(1); ++i)
      y.row(p)[i] = weight.floats[p] * x.row(p)[i];
  return llvm::Error::success();
}

llvm::Error interp::runMoeCombine(OpRunner &r) {
  const HostTensor &x = r.in(0), &offsets = r.in(1);
  int64_t tokens = offsets.dim(0) - 1, width = x.dim(1);
  HostTensor &y = r.makeFloats({tokens, width});
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t p = offsets.ints[t]; p < offsets.ints[t + 1]; ++p) {
      double weight = r.inputs.size() == 3 ? r.in(2).floats[p] : 1;
      for (int64_t i = 0; i < width; ++i)
        y.row(t)[i] += weight * x.row(p)[i];
    }
  return llvm::Error::success();
}

llvm::Error interp::runMoeGateHeads(OpRunner &r) {
  const auto &attrs = r.op.attrs<GateHeadsAttrs>();
  const HostTensor &x = r.in(0), &offsets = r.in(1), &weight = r.in(3);
  int64_t headDim = x.dim(1) / attrs.heads;
  HostTensor &y = r.makeFloats(x.shape);
  for (int64_t t = 0; t < x.dim(0); ++t)
    for (int64_t p = offsets.ints[t]; p < offsets.ints[t + 1]; ++p) {
      MOEC_ASSIGN(int64_t expert, r.index(2, p, attrs.experts));
      for (int64_t head = expert; head < attrs.heads; head += attrs.experts)
        for (int64_t i = head * headDim; i < (head + 1) * headDim; ++i)
          y.row(t)[i] = weight.floats[p] * x.row(t)[i];
    }
  return llvm::Error::success();
}

llvm::Error interp::runMoeCount(OpRunner &r) {
  const HostTensor &counter = r.in(0);
  HostTensor &next = r.makeInts(counter.shape);
  next.ints = counter.ints;
  for (int64_t p = 0; p < r.in(1).dim(0); ++p) {
    MOEC_ASSIGN(int64_t expert, r.index(1, p, counter.dim(0)));
    ++next.ints[expert];
  }
  return llvm::Error::success();
}

llvm::Error interp::runMoeDispatch(OpRunner &r) {
  int64_t experts = r.op.attrs<MoeDispatchAttrs>().experts;
  int64_t pairs = r.in(0).dim(0);
  HostTensor offsets = HostTensor::ofInts(ElementType::i32, {experts + 1});
  std::vector<int64_t> order(pairs);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t p = 0; p < pairs; ++p) {
    MOEC_ASSIGN(int64_t expert, r.index(0, p, experts));
    ++offsets.ints[expert + 1];
  }
  std::partial_sum(offsets.ints.begin(), offsets.ints.end(),
                   offsets.ints.begin());
  llvm::stable_sort(order, [&](int64_t a, int64_t b) {
    return r.in(0).ints[a] < r.in(0).ints[b];
  });
  r.results.push_back(std::move(offsets));
  r.results.push_back(HostTensor::ofInts(std::move(order)));
  return llvm::Error::success();
}
