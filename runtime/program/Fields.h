//===- Fields.h - fields of a plan that may be absent ---------------------===//
#pragma once

#include "ir/support/Hash.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>

namespace moec::runtime::fields {

/// The length of a vector that may be absent.
template <typename T> unsigned count(const flatbuffers::Vector<T> *vector) {
  return vector ? vector->size() : 0;
}

inline llvm::StringRef text(const flatbuffers::String *string) {
  return string ? llvm::StringRef(string->data(), string->size())
                : llvm::StringRef();
}

/// `the SHA-256 <expected>, found <digest>`, unless that is what was found.
inline std::optional<std::string>
otherDigest(const flatbuffers::Vector<uint8_t> &expected, const Digest &found) {
  llvm::ArrayRef<uint8_t> digest(expected.data(), expected.size());
  if (digest == llvm::ArrayRef<uint8_t>(found))
    return std::nullopt;
  return "the SHA-256 " + moec::toHex(digest) + ", found " + moec::toHex(found);
}

/// The same of what `bytes` have.
inline std::optional<std::string>
otherDigest(const flatbuffers::Vector<uint8_t> &expected,
            llvm::ArrayRef<uint8_t> bytes) {
  return otherDigest(expected, sha256(bytes));
}

} // namespace moec::runtime::fields
