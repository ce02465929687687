//===- Tolerances.h - how close a kernel must be to its meaning -----------===//
//
// The conformance table. A kernel's error against the meaning in f64 is at most
// c times the error of a computation that rounds every result to f32, and the
// last to the element type, plus a floor. Rows hold for every element type and
// every variant (generic, AVX2, AVX-512, AVX512-BF16, AMX): an element type's
// rounding is in the typed error already, and variants differ in order and
// fusion only, which c allows for. ConformanceTest compares each kernel with
// the interpreter and prints the errors; the tests of tests/codegen have
// references of their own, for more shapes and corners.
//
//   kernel       element types                      corners tested in
//   rowwise      f32, bf16, f16                     RowwiseTest
//   gemm         f32, bf16 by f32, bf16, f16, q8_0  GemmTest
//   ragged gemm  the same, gathered, gated          GemmTest
//   kv append    exact: one rounding to the cache   AttentionTest
//   attention    f32, bf16, f16 q, cache and out    AttentionTest
//   route        choices exact; weights f32         Routing-, RouteKernelTest
//   dispatch     exact: integers                    RoutingTest
//   combine      f32, bf16, f16                     RoutingTest
//   gate heads   f32, bf16, f16                     GateHeadsTest
//
// Exclusion: generic code has f16 in weights and operands of row-wise kernels
// alone, since the base of x86-64 converts none.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/emit/AnySpec.h"
#include "tests/codegen/KernelHarness.h"

namespace moec::test {

/// Sums have a different order than the reference's, and elementary functions
/// are within 2 ulp where libm is within 1: c = 4. The floor is for bodies
/// whose typed error is zero or rounds by luck.
inline Tolerance toleranceOf(const kernel::RowwiseSpec &) { return {4, 1e-6}; }

/// Kernels fuse multiply and add, and vdpbf16ps rounds pairs and flushes
/// subnormals, while the typed reference rounds product and sum: c = 2. The
/// activations of VectorMath.h are within 2 ulp of libm's. The floor, some
/// units in the last place of 1, is for sums that happen to be exact.
inline Tolerance toleranceOf(const kernel::GemmSpec &) { return {2, 2e-6}; }
inline Tolerance toleranceOf(const kernel::RaggedGemmSpec &) {
  return {2, 2e-6};
}

/// One rounding, as the reference's.
inline Tolerance toleranceOf(const kernel::KvAppendSpec &) { return {1, 0}; }

/// Scores and sums have another order than the reference's, exponentials
/// rescale once a chunk, and with bf16 pairs the exponentials are rounded to
/// bf16, as the results are: c = 4.
inline Tolerance toleranceOf(const kernel::AttentionSpec &) {
  return {4, 1e-6};
}

/// Sums of a few terms in another order than the reference's, and scores of
/// two units in the last place: c = 4; the floor is two units of a weight near
/// 2.
inline Tolerance toleranceOf(const kernel::RouteSpec &) { return {4, 1e-6}; }
/// Where weights are at most 1, the floor is two units of such a one.
constexpr Tolerance kUnscaledWeights = {4, 3e-7};

/// Integers.
inline Tolerance toleranceOf(const kernel::DispatchSpec &) { return {0, 0}; }

/// One fused rounding a term against two: c = 2.
inline Tolerance toleranceOf(const kernel::CombineSpec &) { return {2, 1e-6}; }

/// One product, rounded as the reference's is.
inline Tolerance toleranceOf(const kernel::GateHeadsSpec &) { return {1, 0}; }

/// A kind of kernel without a row does not compile.
inline Tolerance toleranceOf(const kernel::AnySpec &spec) {
  return std::visit([](const auto &kind) { return toleranceOf(kind); }, spec);
}

} // namespace moec::test
