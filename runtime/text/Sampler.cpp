#include "runtime/text/Sampler.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <array>
#include <cmath>

using namespace moec;

/// 1 / n! for n up to 14; the factorials themselves are exact.
static constexpr std::array<double, 15> kInverseFactorials = [] {
  std::array<double, 15> inverse = {};
  double factorial = 1;
  for (size_t n = 0; n < inverse.size(); ++n) {
    factorial *= n ? double(n) : 1;
    inverse[n] = 1 / factorial;
  }
  return inverse;
}();

double moec::portableExp(double x) {
  if (!(x > -745))
    return 0;
  // x = k log 2 + r with |r| <= log 2 / 2; e^r by Taylor's series, whose 14th
  // term is below 2^-56.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  double k = std::floor(x * 1.4426950408889634 + 0.5);
  double r = (x - k * kLn2High) - k * kLn2Low;
  double series = kInverseFactorials.back();
  for (double coefficient : llvm::drop_begin(llvm::reverse(kInverseFactorials)))
    series = series * r + coefficient;
  // In two steps, since 2^k may be subnormal while the result is too.
  auto power = [](int exponent) {
    return llvm::bit_cast<double>(uint64_t(exponent + 1023) << 52);
  };
  int whole = int(k);
  int half = whole / 2;
  return series * power(half) * power(whole - half);
}

Sampler::Sampler(const SamplerOptions &options)
    : options(options),
      key(RandomKey::of(options.seed, "sample", /*weight=*/"")) {}

llvm::Expected<Sampler> Sampler::create(const SamplerOptions &options) {
  auto fail = [](const char *name) {
    return error(Location::ofObject(name)) << "expected ";
  };
  // Negated, so that NaN fails too.
  if (!(options.temperature >= 0 && std::isfinite(options.temperature)))
    return fail("temperature")
           << "a number of at least 0, got " << options.temperature;
  if (!(options.topP > 0 && options.topP <= 1))
    return fail("top-p") << "a number in (0, 1], got " << options.topP;
  if (!(options.minP >= 0 && options.minP <= 1))
    return fail("min-p") << "a number in [0, 1], got " << options.minP;
  if (!(options.repetitionPenalty > 0 &&
        std::isfinite(options.repetitionPenalty)))
    return fail("repetition penalty")
           << "a number above 0, got " << options.repetitionPenalty;
  return Sampler(options);
}

void Sampler::accept(int32_t id) {
  if (options.repetitionPenalty == 1 || id < 0)
    return;
  recent.push_back(id);
  ++timesRecent[id];
  if (options.penaltyWindow && recent.size() > options.penaltyWindow) {
    auto oldest = timesRecent.find(recent.front());
    if (--oldest->second == 0)
      timesRecent.erase(oldest);
    recent.pop_front();
  }
}

void Sampler::penalise(llvm::ArrayRef<float> &logits) {
  if (timesRecent.empty())
    return;
  penalised.assign(logits.begin(), logits.end());
  float penalty = float(options.repetitionPenalty);
  for (auto [id, times] : timesRecent) {
    if (size_t(id) >= penalised.size())
      continue;
    float &logit = penalised[id];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
  logits = penalised;
}

/// A larger logit, or the same of a lower id.
bool Sampler::better(const Candidate &a, const Candidate &b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

void Sampler::gather(llvm::ArrayRef<float> logits) {
  candidates.clear();
  bool limited = options.topK && options.topK < logits.size();
  for (auto [id, logit] : llvm::enumerate(logits)) {
    if (std::isnan(logit))
      continue;
    Candidate candidate = {logit, int32_t(id), /*weight=*/0};
    if (!limited) {
      candidates.push_back(candidate);
      continue;
    }
    // A heap of the best so far with the worst of them in front, which few
    // logits of a large vocabulary can beat.
    if (candidates.size() == options.topK) {
      if (!better(candidate, candidates.front()))
        continue;
      std::pop_heap(candidates.begin(), candidates.end(), better);
      candidates.pop_back();
    }
    candidates.push_back(candidate);
    std::push_heap(candidates.begin(), candidates.end(), better);
  }
  // Sums that follow need an order that the standard library does not choose.
  if (limited)
    llvm::sort(candidates, better);
}

void Sampler::keepTopP() {
  double total = 0;
  for (const Candidate &candidate : candidates)
    total += candidate.weight;
  // Few candidates hold most of the probability, so sort no more than needed.
  double reached = 0;
  size_t sorted = 0, kept = 0;
  size_t chunk = 256;
  while (kept < candidates.size()) {
    if (kept == sorted) {
      sorted = std::min(candidates.size(), sorted + chunk);
      chunk *= 4;
      std::partial_sort(candidates.begin() + kept, candidates.begin() + sorted,
                        candidates.end(), better);
    }
    reached += candidates[kept++].weight;
    if (reached >= options.topP * total)
      break;
  }
  candidates.resize(kept);
}

llvm::Expected<int32_t> Sampler::sample(llvm::ArrayRef<float> logits) {
  penalise(logits);
  int64_t best = -1;
  for (auto [id, logit] : llvm::enumerate(logits))
    if (!std::isnan(logit) && (best < 0 || logit > logits[best]))
      best = int64_t(id);
  if (best < 0)
    return error() << "expected a logit that is a number, got "
                   << (logits.empty() ? "no logits"
                                      : "NaN for the whole vocabulary");
  if (options.temperature == 0)
    return int32_t(best);

  float top = logits[best];
  gather(logits);
  for (Candidate &candidate : candidates) {
    // The difference of infinities of one sign counts as none.
    float logit = candidate.logit;
    double below = logit == top ? 0 : double(logit) - double(top);
    candidate.weight = portableExp(below / options.temperature);
  }
  if (options.topP < 1)
    keepTopP();
  if (options.minP > 0)
    llvm::erase_if(candidates, [&](const Candidate &candidate) {
      return candidate.weight < options.minP;
    });

  double total = 0;
  for (const Candidate &candidate : candidates)
    total += candidate.weight;
  double threshold = uniform(key, step++) * total;
  double reached = 0;
  for (const Candidate &candidate : candidates) {
    reached += candidate.weight;
    if (reached > threshold)
      return candidate.id;
  }
  // Rounding may keep the sum below the threshold: the last that counts.
  for (const Candidate &candidate : llvm::reverse(candidates))
    if (candidate.weight > 0)
      return candidate.id;
  return int32_t(best);
}
