//===- Polynomial.h - sizes that depend on launch symbols -----------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <optional>

namespace moec::plan {
struct Polynomial;
struct TensorType;
struct GridFactor;
} // namespace moec::plan

namespace flatbuffers {
template <typename T> struct Offset;
template <typename T> class Vector;
} // namespace flatbuffers

namespace moec::runtime {

/// A bound on |polynomial| over all symbol values in [0, maxima]; nothing if it
/// exceeds 63 bits or names a symbol that is not there. A null polynomial is 0.
/// What has passed this check can be evaluated without overflow.
std::optional<int64_t> boundOf(const plan::Polynomial *polynomial,
                               llvm::ArrayRef<int64_t> maxima);

/// The value at `symbols`, which lie within the maxima that `boundOf` passed.
int64_t evaluate(const plan::Polynomial *polynomial,
                 llvm::ArrayRef<int64_t> symbols);

/// Elements of a type at `symbols`; nothing on overflow or where a dimension
/// is negative.
std::optional<uint64_t> elementsOf(const plan::TensorType &type,
                                   llvm::ArrayRef<int64_t> symbols);
/// Bytes of a type at `symbols`; nothing as above, or where the elements are
/// no whole number of blocks.
std::optional<uint64_t> bytesOf(const plan::TensorType &type,
                                llvm::ArrayRef<int64_t> symbols);

using GridFactors = flatbuffers::Vector<flatbuffers::Offset<plan::GridFactor>>;
/// Tasks of a launch; nothing on overflow or where an extent is negative.
std::optional<int64_t> tasksOf(const GridFactors *grid,
                               llvm::ArrayRef<int64_t> symbols);

} // namespace moec::runtime
