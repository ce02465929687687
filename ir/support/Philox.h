//===- Philox.h - random numbers that are functions of a name -------------===//
//
// Philox4x32-10: a keyed bijection of 128-bit counters. A key names a use
// (seed, purpose, weight, expert, matrix); the counter is the logical index of
// an element. So each element's number depends on nothing but its name: not on
// threads, chunks, order or machine. Transcendental functions are our own code
// in double, one IEEE operation at a time; the frozen vectors in
// tests/ir/support/PhiloxTest.cpp are part of recipe version 1.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <array>
#include <cstdint>
#include <vector>

namespace moec {

/// The bare bijection, ten rounds.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                   std::array<uint32_t, 2> key);

/// Names one use of randomness.
struct RandomKey {
  uint64_t bits = 0;

  /// The first 8 bytes, little-endian, of SHA-256 over this encoding:
  ///   "moec-philox-1" 0x00, seed (8 bytes little-endian),
  ///   purpose, weight (each: length as 8 bytes little-endian, then bytes),
  ///   expert (8 bytes little-endian, two's complement; -1 where none),
  ///   matrix (length and bytes, as above; empty where none).
  static RandomKey of(uint64_t seed, llvm::StringRef purpose,
                      llvm::StringRef weight, int64_t expert = -1,
                      llvm::StringRef matrix = "");

  friend bool operator==(RandomKey, RandomKey) = default;
};

/// The four words of element `index`: counter (index low, index high, 0, 0).
std::array<uint32_t, 4> randomWords(RandomKey key, uint64_t index);

/// 64 random bits: words 0 (low half) and 1 (high half).
uint64_t randomBits(RandomKey key, uint64_t index);

/// Uniform in [0, 1): the upper 53 of `randomBits`, times 2^-53.
double uniform(RandomKey key, uint64_t index);

/// Uniform in [0, bound), bound > 0: the upper half of randomBits * bound. The
/// bias is below bound / 2^64.
uint64_t uniformInt(RandomKey key, uint64_t index, uint64_t bound);

/// Standard normal by Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v), with u
/// from words 0 and 1 and v from words 2 and 3.
double normal(RandomKey key, uint64_t index);

/// out[i] = f32(uniform(key, first + i) * (high - low) + low), in double.
void fillUniform(RandomKey key, uint64_t first, double low, double high,
                 llvm::MutableArrayRef<float> out);
/// out[i] = f32(normal(key, first + i) * deviation + mean), in double.
void fillNormal(RandomKey key, uint64_t first, double mean, double deviation,
                llvm::MutableArrayRef<float> out);

/// out[i] = f32(normal(key, indices[i]) * deviation + mean), in double.
void fillNormalAt(RandomKey key, llvm::ArrayRef<uint64_t> indices, double mean,
                  double deviation, llvm::MutableArrayRef<float> out);

/// A permutation of 0..count-1: indices sorted by (randomBits, index).
std::vector<uint64_t> permutation(RandomKey key, uint64_t count);

/// The first `chosen` <= count entries of `permutation(key, count)`, sorted
/// ascending: a uniform choice without replacement.
std::vector<uint64_t> chooseIndices(RandomKey key, uint64_t count,
                                    uint64_t chosen);

/// Natural logarithm of a positive, normal, finite number; below 1 ulp from
/// exact, the same bits everywhere.
double portableLog(double x);
/// cos(2 pi turns) for 0 <= turns < 1, the same bits everywhere.
double portableCosTurns(double turns);

} // namespace moec
