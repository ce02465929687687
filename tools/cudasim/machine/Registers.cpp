//===- Registers.cpp - where virtual registers live in a frame ------------===//
//
// A lane only ever writes its own element of a register, so liveness is that
// of one thread, whatever other lanes do at the same time. Each register gets
// one interval from its first to its last live instruction; a linear scan
// gives registers with disjoint intervals the same place.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/BitVector.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <queue>

using namespace cudasim;

namespace {

/// Beyond this many bits of liveness a function's registers are not shared.
constexpr uint64_t kMaxLivenessBits = uint64_t(1) << 30;

struct Interval {
  uint32_t first = ~0u, last = 0;
  bool used() const { return first != ~0u; }
  void cover(uint32_t at) {
    first = std::min(first, at);
    last = std::max(last, at);
  }
};

struct Block {
  uint32_t begin, end;
  llvm::SmallVector<uint32_t, 2> next;
};

std::vector<Block> findBlocks(llvm::ArrayRef<Draft> drafts,
                              llvm::ArrayRef<uint32_t> labelTargets) {
  llvm::BitVector starts(unsigned(drafts.size()) + 1);
  starts.set(0);
  for (const Draft &draft : drafts)
    if (draft.label != ptx::kNone)
      starts.set(labelTargets[draft.label]);
  auto ends = [](const Draft &draft) {
    return draft.instr.flow == Flow::Branch || draft.instr.flow == Flow::Ret ||
           draft.instr.flow == Flow::Exit;
  };
  for (uint32_t i = 0; i < drafts.size(); ++i)
    if (ends(drafts[i]))
      starts.set(i + 1);
  std::vector<Block> blocks;
  std::vector<uint32_t> blockAt(drafts.size() + 1);
  for (uint32_t i = 0; i < drafts.size(); ++i) {
    if (starts[i])
      blocks.push_back({i, i, {}});
    blocks.back().end = i + 1;
    blockAt[i] = uint32_t(blocks.size() - 1);
  }
  for (Block &block : blocks) {
    const Draft &last = drafts[block.end - 1];
    bool guarded = !last.uses.empty() && last.uses[0].slot == kGuardSlot;
    if (last.label != ptx::kNone)
      block.next.push_back(blockAt[labelTargets[last.label]]);
    bool leaves = ends(last) && !guarded;
    if (!leaves && block.end < drafts.size())
      block.next.push_back(blockAt[block.end]);
  }
  return blocks;
}

/// Intervals and the highest number of 32-bit registers alive at once.
std::vector<Interval> findIntervals(llvm::ArrayRef<Draft> drafts,
                                    llvm::ArrayRef<Width> registers,
                                    llvm::ArrayRef<Block> blocks,
                                    uint32_t &pressure) {
  unsigned count = unsigned(registers.size());
  std::vector<llvm::BitVector> liveIn(blocks.size(), llvm::BitVector(count)),
      liveOut(blocks.size(), llvm::BitVector(count));
  auto backward = [&](const Draft &draft, llvm::BitVector &live) {
    bool guarded = !draft.uses.empty() && draft.uses[0].slot == kGuardSlot;
    for (const DraftUse &use : draft.uses)
      if (use.isWrite && !guarded)
        live.reset(use.reg);
    for (const DraftUse &use : draft.uses)
      if (!use.isWrite)
        live.set(use.reg);
  };
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t b = blocks.size(); b-- > 0;) {
      llvm::BitVector live(count);
      for (uint32_t next : blocks[b].next)
        live |= liveIn[next];
      liveOut[b] = live;
      for (uint32_t i = blocks[b].end; i-- > blocks[b].begin;)
        backward(drafts[i], live);
      if (live != liveIn[b]) {
        liveIn[b] = std::move(live);
        changed = true;
      }
    }
  }
  std::vector<Interval> intervals(count);
  pressure = 0;
  auto weight = [&](unsigned reg) -> uint32_t {
    return registers[reg] == Width::Wide     ? 2
           : registers[reg] == Width::Double ? 4
           : registers[reg] == Width::Narrow ? 1
                                             : 0;
  };
  for (size_t b = 0; b < blocks.size(); ++b) {
    llvm::BitVector live = liveOut[b];
    for (unsigned reg : live.set_bits())
      intervals[reg].cover(blocks[b].end - 1);
    for (unsigned reg : liveIn[b].set_bits())
      intervals[reg].cover(blocks[b].begin);
    uint32_t now = 0;
    for (unsigned reg : live.set_bits())
      now += weight(reg);
    pressure = std::max(pressure, now);
    for (uint32_t i = blocks[b].end; i-- > blocks[b].begin;) {
      for (const DraftUse &use : drafts[i].uses) {
        intervals[use.reg].cover(i);
        // Results of one instruction never share, even if nobody reads them.
        if (use.isWrite)
          intervals[use.reg].cover(i + 1);
      }
      // Count by difference: only the named registers change.
      llvm::SmallVector<std::pair<uint32_t, bool>, 8> before;
      for (const DraftUse &use : drafts[i].uses)
        before.push_back({use.reg, live.test(use.reg)});
      backward(drafts[i], live);
      for (size_t k = 0; k < before.size(); ++k) {
        bool seen = false;
        for (size_t j = 0; j < k; ++j)
          seen |= before[j].first == before[k].first;
        if (seen)
          continue;
        bool after = live.test(before[k].first);
        if (after && !before[k].second)
          now += weight(before[k].first);
        if (!after && before[k].second)
          now -= weight(before[k].first);
      }
      pressure = std::max(pressure, now);
    }
  }
  return intervals;
}

} // namespace

void cudasim::allocateRegisters(std::vector<Draft> &drafts,
                                llvm::ArrayRef<Width> registers,
                                llvm::ArrayRef<uint32_t> labelTargets,
                                bool separate, FunctionCode &function) {
  std::vector<Block> blocks = findBlocks(drafts, labelTargets);
  std::vector<Interval> intervals;
  uint32_t pressure = 0;
  bool tooBig = uint64_t(blocks.size()) * registers.size() > kMaxLivenessBits;
  if (!separate && !tooBig) {
    intervals = findIntervals(drafts, registers, blocks, pressure);
  } else {
    intervals.resize(registers.size());
    for (const Draft &draft : drafts)
      for (const DraftUse &use : draft.uses) {
        intervals[use.reg].first = 0;
        intervals[use.reg].last = uint32_t(drafts.size());
      }
  }

  // By width: places in use by the end of their interval, and free ones.
  std::vector<uint32_t> order, place(registers.size());
  for (uint32_t reg = 0; reg < registers.size(); ++reg)
    if (intervals[reg].used())
      order.push_back(reg);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::make_pair(intervals[a].first, a) <
           std::make_pair(intervals[b].first, b);
  });
  struct Pool {
    std::priority_queue<std::pair<uint32_t, uint32_t>,
                        std::vector<std::pair<uint32_t, uint32_t>>,
                        std::greater<>>
        busy;
    std::vector<uint32_t> free;
    uint32_t count = 0;
  } pools[4];
  for (uint32_t reg : order) {
    Pool &pool = pools[size_t(registers[reg])];
    while (!pool.busy.empty() &&
           pool.busy.top().first <= intervals[reg].first) {
      // A place whose last reader is this instruction may take its result:
      // handlers read all sources before they write.
      pool.free.push_back(pool.busy.top().second);
      pool.busy.pop();
    }
    if (pool.free.empty()) {
      place[reg] = pool.count++;
    } else {
      place[reg] = pool.free.back();
      pool.free.pop_back();
    }
    pool.busy.push({intervals[reg].last, place[reg]});
  }

  constexpr uint32_t kReservedPredicates = 2; // false and true
  uint32_t words = kReservedPredicates + pools[size_t(Width::Predicate)].count;
  uint64_t at = llvm::alignTo(uint64_t(words) * 4, 128);
  uint64_t base[4] = {0, at, 0, 0};
  at += uint64_t(pools[1].count) * 128;
  base[2] = at = llvm::alignTo(at, 256);
  at += uint64_t(pools[2].count) * 256;
  base[3] = at = llvm::alignTo(at, 512);
  at += uint64_t(pools[3].count) * 512;
  function.frameBytes = uint32_t(llvm::alignTo(at, 512));
  function.predicateWords = words;
  // What the calling convention and addressing take on top, as ptxas shows.
  function.registers =
      std::clamp<uint32_t>(uint32_t(llvm::alignTo(pressure + 6, 2)), 16, 255);

  for (Draft &draft : drafts)
    for (const DraftUse &use : draft.uses) {
      size_t width = size_t(registers[use.reg]);
      Ref ref = width == 0 ? kReservedPredicates + place[use.reg]
                           : Ref(base[width] + uint64_t(place[use.reg]) * 64 *
                                                   (uint64_t(1) << width));
      if (use.slot == kGuardSlot)
        draft.instr.guard = ref;
      else if (use.slot < 8)
        draft.instr.ops[use.slot] = ref;
      else {
        if (draft.extra.size() <= size_t(use.slot - 8))
          draft.extra.resize(use.slot - 7, kSink);
        draft.extra[use.slot - 8] = ref;
      }
    }
}
