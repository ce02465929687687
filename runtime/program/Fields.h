//===- Fields.h - fields of a plan that may be absent ---------------------===//
#pragma once

#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringRef.h"

namespace moec::runtime::fields {

/// The length of a vector that may be absent.
template <typename T> unsigned count(const flatbuffers::Vector<T> *vector) {
  return vector ? vector->size() : 0;
}

inline llvm::StringRef text(const flatbuffers::String *string) {
  return string ? llvm::StringRef(string->data(), string->size())
                : llvm::StringRef();
}

} // namespace moec::runtime::fields
