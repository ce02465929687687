//===- KernelHarness.h - emitted kernels, compiled and run in the test ----===//
#pragma once

#include "codegen/cpu/EmitCpu.h"
#include "runtime/schema/KernelAbi.h"
#include "llvm/ADT/ArrayRef.h"
#include "gtest/gtest.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

/// A small generator; the same numbers everywhere.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 2654435769u + 12345) {}
  uint64_t bits();
  /// In [0, bound).
  int64_t below(int64_t bound) { return int64_t(bits() % uint64_t(bound)); }
  double uniform(double low, double high);
  double normal();

private:
  uint64_t state;
};

/// A buffer of a launch: 64-byte aligned, with guard bytes behind it.
class Array {
public:
  Array(ElementType element, size_t count);
  ~Array();
  Array(Array &&other) noexcept
      : element(other.element), count(other.count), bytes(other.bytes),
        storage(std::exchange(other.storage, nullptr)) {}

  double get(size_t index) const;
  float getFloat(size_t index) const { return float(get(index)); }
  int32_t getInt(size_t index) const { return int32_t(get(index)); }
  /// Rounds to the element type.
  void set(size_t index, double value);
  Array &fillNormal(Random &random, double deviation = 1);
  Array &fillBytes(int byte);
  size_t size() const { return count; }
  void *data() const { return storage; }
  std::vector<uint8_t> copyBytes() const;
  void setBytes(llvm::ArrayRef<uint8_t> from);
  void checkGuard(const std::string &what) const;

  const ElementType element;

private:
  size_t count, bytes;
  uint8_t *storage;
};

/// Whether this processor can run code of `level`, AMX being emulated.
bool hostRuns(cpu::CpuLevel level);

/// A compiled kernel; compiled once per spec and level in a process. Where the
/// processor has AVX512-BF16 but no AMX, the tile instructions of AMX kernels
/// are replaced by calls that do what the instructions are documented to do.
struct Compiled {
  cpu::CpuKernel kernel;
  MoecKernel function;

  int64_t tasks(llvm::ArrayRef<int64_t> extents) const;
  /// Runs the tasks in the given order of ranges; outputs must be set up by
  /// the caller. Scratch starts as NaN bytes.
  void run(llvm::ArrayRef<const Array *> buffers,
           llvm::ArrayRef<int64_t> extents) const;
  /// Once as a whole and once in shuffled pieces: expects equal bits in
  /// `outputs` and leaves them. Outputs are refilled with what they held.
  void runSplit(llvm::ArrayRef<const Array *> buffers,
                llvm::ArrayRef<int64_t> extents,
                llvm::ArrayRef<Array *> outputs, Random &random) const;
};
const Compiled &compiled(const kernel::AnySpec &spec, cpu::CpuLevel level);
/// Compiles to an object without running it; its size.
size_t objectSize(const cpu::CpuKernel &kernel, cpu::CpuLevel level);

/// error <= c * typed error + floor, by the largest absolute error of a
/// tensor. `typed` is what a computation that rounds every result to f32 (and
/// the last to the element type) gives.
struct Tolerance {
  double c;
  double floor;
};
/// `measured`, if given, gets the two errors.
struct Errors {
  double error = 0, typed = 0;
};
void expectClose(const Array &got, llvm::ArrayRef<double> exact,
                 llvm::ArrayRef<double> typed, Tolerance tolerance,
                 const std::string &what, Errors *measured = nullptr);

/// Rounds to an element type and back.
double roundTo(ElementType element, double value);
double activate(kernel::Activation activation, double x);
/// The same with every result rounded to f32.
float activateTyped(kernel::Activation activation, float x);

/// Packs logical weights [outer][n][k] as plan.fbs says; two tensors if gated.
/// q8_0 weights are given as blocks in GGUF's order.
Array packWeights(llvm::ArrayRef<const Array *> weights, int64_t outer,
                  int64_t n, int64_t k, const cpu::WeightLayout &layout);
/// Random weights of an element type; `values` gets what they mean.
Array randomWeights(ElementType element, size_t count, double deviation,
                    Random &random, std::vector<double> &values);

/// The levels as test parameters.
std::string levelName(const testing::TestParamInfo<cpu::CpuLevel> &info);

} // namespace moec::test

#define MOEC_INSTANTIATE_LEVELS(SUITE)                                         \
  INSTANTIATE_TEST_SUITE_P(Levels, SUITE,                                      \
                           testing::Values(moec::cpu::CpuLevel::Generic,       \
                                           moec::cpu::CpuLevel::Avx2,          \
                                           moec::cpu::CpuLevel::Avx512,        \
                                           moec::cpu::CpuLevel::Avx512Bf16,    \
                                           moec::cpu::CpuLevel::Amx),          \
                           moec::test::levelName)
#define MOEC_SKIP_UNLESS_HOST_RUNS(LEVEL)                                      \
  if (!moec::test::hostRuns(LEVEL))                                            \
  GTEST_SKIP() << "this processor lacks a feature of "                         \
               << moec::cpu::variantName(LEVEL).str()
