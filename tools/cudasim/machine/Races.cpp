//===- Races.cpp - happens-before for shared and global memory ------------===//
//
// Shared memory: each warp has a vector clock over the warps of its block. A
// barrier joins the clocks of those who met there. Two accesses to a word, one
// of them a write, race unless the earlier one's clock is known to the later
// one's warp. Within a warp, two lanes are ordered by bar.warp.sync only.
//
// Global memory: the same over blocks, for one launch. A block knows another's
// writes through a word that both synchronise on: the writer fences (or
// releases), then writes the word atomically or volatile; the reader reads it
// that way, then fences (or acquires). Blocks are the unit: what one thread
// learned counts for its block, so a barrier that is missing inside the block
// is the shared checker's business, not this one's.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Checkers.h"

#include "llvm/ADT/StringExtras.h"

#include <algorithm>

using namespace cudasim;

namespace {

constexpr uint64_t kPageWords = 1024;

void stop(WarpState &warp, uint32_t lane, std::string message,
          std::string details) {
  warp.block->grid->raise(&warp, lane, warp.pc, ErrorCode::LaunchFailed,
                          std::move(message), std::move(details));
  warp.faulted = true;
}

bool isWrite(AccessKind kind) {
  return kind != AccessKind::Load && kind != AccessKind::AsyncRead;
}

std::string whose(const Grid::Impl &grid, uint32_t warp, uint32_t lane) {
  Dim3 thread = grid.threadIndex(warp, lane);
  return "thread (" + std::to_string(thread.x) + "," +
         std::to_string(thread.y) + "," + std::to_string(thread.z) + ")";
}

uint8_t byteMask(uint64_t offset, uint32_t bytes, uint64_t word) {
  uint64_t begin = std::max(offset, word * 4),
           end = std::min(offset + bytes, word * 4 + 4);
  return uint8_t(((1u << (end - begin)) - 1) << (begin & 3));
}

} // namespace

void cudasim::startChecking(Grid::Impl &grid, Block &block) {
  const Checks &checks = grid.config.checks;
  if (!checks.uninitialized && !checks.sharedRaces)
    return;
  block.shadow = std::make_unique<SharedShadow>();
  block.shadow->initialized.assign(grid.sharedTotal, 0);
  if (checks.sharedRaces) {
    size_t words = grid.sharedTotal / 4 + 1;
    block.shadow->words.resize(words);
    block.shadow->warps = uint32_t(block.warps.size());
    block.shadow->readers.reset(new uint32_t[words * block.warps.size()]);
    for (WarpState &warp : block.warps) {
      warp.clock.assign(block.warps.size(), 0);
      warp.clock[warp.index] = 1;
    }
  }
}

//===--- shared memory ------------------------------------------------------//

bool cudasim::checkSharedRaces(WarpState &warp, const Instr &instr,
                               const Access &access, const uint64_t *offsets) {
  Block &block = *warp.block;
  Grid::Impl &grid = *block.grid;
  SharedShadow &shadow = *block.shadow;
  bool writing = isWrite(access.kind);
  // Atomics and volatile accesses may meet each other.
  bool atomic = instr.flags & kStrong;
  uint8_t self = uint8_t(warp.index);
  uint32_t now = warp.clock[self];

  auto race = [&](uint32_t lane, uint64_t word, bool otherWrote,
                  uint32_t otherWarp, uint32_t otherLane, uint32_t pc) {
    stop(warp, lane,
         std::string("shared-memory race: ") + (writing ? "write" : "read") +
             " of shared address 0x" + llvm::utohexstr(offsets[lane], true) +
             " is not ordered after a " + (otherWrote ? "write" : "read") +
             " of " + whose(grid, otherWarp, otherLane),
         std::string("the other ") + (otherWrote ? "write" : "read") +
             " is at " + grid.placeOf(pc) + "\n");
    (void)word;
    return false;
  };

  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(access.mask >> lane & 1))
      continue;
    uint64_t first = offsets[lane] / 4,
             last = (offsets[lane] + access.bytes - 1) / 4;
    for (uint64_t index = first; index <= last; ++index) {
      SharedWord &word = shadow.words[index];
      uint8_t bytes = byteMask(offsets[lane], access.bytes, index);
      if (word.pending && access.kind != AccessKind::AsyncWrite) {
        stop(warp, lane,
             std::string("shared-memory race: ") +
                 (writing ? "write" : "read") + " of shared address 0x" +
                 llvm::utohexstr(offsets[lane], true) +
                 ", which a cp.async that nobody has waited for writes",
             "the copy is issued at " + grid.placeOf(word.pendingPc) + "\n");
        return false;
      }
      if (word.written && (word.writeBytes & bytes) &&
          !(atomic && word.writeAtomic)) {
        bool ordered;
        if (word.writeWarp == self)
          // Lanes of one instruction may write the same value together.
          ordered =
              word.writeLane == lane || word.writeEpoch < warp.syncEpoch ||
              (word.writePc == warp.pc && writing) || word.writeClock < now;
        else
          ordered = word.writeClock <= warp.clock[word.writeWarp];
        if (!ordered)
          return race(lane, index, true, word.writeWarp, word.writeLane,
                      word.writePc);
      }
      if (writing && word.read && (word.readBytes & bytes) &&
          !(atomic && word.readAtomic)) {
        if (word.readByMany) {
          const uint32_t *readers = shadow.readersOf(index);
          for (uint32_t other = 0; other < shadow.warps; ++other)
            if (other != self && readers[other] > warp.clock[other])
              return race(lane, index, false, other,
                          other == word.readWarp ? word.readLane : 0,
                          word.readPc);
        } else {
          bool ordered =
              word.readWarp == self
                  ? word.readLane == lane || word.readEpoch < warp.syncEpoch ||
                        word.readPc == warp.pc || word.readClock < now
                  : word.readClock <= warp.clock[word.readWarp];
          if (!ordered)
            return race(lane, index, false, word.readWarp, word.readLane,
                        word.readPc);
        }
      }
      if (access.kind == AccessKind::AsyncWrite)
        continue; // the write itself comes when the copy lands
      if (writing) {
        bool same = word.written && word.writeWarp == self &&
                    word.writeLane == lane && word.writeClock == now;
        word.writeAtomic = atomic;
        word.writeBytes = same ? word.writeBytes | bytes : bytes;
        word.written = true;
        word.writeClock = now;
        word.writeEpoch = warp.syncEpoch;
        word.writeWarp = self;
        word.writeLane = uint8_t(lane);
        word.writePc = warp.pc;
        if (!atomic) {
          word.read = false;
          word.readByMany = false;
        }
        continue;
      }
      if (word.read && word.readWarp != self && !word.readByMany) {
        word.readByMany = true;
        uint32_t *readers = shadow.readersOf(index);
        std::fill_n(readers, shadow.warps, 0u);
        readers[word.readWarp] = word.readClock;
      }
      if (word.readByMany)
        shadow.readersOf(index)[self] = now;
      // One plain read among strong ones is what a later write races with.
      if (word.read && !word.readAtomic && atomic)
        continue;
      word.readAtomic = atomic;
      word.readBytes = word.read ? word.readBytes | bytes : bytes;
      word.read = true;
      word.readClock = now;
      word.readEpoch = warp.syncEpoch;
      word.readWarp = self;
      word.readLane = uint8_t(lane);
      word.readPc = warp.pc;
    }
  }
  return true;
}

void cudasim::asyncCopyIssued(WarpState &warp, const AsyncCopy &copy) {
  if (!warp.block->grid->config.checks.sharedRaces)
    return;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(copy.mask >> lane & 1))
      continue;
    for (uint64_t at = copy.target[lane]; at < copy.target[lane] + copy.bytes;
         at += 4) {
      SharedWord &word = warp.block->shadow->words[at / 4];
      word.pending = uint8_t(std::min(word.pending + 1, 255));
      word.pendingPc = copy.pc;
    }
  }
}

void cudasim::asyncCopyLanded(WarpState &warp, const AsyncCopy &copy,
                              uint32_t mask) {
  Grid::Impl &grid = *warp.block->grid;
  if (warp.block->shadow && grid.config.checks.uninitialized)
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1)
        memset(warp.block->shadow->initialized.data() + copy.target[lane], 1,
               copy.bytes);
  if (!grid.config.checks.sharedRaces || warp.faulted)
    return;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    for (uint64_t at = copy.target[lane]; at < copy.target[lane] + copy.bytes;
         at += 4)
      warp.block->shadow->words[at / 4].pending = 0;
  }
  // The write may have happened at any time since the copy was issued, and is
  // known to the issuing thread now.
  uint32_t pc = warp.pc;
  warp.pc = copy.pc;
  Access access{AccessKind::Store, MemorySpace::Shared, mask, copy.bytes,
                copy.target};
  checkSharedRaces(warp, grid.code->instrs[copy.pc], access, copy.target);
  warp.pc = pc;
}

void Grid::Impl::warpSynced(WarpState &warp) { ++warp.syncEpoch; }

void Grid::Impl::barrierJoined(Block &block, const BarrierState &barrier) {
  if (!config.checks.sharedRaces)
    return;
  std::vector<uint32_t> joined(block.warps.size(), 0);
  for (const WarpState &warp : block.warps)
    if (barrier.arrived[warp.index])
      for (size_t i = 0; i < joined.size(); ++i)
        joined[i] = std::max(joined[i], warp.clock[i]);
  for (WarpState &warp : block.warps)
    if (barrier.arrived[warp.index]) {
      // Those who only arrived publish, but do not learn.
      bool waits = false;
      for (const Fragment &fragment : warp.fragments)
        waits |= fragment.state == Fragment::Barrier;
      if (waits)
        warp.clock = joined;
      warp.clock[warp.index] = joined[warp.index] + 1;
      ++warp.syncEpoch;
    }
}

//===--- global memory ------------------------------------------------------//

bool cudasim::checkGlobalRaces(WarpState &warp, const Instr &instr,
                               const Access &access) {
  Grid::Impl &grid = *warp.block->grid;
  GlobalShadow &shadow = *grid.globalShadow;
  uint64_t self = warp.block->linear + 1;
  GlobalShadow::Knowledge &mine = shadow.blocks[self];
  bool writing = isWrite(access.kind);
  bool strong = instr.flags & kStrong;

  auto knows = [&](uint64_t other, uint32_t clock) {
    auto found = mine.known.find(other);
    return found != mine.known.end() && found->second >= clock;
  };
  auto join = [](BlockClock &to, const BlockClock &from) {
    for (auto &[block, clock] : from) {
      uint32_t &have = to[block];
      have = std::max(have, clock);
    }
  };
  auto snapshot = [&]() {
    BlockClock all = mine.known;
    all[self] = mine.clock;
    return all;
  };

  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(access.mask >> lane & 1))
      continue;
    uint64_t address = access.addresses[lane];
    if (strong) {
      // First what a read learns, then what a write says.
      bool reads = access.kind != AccessKind::Store;
      if (reads)
        if (auto found = shadow.published.find(address);
            found != shadow.published.end())
          join(instr.flags & kAcquire ? mine.known : mine.pending,
               found->second);
      if (writing) {
        if (instr.flags & kRelease) {
          join(shadow.published[address], snapshot());
          ++mine.clock;
        } else if (mine.hasReleased) {
          join(shadow.published[address], mine.released);
        }
      }
    }
    uint64_t first = address / 4, last = (address + access.bytes - 1) / 4;
    for (uint64_t index = first; index <= last; ++index) {
      auto &page = shadow.pages[index / kPageWords];
      if (!page)
        page = std::make_unique<GlobalWord[]>(kPageWords);
      GlobalWord &word = page[index % kPageWords];
      auto race = [&](bool otherWrote, uint64_t other, uint32_t pc) {
        Dim3 shape = grid.config.grid;
        uint64_t linear = other - 1;
        std::string block = "(" + std::to_string(linear % shape.x) + "," +
                            std::to_string(linear / shape.x % shape.y) + "," +
                            std::to_string(linear / shape.x / shape.y) + ")";
        stop(warp, lane,
             std::string("global-memory race: ") +
                 (writing ? "write" : "read") + " of 0x" +
                 llvm::utohexstr(address, true) + " is not ordered after a " +
                 (otherWrote ? "write" : "read") + " of block " + block,
             std::string("the other ") + (otherWrote ? "write" : "read") +
                 " is at " + grid.placeOf(pc) + "\n");
        return false;
      };
      uint8_t bytes = byteMask(address, access.bytes, index);
      if (word.writer && word.writer != self && (word.writeBytes & bytes) &&
          !(strong && word.writeAtomic) && !knows(word.writer, word.writeClock))
        return race(true, word.writer, word.writePc);
      if (writing && word.reader && word.reader != self &&
          (word.readBytes & bytes) && !(strong && word.readAtomic) &&
          !knows(word.reader, word.readClock))
        return race(false, word.reader, word.readPc);
      // Neighbours in a word take each other's place here; what is lost is a
      // chance to see a race, never an order.
      if (writing) {
        word.writeBytes = word.writer == self ? word.writeBytes | bytes : bytes;
        word.writer = self;
        word.writeClock = mine.clock;
        word.writePc = warp.pc;
        word.writeAtomic = strong;
      } else if (word.reader != self || !strong) {
        word.readBytes = word.reader == self ? word.readBytes | bytes : bytes;
        word.reader = self;
        word.readClock = mine.clock;
        word.readPc = warp.pc;
        word.readAtomic = strong;
      }
    }
  }
  return true;
}

void cudasim::fenceBlocks(WarpState &warp) {
  GlobalShadow &shadow = *warp.block->grid->globalShadow;
  uint64_t self = warp.block->linear + 1;
  GlobalShadow::Knowledge &mine = shadow.blocks[self];
  for (auto &[block, clock] : mine.pending) {
    uint32_t &have = mine.known[block];
    have = std::max(have, clock);
  }
  mine.pending.clear();
  mine.released = mine.known;
  mine.released[self] = mine.clock;
  mine.hasReleased = true;
  ++mine.clock;
}

//===--- registers ----------------------------------------------------------//

/// Which lanes of a register hold a value is carried along; it matters where
/// an address, a stored value, a branch or an exchange depends on it.
bool Grid::Impl::checkRegisters(WarpState &warp, uint32_t pc, uint32_t mask) {
  const Instr &instr = code->instrs[pc];
  const PcInfo &info = code->info[pc];
  uint32_t frame = uint32_t(warp.bases[0] - warp.frames.data());
  auto cell = [&](const RegisterUse &use) -> uint32_t & {
    if (use.isPredicate) {
      // Predicates of a frame start with it: one cell a word.
      size_t index = frame / 4 + use.ref;
      if (warp.writtenPredicates.size() <= index)
        warp.writtenPredicates.resize(index + 1);
      return warp.writtenPredicates[index];
    }
    size_t index = (frame + use.ref) / 128;
    if (warp.written.size() <= index)
      warp.written.resize(index + 1);
    return warp.written[index];
  };
  uint32_t active = mask;
  uint32_t defined = kAllLanes;
  bool isSelect = info.op == Op::Selp;
  uint32_t sources[3] = {kAllLanes, kAllLanes, kAllLanes};
  unsigned sourceCount = 0;
  for (uint32_t i = 0; i < info.useCount; ++i) {
    const RegisterUse &use = code->uses[info.uses + i];
    if (use.isWrite || (!use.isPredicate && (use.ref & 1)))
      continue;
    uint32_t known = cell(use);
    bool isGuard = use.isPredicate && instr.guard == use.ref && i == 0;
    if (isGuard) {
      if (mask & ~known) {
        uint32_t lane = uint32_t(__builtin_ctz(mask & ~known));
        raise(&warp, lane, pc, ErrorCode::LaunchFailed,
              "uninitialised register: the guard of this instruction was "
              "never written");
        return false;
      }
      uint32_t guard =
          reinterpret_cast<const uint32_t *>(warp.bases[0])[instr.guard];
      active &= instr.guardNegated ? ~guard : guard;
      continue;
    }
    if (sourceCount < 3)
      sources[sourceCount] = known;
    ++sourceCount;
    defined &= known;
  }
  bool matters = false;
  switch (info.op) {
  case Op::Ld:
  case Op::St:
  case Op::Atom:
  case Op::Red:
  case Op::CpAsync:
  case Op::Ldmatrix:
  case Op::Stmatrix:
  case Op::Shfl:
  case Op::Vote:
  case Op::Match:
  case Op::Redux:
  case Op::Mma:
  case Op::BarSync:
  case Op::BarRed:
    matters = true;
    break;
  default:
    break;
  }
  // Values handed to functions may be structures with holes.
  if (info.op == Op::St && instr.space == MemorySpace::Local)
    matters = false;
  if (matters && (active & ~defined)) {
    uint32_t lane = uint32_t(__builtin_ctz(active & ~defined));
    raise(&warp, lane, pc, ErrorCode::LaunchFailed,
          "uninitialised register: an operand was never written");
    return false;
  }
  if (isSelect && sourceCount == 3 && instr.ops[3] > 1) {
    uint32_t q =
        reinterpret_cast<const uint32_t *>(warp.bases[0])[instr.ops[3]];
    if (instr.flags & kNegatedPred)
      q = ~q;
    defined = sources[2] & ((q & sources[0]) | (~q & sources[1]));
  }
  for (uint32_t i = 0; i < info.useCount; ++i) {
    const RegisterUse &use = code->uses[info.uses + i];
    if (!use.isWrite)
      continue;
    uint32_t &known = cell(use);
    known = (known & ~active) | (defined & active);
  }
  return true;
}
