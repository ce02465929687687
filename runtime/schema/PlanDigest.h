//===- PlanDigest.h - the digest of a plan, inside it ---------------------===//
//
// A kernel trusts the addresses and numbers of its launch: a list that lost an
// entry could have it write anywhere, although each entry is in bounds. So a
// plan holds the digest of all that it says.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Hash.h"
#include "runtime/schema/plan_generated.h"

#include <algorithm>
#include <string>

namespace moec::plan {

/// SHA-256 of a plan's bytes, with those of its own digest, which lie among
/// them, as zeros.
inline Digest digestOf(llvm::ArrayRef<uint8_t> bytes,
                       const flatbuffers::Vector<uint8_t> &own) {
  size_t at = size_t(own.data() - bytes.data());
  Sha256 hash;
  hash.update(bytes.take_front(at));
  hash.update(llvm::ArrayRef<uint8_t>(Digest()));
  hash.update(bytes.drop_front(at + Digest().size()));
  return hash.finish();
}

/// The bytes of a plan, with its digest.
inline std::string serialize(PlanT &plan) {
  plan.sha256.assign(Digest().size(), 0);
  flatbuffers::FlatBufferBuilder builder;
  FinishPlanBuffer(builder, Plan::Pack(builder, &plan));
  llvm::ArrayRef<uint8_t> bytes(builder.GetBufferPointer(), builder.GetSize());
  const flatbuffers::Vector<uint8_t> &own = *GetPlan(bytes.data())->sha256();
  Digest digest = digestOf(bytes, own);
  std::string result(bytes.begin(), bytes.end());
  std::copy(digest.begin(), digest.end(),
            result.begin() + (own.data() - bytes.data()));
  return result;
}

} // namespace moec::plan
