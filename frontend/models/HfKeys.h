//===- HfKeys.h - settings that are not read ------------------------------===//
#pragma once

#include "ir/support/Json.h"
#include "llvm/ADT/StringRef.h"

namespace moec {

/// Whether a setting of config.json says nothing about the results of
/// inference.
bool isHarmlessHfKey(llvm::StringRef key);

/// Whether a setting would change results, other than by its neutral value, in
/// a way that is not supported.
bool changesResults(llvm::StringRef key, const JsonValue &value);
/// Whether `changesResults` knows the key at all.
bool isResultKey(llvm::StringRef key);

/// null, false, or the number `neutral`.
bool isNeutral(const JsonValue &value, double neutral);

} // namespace moec
