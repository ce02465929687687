//===- Lineage.h - what a model says of its origin ------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec {

/// The licence that a model folder's card names (`license:` in the head of
/// README.md); empty where nothing is said.
std::string licenceOf(llvm::StringRef modelPath);

} // namespace moec
