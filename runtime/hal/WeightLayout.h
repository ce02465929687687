//===- WeightLayout.h - how kernels want a weight -------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <optional>

namespace moec::runtime {

/// The layouts are those of plan.fbs.
struct WeightLayout {
  enum class Kind : uint8_t { rowMajor, panels, gatedPanels };
  Kind kind = Kind::rowMajor;
  ElementType element = ElementType::f32;
  unsigned panel = 0;
  unsigned group = 0;
};

/// The panels of one weight: numbers, and bytes of one strip, which is a panel
/// of one of the interleaved weights.
struct Panels {
  /// Elements that share a scale in panels of q8_0.
  static constexpr uint64_t kQuantBlock = 32;

  uint64_t outer = 1;
  uint64_t rows = 0;    // N
  uint64_t columns = 0; // K
  uint64_t panels = 0;
  uint64_t stripBytes = 0;

  /// Nothing on overflow, or for a shape of fewer than two dimensions.
  static std::optional<Panels> of(const WeightLayout &layout,
                                  llvm::ArrayRef<int64_t> shape);
};

/// Bytes of a weight of `shape` in `layout` (of gatedPanels: of both); nothing
/// on overflow or where a row is no whole number of blocks.
std::optional<uint64_t> packedBytes(const WeightLayout &layout,
                                    llvm::ArrayRef<int64_t> shape);

} // namespace moec::runtime
