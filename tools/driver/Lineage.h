//===- Lineage.h - what a model says of its origin ------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace moec {

/// The licence that a model folder's card names (`license:` in the head of
/// README.md); empty where nothing is said.
std::string licenceOf(llvm::StringRef modelPath);

/// One file's digest is its own; that of several is the digest of theirs, a
/// line each.
std::string sourceDigest(llvm::ArrayRef<std::string> digests);

/// A path's name without its folders.
std::string lastPart(llvm::StringRef path);

} // namespace moec
