//===- WarpRunner.cpp - fetch, divergence and barriers --------------------===//
//
// Long because: fetch, divergence and barriers share one state.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Machine.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"

using namespace cudasim;

namespace {

/// Backward branches after which a fragment lets others of its warp go first.
constexpr uint32_t kBackBranches = 512;

std::string hexMask(uint32_t mask) {
  return "0x" + llvm::utohexstr(mask, true, 8);
}

/// Fragments at the same place become one.
void mergeFragments(WarpState &warp) {
  auto &all = warp.fragments;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].state == Fragment::Barrier)
      continue;
    for (size_t j = all.size(); j-- > i + 1;) {
      if (all[j].state == Fragment::Barrier || all[j].pc != all[i].pc ||
          all[j].depth != all[i].depth)
        continue;
      all[i].mask |= all[j].mask;
      all[i].yields = std::max(all[i].yields, all[j].yields);
      all[i].worked = false; // it came back to the others
      all[i].state = Fragment::Ready;
      all.erase(all.begin() + long(j));
    }
  }
}

/// The fragment to run; -1 where none is ready.
int chooseFragment(WarpState &warp, bool seeded, Random &random) {
  auto &all = warp.fragments;
  int best = -1;
  llvm::SmallVector<int, 8> ready;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].state != Fragment::Ready)
      continue;
    ready.push_back(int(i));
    if (best < 0) {
      best = int(i);
      continue;
    }
    const Fragment &a = all[i], &b = all[best];
    bool before = a.yields != b.yields ? a.yields < b.yields
                  : a.depth != b.depth ? a.depth > b.depth
                                       : a.pc < b.pc;
    if (before)
      best = int(i);
  }
  // Any order is legal; convergence is only what usually happens.
  if (seeded && ready.size() > 1 && random.below(8) == 0)
    best = ready[random.below(ready.size())];
  return best;
}

} // namespace

//===--- barriers -----------------------------------------------------------//

bool Grid::Impl::barrierComplete(const Block &block, uint32_t id) const {
  const BarrierState &barrier = block.barriers[id];
  if (!barrier.active)
    return false;
  uint32_t full = 0, some = 0;
  for (const WarpState &warp : block.warps) {
    uint32_t arrived = barrier.arrived[warp.index];
    // Lanes that have exited, or never were, do not keep others waiting.
    bool complete = (arrived | ~warp.live) == kAllLanes;
    some += arrived != 0;
    if (barrier.expected == 0 ? complete : complete && arrived != 0)
      ++full;
  }
  if (barrier.expected == 0)
    return some && full == block.warps.size();
  return full >= barrier.expected / 32;
}

void Grid::Impl::releaseBarrier(Block &block, uint32_t id) {
  BarrierState &barrier = block.barriers[id];
  barrierJoined(block, barrier);
  for (WarpState &warp : block.warps)
    for (Fragment &fragment : warp.fragments) {
      if (fragment.state != Fragment::Barrier || fragment.barrier != id)
        continue;
      const Instr &instr = code->instrs[fragment.pc];
      if (instr.sub) {
        uint32_t function = code->info[fragment.pc].function;
        uint8_t *frame =
            warp.frames.data() + frameBase(function, fragment.depth);
        uint32_t value = instr.sub == 1   ? barrier.count
                         : instr.sub == 2 ? (barrier.all ? kAllLanes : 0)
                                          : (barrier.any ? kAllLanes : 0);
        if (instr.ops[0] != kSink) {
          if (instr.sub == 1) {
            auto *to = reinterpret_cast<uint32_t *>(frame + instr.ops[0]);
            for (int lane = 0; lane < kLanes; ++lane)
              if (fragment.mask >> lane & 1)
                to[lane] = value;
          } else {
            uint32_t &word = reinterpret_cast<uint32_t *>(frame)[instr.ops[0]];
            word = (word & ~fragment.mask) | (value & fragment.mask);
          }
        }
      }
      fragment.state = Fragment::Ready;
      fragment.worked = false;
      ++fragment.pc;
    }
  for (WarpState &warp : block.warps)
    mergeFragments(warp);
  barrier = BarrierState();
  ++progress;
}

//===--- the loop -----------------------------------------------------------//

namespace {

/// One warp's turn. Local copies of the hot state live in run().
class Runner {
public:
  Runner(Grid::Impl &grid, WarpState &warp)
      : grid(grid), warp(warp), code(grid.code->instrs.data()) {}

  RunResult run(uint64_t quantum) {
    if (grid.context.observed || grid.config.checks.uninitialized ||
        !grid.pcCount.empty())
      return loop<true>(quantum);
    return loop<false>(quantum);
  }

private:
  Fragment &now() { return warp.fragments[size_t(warp.current)]; }

  void enter() {
    const Fragment &fragment = now();
    uint32_t function = grid.code->info[fragment.pc].function;
    warp.bases[0] =
        warp.frames.data() + grid.frameBase(function, fragment.depth);
    warp.localBase = grid.localBase(function, fragment.depth);
  }

  bool othersReady() const {
    for (size_t i = 0; i < warp.fragments.size(); ++i)
      if (int(i) != warp.current && warp.fragments[i].state == Fragment::Ready)
        return true;
    return false;
  }

  /// Lanes `mask` of the current fragment go to a fragment of their own.
  Fragment &splitOff(uint32_t mask) {
    Fragment other = now();
    now().mask &= ~mask;
    other.mask = mask;
    other.backBranches = 0;
    warp.fragments.push_back(other);
    return warp.fragments.back();
  }

  void fault(uint32_t lanes, ErrorCode error, std::string message,
             std::string details = {}) {
    uint32_t lane = lanes ? uint32_t(llvm::countr_zero(lanes)) : 0;
    grid.raise(&warp, lane, now().pc, error, std::move(message),
               std::move(details));
    warp.faulted = true;
  }

  const uint32_t *lanes32(Ref ref) const {
    return reinterpret_cast<const uint32_t *>(warp.bases[ref & 1] +
                                              (ref & ~Ref(1)));
  }
  uint32_t predicate(Ref ref) const {
    return reinterpret_cast<const uint32_t *>(warp.bases[0])[ref];
  }

  template <bool Observed> RunResult loop(uint64_t quantum);
  bool sync(const Instr &instr, uint32_t mask);
  bool converge(const Instr &instr, uint32_t mask);
  bool warpBarrier(const Instr &instr, uint32_t mask);
  bool barrier(const Instr &instr, uint32_t mask);
  bool call(const Instr &instr, uint32_t mask);
  bool ret(uint32_t mask);
  bool leave(uint32_t mask);
  bool stuck();

  Grid::Impl &grid;
  WarpState &warp;
  const Instr *code;
};

/// After the switch below a fragment list may have changed; true asks for a
/// new choice.
template <bool Observed> RunResult Runner::loop(uint64_t quantum) {
  uint64_t left = quantum;
  auto account = [&](uint64_t used) {
    grid.executed += used;
    warp.executed += used;
  };
  while (true) {
    if (warp.fragments.size() > 1)
      mergeFragments(warp);
    if (warp.fragments.empty()) {
      account(quantum - left);
      return RunResult::Done;
    }
    warp.current = chooseFragment(warp, grid.seeded, grid.random);
    if (warp.current < 0) {
      account(quantum - left);
      return stuck() ? RunResult::Faulted : RunResult::Blocked;
    }
    enter();

    // Others whose place this fragment may reach: there they merge.
    uint32_t stop = ~0u;
    bool alone = warp.fragments.size() == 1;
    if (!alone)
      for (size_t i = 0; i < warp.fragments.size(); ++i) {
        const Fragment &other = warp.fragments[i];
        if (int(i) != warp.current && other.state != Fragment::Barrier &&
            other.depth == now().depth && other.pc > now().pc)
          stop = std::min(stop, other.pc);
      }

    uint32_t pc = now().pc;
    const uint32_t mask = now().mask;
    const uint32_t *predicates =
        reinterpret_cast<const uint32_t *>(warp.bases[0]);
    bool again = false;
    while (!again) {
      if (pc >= stop)
        break;
      if (left == 0) {
        now().pc = pc;
        account(quantum);
        return RunResult::Quantum;
      }
      --left;
      const Instr &instr = code[pc];
      uint32_t active = mask;
      if (instr.guard != ~0u) {
        uint32_t guard = predicates[instr.guard];
        active &= instr.guardNegated ? ~guard : guard;
      }
      if (Observed) {
        if (!grid.pcCount.empty()) {
          ++grid.pcCount[pc];
          grid.pcLanes[pc] += uint64_t(llvm::popcount(active));
        }
        if (grid.config.checks.uninitialized) {
          now().pc = pc;
          if (!grid.checkRegisters(warp, pc, mask)) {
            account(quantum - left);
            return RunResult::Faulted;
          }
        }
      }
      if (instr.flow <= Flow::Write) {
        if (active) {
          warp.pc = pc;
          instr.run(warp, instr, active);
          if (warp.faulted) {
            account(quantum - left);
            return RunResult::Faulted;
          }
          if (instr.flow == Flow::Write) {
            ++grid.progress;
            if (!alone)
              now().worked = true;
          }
        }
        ++pc;
        continue;
      }
      if (instr.flow == Flow::Branch) {
        if (active == 0) {
          ++pc;
          continue;
        }
        bool back = instr.target <= pc;
        if (active == mask) {
          pc = instr.target;
          if (alone)
            continue;
          if (back && ++now().backBranches >= kBackBranches) {
            now().backBranches = 0;
            uint32_t most = 0;
            for (const Fragment &other : warp.fragments)
              most = std::max(most, other.yields);
            now().yields = most + 1;
          }
          again = true;
          continue;
        }
        if (Observed)
          ++grid.counters.divergentBranches;
        now().pc = pc + 1;
        Fragment &taken = splitOff(active);
        taken.pc = instr.target;
        again = true;
        pc = now().pc;
        continue;
      }

      // All else may rearrange the fragments.
      now().pc = pc;
      warp.pc = pc;
      if (active == 0) {
        ++pc;
        continue;
      }
      bool good = true;
      switch (instr.flow) {
      case Flow::Sync:
        good = sync(instr, active);
        break;
      case Flow::Converge:
        good = converge(instr, active);
        break;
      case Flow::WarpBarrier:
        good = warpBarrier(instr, active);
        break;
      case Flow::Barrier:
      case Flow::BarArrive:
        good = barrier(instr, active);
        break;
      case Flow::Call:
        good = call(instr, active);
        break;
      case Flow::Builtin:
        good =
            grid.callBuiltin(warp, grid.code->calls[instr.target], active, pc);
        if (good)
          ++now().pc;
        break;
      case Flow::Ret:
        good = ret(active);
        break;
      case Flow::Exit:
        good = leave(active);
        break;
      case Flow::Trap:
        fault(active, ErrorCode::LaunchFailed, "trap");
        good = false;
        break;
      case Flow::Sleep:
        ++now().pc;
        account(quantum - left);
        if (warp.fragments.size() > 1) {
          uint32_t most = 0;
          for (const Fragment &other : warp.fragments)
            most = std::max(most, other.yields);
          now().yields = most + 1;
        }
        return RunResult::Slept;
      default:
        break;
      }
      if (!good || warp.faulted) {
        account(quantum - left);
        return RunResult::Faulted;
      }
      // The common case: the same fragment goes on behind the instruction.
      if (warp.fragments.size() == 1 && alone && warp.current == 0 &&
          now().state == Fragment::Ready && now().mask == mask &&
          instr.flow != Flow::Call && instr.flow != Flow::Ret) {
        pc = now().pc;
        continue;
      }
      pc = ~0u; // already stored
      again = true;
    }
    if (pc != ~0u && warp.current >= 0 &&
        size_t(warp.current) < warp.fragments.size())
      now().pc = pc;
  }
}

/// No fragment is ready. Lanes that wait for each other without end are
/// reported; lanes at a block's barrier may be freed by other warps.
bool Runner::stuck() {
  bool atBarrier = false;
  const Fragment *parked = nullptr;
  for (const Fragment &fragment : warp.fragments) {
    atBarrier |= fragment.state == Fragment::Barrier;
    if (fragment.state == Fragment::Parked)
      parked = &fragment;
  }
  if (!parked || atBarrier)
    return false;
  warp.current = int(parked - warp.fragments.data());
  std::string details;
  for (const Fragment &fragment : warp.fragments)
    details += "lanes " + hexMask(fragment.mask) + " wait at " +
               grid.placeOf(fragment.pc) + "\n";
  fault(parked->mask, ErrorCode::LaunchTimeout,
        "lanes of a warp wait for each other at different instructions",
        details);
  return true;
}

/// Ops with a member mask: runs each group of lanes that is complete.
bool Runner::sync(const Instr &instr, uint32_t active) {
  const uint32_t *members = lanes32(instr.ops[7]);
  uint32_t rest = active, done = now().mask & ~active;
  while (rest) {
    uint32_t first = uint32_t(llvm::countr_zero(rest));
    uint32_t wanted = members[first], group = 0;
    for (uint32_t lane = first; lane < kLanes; ++lane)
      if ((rest >> lane & 1) && members[lane] == wanted)
        group |= 1u << lane;
    rest &= ~group;
    if (group & ~wanted) {
      fault(group & ~wanted, ErrorCode::LaunchFailed,
            "the member mask " + hexMask(wanted) +
                " does not hold the lane that executes with it");
      return false;
    }
    if ((wanted & warp.live) & ~group)
      continue; // somebody is missing
    instr.run(warp, instr, group);
    if (warp.faulted)
      return false;
    done |= group;
  }
  if (done == now().mask) {
    ++now().pc;
    return true;
  }
  uint32_t waiting = now().mask & ~done;
  if (done) {
    Fragment &ahead = splitOff(done);
    ++ahead.pc;
  }
  now().mask = waiting;
  now().state = Fragment::Parked;
  return true;
}

bool Runner::converge(const Instr &instr, uint32_t active) {
  if (active == warp.live) {
    if (grid.config.checks.sync && active != kAllLanes) {
      fault(~active, ErrorCode::LaunchFailed,
            "needs all 32 lanes of the warp, found " + hexMask(active));
      return false;
    }
    instr.run(warp, instr, active);
    ++now().pc;
    return !warp.faulted;
  }
  if (active != now().mask || warp.fragments.size() == 1) {
    fault(warp.live & ~active, ErrorCode::LaunchFailed,
          "needs all lanes of the warp, but only " + hexMask(active) +
              " execute it");
    return false;
  }
  now().state = Fragment::Parked;
  return true;
}

/// bar.warp.sync: lanes may meet from different instructions.
bool Runner::warpBarrier(const Instr &instr, uint32_t active) {
  const uint32_t *members = lanes32(instr.ops[7]);
  uint32_t first = uint32_t(llvm::countr_zero(active));
  uint32_t wanted = members[first], group = 0;
  for (uint32_t lane = first; lane < kLanes; ++lane)
    if ((active >> lane & 1) && members[lane] == wanted)
      group |= 1u << lane;
  if (group & ~wanted) {
    fault(group & ~wanted, ErrorCode::LaunchFailed,
          "the member mask " + hexMask(wanted) +
              " does not hold the lane that executes with it");
    return false;
  }
  if (group != now().mask) {
    // Lanes that do not take part, or have another mask, are on their own.
    Fragment &others = splitOff(now().mask & ~group);
    if ((others.mask & active) == 0)
      ++others.pc;
  }
  // Who else stands at a bar.warp.sync with this mask?
  uint32_t present = group;
  llvm::SmallVector<size_t, 4> joined;
  for (size_t i = 0; i < warp.fragments.size(); ++i) {
    const Fragment &other = warp.fragments[i];
    if (int(i) == warp.current || other.state != Fragment::Parked ||
        code[other.pc].flow != Flow::WarpBarrier)
      continue;
    uint32_t function = grid.code->info[other.pc].function;
    const Instr &theirs = code[other.pc];
    Ref ref = theirs.ops[7];
    const uint8_t *base =
        ref & 1 ? warp.bases[1]
                : warp.frames.data() + grid.frameBase(function, other.depth);
    const auto *masks =
        reinterpret_cast<const uint32_t *>(base + (ref & ~Ref(1)));
    if (masks[llvm::countr_zero(other.mask)] != wanted)
      continue;
    present |= other.mask;
    joined.push_back(i);
  }
  if ((wanted & warp.live) & ~present) {
    now().state = Fragment::Parked;
    return true;
  }
  for (size_t i : joined) {
    warp.fragments[i].state = Fragment::Ready;
    ++warp.fragments[i].pc;
  }
  ++now().pc;
  grid.warpSynced(warp);
  return true;
}

bool Runner::barrier(const Instr &instr, uint32_t active) {
  Block &block = *warp.block;
  uint32_t first = uint32_t(llvm::countr_zero(active));
  const uint32_t *ids = lanes32(instr.ops[1]);
  const uint32_t *counts =
      instr.ops[2] == kSink ? nullptr : lanes32(instr.ops[2]);
  uint32_t id = ids[first], expected = counts ? counts[first] : 0;
  for (uint32_t lane = first; lane < kLanes; ++lane)
    if ((active >> lane & 1) &&
        (ids[lane] != id || (counts && counts[lane] != expected))) {
      fault(1u << lane, ErrorCode::LaunchFailed,
            "lanes of a warp name different barriers or counts");
      return false;
    }
  uint32_t threads = grid.warpsPerBlock * 32;
  if (id > 15 || (counts && (expected == 0 || expected % 32))) {
    fault(active, ErrorCode::LaunchFailed,
          "barrier " + std::to_string(id) + " with count " +
              std::to_string(expected) +
              ": expected a barrier up to 15 and a multiple of 32 threads");
    return false;
  }
  if (expected > threads) {
    fault(active, ErrorCode::LaunchFailed,
          "barrier " + std::to_string(id) + " waits for " +
              std::to_string(expected) + " threads, the block has " +
              std::to_string(threads));
    return false;
  }
  BarrierState &state = block.barriers[id];
  bool isArrive = instr.flow == Flow::BarArrive;
  if (!state.active) {
    state.active = true;
    state.expected = expected;
    state.pc = now().pc;
  } else if (state.expected != expected) {
    fault(active, ErrorCode::LaunchFailed,
          "barrier " + std::to_string(id) + " with count " +
              (expected ? std::to_string(expected) : std::string("of all")) +
              ", others wait with " +
              (state.expected ? std::to_string(state.expected)
                              : std::string("that of all")),
          "others wait at " + grid.placeOf(state.pc) + "\n");
    return false;
  } else if (grid.config.checks.sync && expected == 0 && state.pc != now().pc) {
    fault(active, ErrorCode::LaunchFailed,
          "threads of the block wait at different __syncthreads()",
          "others wait at " + grid.placeOf(state.pc) + "\n");
    return false;
  }
  if (state.arrived[warp.index] & active) {
    fault(active, ErrorCode::LaunchFailed,
          "a thread arrives twice at barrier " + std::to_string(id));
    return false;
  }
  if (instr.sub) {
    uint32_t set = predicate(instr.ops[3]);
    if (instr.flags & kNegatedPred)
      set = ~set;
    state.count += uint32_t(llvm::popcount(set & active));
    state.all = state.all && (set & active) == active;
    state.any = state.any || (set & active) != 0;
  }
  state.arrived[warp.index] |= active;
  ++grid.counters.barriers;
  if (active != now().mask) {
    Fragment &passing = splitOff(now().mask & ~active);
    ++passing.pc;
  }
  if (isArrive) {
    ++now().pc;
  } else {
    now().state = Fragment::Barrier;
    now().barrier = uint8_t(id);
    now().worked = false;
  }
  if (grid.barrierComplete(block, id))
    grid.releaseBarrier(block, id);
  return true;
}

bool Runner::call(const Instr &instr, uint32_t active) {
  const CallInfo &info = grid.code->calls[instr.target];
  uint32_t depth = now().depth + 1;
  if (depth > grid.maxDepth) {
    fault(active, ErrorCode::LaunchFailed,
          "calls are nested more than " + std::to_string(grid.maxDepth) +
              " deep: the stack overflows");
    return false;
  }
  if (active != now().mask) {
    Fragment &passing = splitOff(now().mask & ~active);
    ++passing.pc;
  }
  if (warp.returns.size() < depth)
    warp.returns.resize(depth);
  uint32_t base = grid.frameBase(info.callee, depth);
  const FunctionCode &callee = grid.code->functions[info.callee];
  size_t need = size_t(base) + callee.frameBytes;
  if (warp.frames.size() < need) {
    warp.frames.resize(
        size_t(grid.code->functions[grid.kernelFunction].frameBytes) +
        size_t(depth) * grid.calleeFrames);
  }
  if (!warp.written.empty()) {
    // A new frame's registers are unwritten for these lanes.
    warp.written.resize(std::max(warp.written.size(), need / 128 + 1));
    for (size_t i = base / 128; i < need / 128; ++i)
      warp.written[i] &= ~active;
  }
  auto *predicates = reinterpret_cast<uint32_t *>(warp.frames.data() + base);
  predicates[0] &= ~active;
  predicates[1] |= active;
  uint32_t mine = warp.localBase;
  uint32_t theirs = grid.localBase(info.callee, depth);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(active >> lane & 1))
      continue;
    warp.returns[depth - 1][lane] = {now().pc + 1, instr.target};
    uint8_t *local = warp.local + size_t(lane) * warp.localStride;
    for (const CallInfo::Move &move : info.arguments)
      memcpy(local + theirs + move.to, local + mine + move.from, move.bytes);
  }
  now().pc = callee.entry;
  now().depth = depth;
  return true;
}

bool Runner::ret(uint32_t active) {
  if (now().depth == 0)
    return leave(active);
  if (active != now().mask) {
    Fragment &passing = splitOff(now().mask & ~active);
    ++passing.pc;
  }
  uint32_t depth = now().depth, theirs = warp.localBase;
  const auto &points = warp.returns[depth - 1];
  uint32_t rest = active;
  bool first = true;
  while (rest) {
    ReturnPoint point = points[llvm::countr_zero(rest)];
    uint32_t group = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if ((rest >> lane & 1) && points[lane].pc == point.pc)
        group |= 1u << lane;
    rest &= ~group;
    const CallInfo &info = grid.code->calls[point.call];
    uint32_t caller = grid.code->info[point.pc - 1].function;
    uint32_t mine = grid.localBase(caller, depth - 1);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (!(group >> lane & 1))
        continue;
      uint8_t *local = warp.local + size_t(lane) * warp.localStride;
      for (const CallInfo::Move &move : info.results)
        memcpy(local + mine + move.to, local + theirs + move.from, move.bytes);
    }
    if (first) {
      now().mask = group;
      now().pc = point.pc;
      now().depth = depth - 1;
      first = false;
      continue;
    }
    Fragment other = now();
    other.mask = group;
    other.pc = point.pc;
    warp.fragments.push_back(other);
  }
  return true;
}

/// Lanes exit.
bool Runner::leave(uint32_t active) {
  Block &block = *warp.block;
  if (grid.config.checks.sync) {
    for (const AsyncCopy &copy : warp.copies)
      if (copy.mask & active) {
        fault(copy.mask & active, ErrorCode::LaunchFailed,
              "exit with cp.async copies that nobody waited for",
              "issued at " + grid.placeOf(copy.pc) + "\n");
        return false;
      }
    // Some lanes wait at a barrier that these passed by and worked on.
    for (const Fragment &other : warp.fragments)
      if (other.state == Fragment::Barrier && now().worked &&
          other.mask != now().mask && code[other.pc].imm &&
          other.pc < now().pc) {
        uint32_t skipped = active;
        warp.current = int(&other - warp.fragments.data());
        fault(other.mask, ErrorCode::LaunchFailed,
              "divergent barrier: only lanes " + hexMask(other.mask) +
                  " of the warp wait here, lanes " + hexMask(skipped) +
                  " went past it and exit");
        return false;
      }
  }
  warp.live &= ~active;
  uint32_t stay = now().mask & ~active;
  if (stay) {
    now().mask = stay;
    ++now().pc;
  } else {
    warp.fragments.erase(warp.fragments.begin() + warp.current);
    warp.current = -1;
  }
  // Nobody waits for them any more.
  for (Fragment &other : warp.fragments)
    if (other.state == Fragment::Parked)
      other.state = Fragment::Ready;
  for (uint32_t id = 0; id < 16; ++id)
    if (grid.barrierComplete(block, id))
      grid.releaseBarrier(block, id);
  return true;
}

} // namespace

RunResult Grid::Impl::runWarp(WarpState &warp, uint64_t quantum) {
  return Runner(*this, warp).run(quantum);
}
