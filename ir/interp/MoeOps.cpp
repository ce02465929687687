#include "ir/ops/MoeOps.h"

#include "ir/interp/OpRunner.h"
#include "ir/ops/OpInfo.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
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
/// start at `first`. An FFN is a bank of one expert.
static void runOne(const OpRunner &r, unsigned first, int64_t expert,
                   const double *x, int64_t hidden, double *y) {
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
    runOne(r, 3, expert, x.row(tokens[p]), x.dim(1), y.row(p));
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

llvm::Error interp::runMoeCombine(OpRunner &r) {
  const HostTensor &x = r.in(0), &offsets = r.in(1), &weight = r.in(2);
  int64_t tokens = offsets.dim(0) - 1, width = x.dim(1);
  HostTensor &y = r.makeFloats({tokens, width});
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t p = offsets.ints[t]; p < offsets.ints[t + 1]; ++p)
      for (int64_t i = 0; i < width; ++i)
        y.row(t)[i] += weight.floats[p] * x.row(p)[i];
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

llvm::Error interp::runMoeRoute(OpRunner &r) {
  const auto &attrs = r.op.attrs<RouteAttrs>();
  const HostTensor &logits = r.in(0);
  int64_t tokens = logits.dim(0), experts = logits.dim(1), k = attrs.k;
  // All three are made first: a reference to one would not survive the next.
  r.makeInts({tokens + 1});
  r.makeInts({tokens * k});
  r.makeFloats({tokens * k});
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> score(logits.row(t), logits.row(t) + experts);
    double highest = -INFINITY, sum = 0;
    for (double logit : score)
      highest = std::max(highest, logit);
    if (attrs.score == RouterScore::softmax) {
      for (double &s : score)
        sum += s = std::exp(s - highest);
      for (double &s : score)
        s /= sum;
    } else if (attrs.score == RouterScore::sigmoid) {
      for (double &s : score)
        s = apply(unsigned(ActivationFn::sigmoid), s);
    }
    std::vector<double> key = score;
    for (int64_t e = 0; r.inputs.size() == 2 && e < experts; ++e)
      key[e] += r.in(1).floats[e];
    std::vector<int64_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    llvm::stable_sort(order, [&](int64_t a, int64_t b) {
      if (std::isnan(key[a]) || std::isnan(key[b]))
        return !std::isnan(key[a]) && std::isnan(key[b]);
      return key[a] > key[b];
    });
    double chosenSum = 0, chosenHighest = -INFINITY;
    for (int64_t i = 0; i < k; ++i)
      chosenHighest = std::max(chosenHighest, logits.row(t)[order[i]]);
    std::vector<double> weight(k);
    for (int64_t i = 0; i < k; ++i) {
      weight[i] = attrs.renorm == RouterRenorm::softmax_selected
                      ? std::exp(logits.row(t)[order[i]] - chosenHighest)
                      : score[order[i]];
      chosenSum += weight[i];
    }
    for (int64_t i = 0; i < k; ++i) {
      if (attrs.renorm == RouterRenorm::sum)
        weight[i] /= chosenSum + attrs.epsilon;
      else if (attrs.renorm == RouterRenorm::softmax_selected)
        weight[i] /= chosenSum;
      r.results[1].ints[t * k + i] = order[i];
      r.results[2].floats[t * k + i] = weight[i] * attrs.scale;
    }
    r.results[0].ints[t + 1] = (t + 1) * k;
  }
  return llvm::Error::success();
}
