//===- AsyncCopies.cpp - cp.async: issued, committed, waited for ----------===//
//
// A copy's bytes move as late as its wait allows, so that a kernel that reads
// before it waits reads the old ones.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Checkers.h"

#include <cstring>

using namespace cudasim;

namespace {

void moveCopy(WarpState &warp, AsyncCopy &copy, uint32_t mask) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint8_t *to = warp.shared + copy.target[lane];
    uint32_t read = copy.sizes[lane];
    if (read == 16 && copy.bytes == 16) {
      memcpy(to, reinterpret_cast<const void *>(copy.source[lane]), 16);
      continue;
    }
    if (read)
      memcpy(to, reinterpret_cast<const void *>(copy.source[lane]), read);
    memset(to + read, 0, copy.bytes - read);
  }
  copy.moved |= mask;
}

} // namespace

void cudasim::completeCopy(WarpState &warp, AsyncCopy &copy, uint32_t mask) {
  moveCopy(warp, copy, mask & ~copy.moved);
  if (warp.launch->observed)
    asyncCopyLanded(warp, copy, mask);
  copy.mask &= ~mask;
}

namespace {

template <class F> void completeWhere(WarpState &warp, F lanesOf) {
  size_t kept = 0;
  for (size_t i = 0; i < warp.copies.size(); ++i) {
    AsyncCopy &copy = warp.copies[i];
    if (uint32_t lanes = lanesOf(copy) & copy.mask)
      completeCopy(warp, copy, lanes);
    if (copy.mask) {
      if (kept != i)
        warp.copies[kept] = copy;
      ++kept;
    }
  }
  warp.copies.resize(kept);
}

} // namespace

void cudasim::issueAsyncCopy(Warp &warp, const Instr &instr, uint32_t mask,
                             const uint64_t *source, const uint64_t *target,
                             const uint32_t *sourceBytes) {
  WarpState &state = stateOf(warp);
  Grid::Impl &grid = *state.block->grid;
  uint64_t base = reinterpret_cast<uint64_t>(warp.shared);
  uint32_t rest = mask;
  // Lanes whose counts of commits differ are in different groups.
  while (rest) {
    uint32_t group = state.commits[__builtin_ctz(rest)], same = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if ((rest >> lane & 1) && state.commits[lane] == group)
        same |= 1u << lane;
    rest &= ~same;
    state.copies.emplace_back();
    AsyncCopy &copy = state.copies.back();
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      copy.source[lane] = source[lane];
      copy.target[lane] = target[lane] - base;
      copy.sizes[lane] = sourceBytes[lane];
    }
    copy.mask = same;
    copy.group = group;
    copy.bytes = instr.bytes;
    copy.pc = warp.pc;
    // Until the wait the bytes are nobody's: neither old nor new.
    if (state.block->shadow && grid.config.checks.uninitialized)
      for (uint32_t lane = 0; lane < kLanes; ++lane)
        if (same >> lane & 1)
          memset(state.block->shadow->initialized.data() + copy.target[lane], 0,
                 copy.bytes);
    if (warp.launch->observed)
      asyncCopyIssued(state, copy);
  }
  // The bytes move as late as is legal, unless the seed wants some early; for
  // the checkers the copy ends with the wait in any case.
  if (grid.seeded && grid.random.below(4) == 0)
    for (AsyncCopy &copy : state.copies)
      if (grid.random.below(2))
        moveCopy(state, copy, copy.mask & ~copy.moved);
}

void cudasim::commitAsyncCopies(Warp &warp, const Instr &, uint32_t mask) {
  WarpState &state = stateOf(warp);
  for (uint32_t lane = 0; lane < kLanes; ++lane)
    state.commits[lane] += mask >> lane & 1;
}

void cudasim::waitAsyncCopies(Warp &warp, const Instr &instr, uint32_t mask) {
  WarpState &state = stateOf(warp);
  if (state.copies.empty())
    return;
  if (instr.sub) { // wait_all waits for copies of no group as well
    completeWhere(state, [&](const AsyncCopy &) { return mask; });
    return;
  }
  completeWhere(state, [&](const AsyncCopy &copy) {
    uint32_t lanes = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if ((mask >> lane & 1) &&
          uint64_t(copy.group) + instr.imm < state.commits[lane])
        lanes |= 1u << lane;
    return lanes;
  });
}
