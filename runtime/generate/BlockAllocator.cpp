#include "runtime/generate/BlockAllocator.h"

#include <algorithm>
#include <cassert>

using namespace moec::runtime;

BlockAllocator::BlockAllocator(int32_t total)
    : used(size_t(total), false), freeBlocks(total) {}

bool BlockAllocator::allocate(int32_t count, std::vector<int32_t> &blocks) {
  if (count > freeBlocks)
    return false;
  for (int32_t taken = 0; taken < count; ++firstFree) {
    if (used[size_t(firstFree)])
      continue;
    used[size_t(firstFree)] = true;
    blocks.push_back(firstFree);
    ++taken;
  }
  freeBlocks -= std::max(count, 0);
  return true;
}

void BlockAllocator::release(llvm::ArrayRef<int32_t> blocks) {
  for (int32_t block : blocks) {
    assert(used[size_t(block)] && "a block is released once");
    used[size_t(block)] = false;
    firstFree = std::min(firstFree, block);
  }
  freeBlocks += int32_t(blocks.size());
}
