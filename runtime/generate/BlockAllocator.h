//===- BlockAllocator.h - the blocks of the paged KV cache ----------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace moec::runtime {

/// Hands out the numbers [0, total). The lowest free number comes first, so
/// that memory is touched only as far as it is needed.
class BlockAllocator {
public:
  explicit BlockAllocator(int32_t total);

  int32_t total() const { return int32_t(used.size()); }
  int32_t available() const { return freeBlocks; }

  /// Appends `count` blocks to `blocks`; false, and nothing, where fewer are
  /// free.
  bool allocate(int32_t count, std::vector<int32_t> &blocks);
  /// Gives blocks back that `allocate` handed out.
  void release(llvm::ArrayRef<int32_t> blocks);

private:
  std::vector<bool> used;
  int32_t freeBlocks;
  /// No block below this is free.
  int32_t firstFree = 0;
};

} // namespace moec::runtime
