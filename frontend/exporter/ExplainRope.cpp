//===- ExplainRope.cpp - rotary settings from frequencies -----------------===//
//
// Base and scaling are not in the graph, only the frequencies that they give.
// Candidates are tried until one gives the same bits.
//
//===----------------------------------------------------------------------===//
#include "frontend/exporter/Recognize.h"

#include <cmath>

using namespace moec;

/// Largest relative difference of two lists; infinity where there is none.
static double distance(llvm::ArrayRef<double> a, llvm::ArrayRef<double> b) {
  if (a.size() != b.size())
    return HUGE_VAL;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double difference = std::abs(a[i] / b[i] - 1);
    if (std::isnan(difference))
      return HUGE_VAL;
    largest = std::max(largest, difference);
  }
  return largest;
}

/// Bases from which a ratio of neighbours may come: the nearest round numbers
/// first, since every published base is one.
static std::vector<double> bases(llvm::ArrayRef<double> frequencies) {
  if (frequencies.size() < 2)
    return {10000};
  double base =
      std::pow(frequencies[1] / frequencies[0], -double(frequencies.size()));
  std::vector<double> list;
  for (double unit : {100.0, 1.0, 0.001})
    list.push_back(std::round(base / unit) * unit);
  list.push_back(base);
  return list;
}

/// `rope` with a scaling that gives the frequencies within `tolerance`.
static std::optional<RopeConfig> findScaling(llvm::ArrayRef<double> frequencies,
                                             int64_t context,
                                             double tolerance) {
  RopeConfig rope;
  rope.dims = 2 * int64_t(frequencies.size());
  auto fits = [&] {
    return distance(rope.frequencies(), frequencies) <= tolerance;
  };
  auto roundest = [](double number) {
    double whole = std::round(number);
    return std::abs(number / whole - 1) < 1e-6 ? whole : number;
  };
  for (double base : bases(frequencies)) {
    rope.theta = base;
    rope.scaling = RopeConfig::Scaling::none;
    if (fits())
      return rope;
    rope.scaling = RopeConfig::Scaling::linear;
    rope.factor = roundest(1 / frequencies[0]);
    if (rope.factor > 0 && fits())
      return rope;
    // The slowest pair is divided by the whole factor.
    rope.scaling = RopeConfig::Scaling::llama3;
    RopeConfig plain = rope;
    plain.scaling = RopeConfig::Scaling::none;
    rope.factor = roundest(plain.frequencies().back() / frequencies.back());
    if (!(rope.factor > 1))
      continue;
    for (double high : {4.0, 2.0, 8.0})
      for (int64_t original = 256; original <= 1 << 20; original *= 2) {
        rope.lowFactor = 1;
        rope.highFactor = high;
        rope.originalContext = original;
        if (original <= std::max<int64_t>(context, 8192) && fits())
          return rope;
      }
  }
  return std::nullopt;
}

RopeConfig moec::explainFrequencies(llvm::ArrayRef<double> frequencies,
                                    int64_t context) {
  if (auto exact = findScaling(frequencies, context, 0))
    return *exact;
  // Any base will do, since the divisors say the rest.
  RopeConfig rope;
  rope.dims = 2 * int64_t(frequencies.size());
  RopeConfig best;
  double closest = HUGE_VAL;
  for (double base : bases(frequencies)) {
    rope.theta = base;
    rope.scaling = RopeConfig::Scaling::none;
    std::vector<double> plain = rope.frequencies();
    rope.scaling = RopeConfig::Scaling::factors;
    rope.divisors.clear();
    for (size_t i = 0; i < plain.size(); ++i)
      rope.divisors.push_back(float(plain[i] / frequencies[i]));
    double error = distance(rope.frequencies(), frequencies);
    if (error < closest) {
      closest = error;
      best = rope;
    }
  }
  return best;
}

std::optional<RopeConfig> moec::nameScaling(const RopeConfig &rope,
                                            int64_t context) {
  // Divisors are f32, so that half a unit in their last place is lost.
  auto named = findScaling(rope.frequencies(), context, 2e-7);
  if (named)
    named->interleaved = rope.interleaved;
  return named;
}
