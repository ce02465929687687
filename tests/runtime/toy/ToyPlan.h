//===- ToyPlan.h - a small plan whose results are known -------------------===//
//
// Signature `affine`: y = 2 (scale * x + 1), over an arena buffer, a weight
// from the file `toy.bin` and a constant. Signature `step`: the toy model of
// ToyKernels.c over a paged cache.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringRef.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace moec::toy {

/// Indices of the toy plan.
enum Symbol : uint16_t { kTokens, kSeqs, kTable, kRows, kBlocks };
inline constexpr int64_t kVocabulary = 32;
inline constexpr int64_t kBlockSize = 4;
inline constexpr int64_t kContext = 64;

using Terms = std::vector<std::pair<int64_t, std::vector<uint16_t>>>;
std::unique_ptr<plan::PolynomialT> polynomial(const Terms &terms);
std::unique_ptr<plan::TensorTypeT> type(plan::ElementType element,
                                        const std::vector<Terms> &shape);

/// A plan with one variant, for any host. Its code's digests are right.
plan::PlanT makePlan();

std::vector<uint8_t> serialize(const plan::PlanT &plan);

/// `toy.bin`: 64 bytes of filling, then the weight `scale`, f32 [1] = 3.
std::string weightFile();

/// The bitcode of ToyKernels.c.
std::vector<uint8_t> bitcode();

/// Sets the SHA-256 of a blob.
void sign(plan::CodeBlobT &blob);

/// What the toy model says comes after `tokens`.
int32_t nextToken(const std::vector<int32_t> &tokens);

} // namespace moec::toy
