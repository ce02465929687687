//===- Checkers.h - what observes the accesses of a launch ----------------===//
#pragma once

#include "tools/cudasim/machine/Machine.h"

#include "llvm/ADT/DenseMap.h"

namespace cudasim {

/// Who accessed a word of shared memory last. Clocks are those of warps; see
/// Races.cpp.
struct SharedWord {
  uint32_t writeClock = 0, writeEpoch = 0, writePc = 0;
  uint32_t readClock = 0, readEpoch = 0, readPc = 0;
  uint8_t writeWarp = 0, writeLane = 0, writeBytes = 0; ///< bytes: mask of 4
  uint8_t readWarp = 0, readLane = 0, readBytes = 0;
  bool writeAtomic = false, readAtomic = false;
  bool written = false, read = false;
  uint8_t pending = 0; ///< cp.async copies under way
  uint32_t pendingPc = 0;
  bool readByMany = false; ///< clocks are in SharedShadow::readers
};

/// Shadow of a block's shared memory.
struct SharedShadow {
  std::vector<uint8_t> initialized; ///< by byte
  std::vector<SharedWord> words;    ///< by 4 bytes
  /// By word, then warp: the clock of the warp's last read. A word's row only
  /// counts while several warps read it (readByMany), and is cleared then.
  std::unique_ptr<uint32_t[]> readers;
  uint32_t warps = 0;

  uint32_t *readersOf(uint64_t word) { return readers.get() + word * warps; }
};

/// Who accessed a word of global memory in this launch.
struct GlobalWord {
  uint64_t writer = 0, reader = 0; ///< blocks, plus one
  uint32_t writeClock = 0, readClock = 0;
  uint32_t writePc = 0, readPc = 0;
  uint8_t writeBytes = 0, readBytes = 0; ///< of the four
  bool writeAtomic = false, readAtomic = false;
};
using BlockClock = llvm::DenseMap<uint64_t, uint32_t>;
struct GlobalShadow {
  llvm::DenseMap<uint64_t, std::unique_ptr<GlobalWord[]>> pages;
  /// What a reader of a synchronising word comes to know.
  llvm::DenseMap<uint64_t, BlockClock> published;
  struct Knowledge {
    uint32_t clock = 1;
    BlockClock known;    ///< happens before this block's next access
    BlockClock pending;  ///< known after the next fence
    BlockClock released; ///< as of the last fence, itself included
    bool hasReleased = false;
  };
  llvm::DenseMap<uint64_t, Knowledge> blocks;
};

/// Sectors and addresses of a launch.
struct TrafficTally {
  llvm::DenseMap<uint64_t, uint8_t> sectors; ///< bit 0 read, bit 1 written
  llvm::DenseMap<uint64_t, uint64_t> atomics;
};

void startChecking(Grid::Impl &grid, Block &block);
/// The block has exited.
void finishBlock(Grid::Impl &grid, Block &block);
void finishCounters(Grid::Impl &grid);

// Each returns false where the grid has stopped. Addresses are global
// addresses or offsets in shared memory, resolved from generic ones.
bool checkSharedRaces(WarpState &warp, const Instr &instr, const Access &access,
                      const uint64_t *offsets);
bool checkGlobalRaces(WarpState &warp, const Instr &instr,
                      const Access &access);
void countAccess(WarpState &warp, const Instr &instr, const Access &access,
                 const uint64_t *offsets);
/// A fence of device scope.
void fenceBlocks(WarpState &warp);

} // namespace cudasim
