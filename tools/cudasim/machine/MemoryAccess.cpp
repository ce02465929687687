//===- MemoryAccess.cpp - addresses that the fast paths do not decide -----===//

#include "tools/cudasim/machine/Checkers.h"
#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringExtras.h"

using namespace cudasim;

namespace {

std::string describe(AccessKind kind) {
  switch (kind) {
  case AccessKind::Load:
    return "read";
  case AccessKind::Store:
    return "write";
  case AccessKind::Atomic:
    return "atomic";
  case AccessKind::AsyncRead:
    return "asynchronous read";
  case AccessKind::AsyncWrite:
    return "asynchronous write";
  }
  return "access";
}

bool writes(AccessKind kind) {
  return kind == AccessKind::Store || kind == AccessKind::Atomic ||
         kind == AccessKind::AsyncWrite;
}

std::string hex(uint64_t value) { return "0x" + llvm::utohexstr(value, true); }

void stop(Warp &warp, uint32_t lane, ErrorCode code, std::string message,
          std::string details = {}) {
  WarpState &state = stateOf(warp);
  state.block->grid->raise(&state, lane, warp.pc, code, std::move(message),
                           std::move(details));
  warp.faulted = true;
}

/// Every lane's bytes lie in one variable. Addresses may be offsets in shared
/// memory or generic ones.
bool checkRedzones(WarpState &warp, AccessKind kind, uint32_t mask,
                   const uint64_t *addresses, uint32_t bytes) {
  const Grid::Impl &grid = *warp.block->grid;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint64_t begin = addresses[lane];
    if (begin - kSharedWindow < kWindowBytes)
      begin -= kSharedWindow;
    else if (begin >= kSharedWindow)
      continue; // another space of a generic access
    uint64_t end = begin + bytes;
    const Grid::Impl::SharedRange *before = nullptr;
    bool inside = false;
    for (const auto &range : grid.sharedRanges) {
      if (begin >= range.begin && end <= range.end)
        inside = true;
      if (range.begin <= begin)
        before = &range;
    }
    if (inside)
      continue;
    stop(warp, lane, ErrorCode::IllegalAddress,
         describe(kind) + " of " + std::to_string(bytes) +
             " bytes at shared address " + hex(begin) +
             (before
                  ? ": " + std::to_string(end - before->end) +
                        " bytes beyond the end of '" + before->name + "' (" +
                        std::to_string(before->end - before->begin) + " bytes)"
                  : ": no variable is there"));
    return false;
  }
  return true;
}

/// Where an asynchronous copy to these shared bytes was issued that nobody has
/// waited for; empty where there is none.
std::string pendingCopyAt(const Block &block, uint64_t begin, uint64_t bytes) {
  for (const WarpState &warp : block.warps)
    for (const AsyncCopy &copy : warp.copies)
      for (uint32_t lane = 0; lane < kLanes; ++lane)
        if ((copy.mask >> lane & 1) && copy.target[lane] < begin + bytes &&
            begin < copy.target[lane] + copy.bytes)
          return "a cp.async that was not waited for writes there, issued at " +
                 block.grid->placeOf(copy.pc) + "\n";
  return {};
}

} // namespace

bool cudasim::resolveAddresses(Warp &warp, const Instr &instr, uint32_t mask,
                               const uint64_t *addresses, uint32_t bytes,
                               AccessKind kind, uint64_t *host,
                               MemorySpace &space) {
  WarpState &state = stateOf(warp);
  Grid::Impl &grid = *state.block->grid;
  MemorySpace declared = space;
  bool firstLane = true;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint64_t address = addresses[lane];
    MemorySpace found = declared;
    if (declared == MemorySpace::Generic) {
      if (address - kSharedWindow < kWindowBytes) {
        found = MemorySpace::Shared;
        address -= kSharedWindow;
      } else if (address - kLocalWindow < kWindowBytes) {
        found = MemorySpace::Local;
        address -= kLocalWindow;
      } else if (address - kParamWindow < kWindowBytes) {
        found = MemorySpace::Param;
        address -= kParamWindow;
      } else {
        found = MemorySpace::Global;
      }
    }
    auto what = [&] {
      return describe(kind) + " of " + std::to_string(bytes) + " bytes at ";
    };
    // A copy's size decides its alignment, also where it reads less.
    uint32_t align = kind == AccessKind::AsyncRead ? instr.bytes : bytes;
    if (align && address & (align - 1)) {
      stop(warp, lane, ErrorCode::MisalignedAddress,
           what() + hex(address) + ", which is not a multiple of " +
               std::to_string(align));
      return false;
    }
    switch (found) {
    case MemorySpace::Shared:
      if (address > warp.sharedBytes || warp.sharedBytes - address < bytes) {
        // A lower lane may have hit a redzone within the block's bytes.
        if (grid.config.checks.sharedRedzones &&
            !checkRedzones(state, kind, mask & ((1u << lane) - 1), addresses,
                           bytes))
          return false;
        stop(warp, lane, ErrorCode::IllegalAddress,
             what() + "shared address " + hex(address) + ": the block has " +
                 std::to_string(warp.sharedBytes) + " bytes");
        return false;
      }
      host[lane] = reinterpret_cast<uint64_t>(warp.shared) + address;
      break;
    case MemorySpace::Local:
      if (address > warp.localStride || warp.localStride - address < bytes) {
        stop(warp, lane, ErrorCode::IllegalAddress,
             what() + "local address " + hex(address) + ": the thread has " +
                 std::to_string(warp.localStride) + " bytes");
        return false;
      }
      host[lane] = reinterpret_cast<uint64_t>(warp.local) +
                   uint64_t(lane) * warp.localStride + address;
      break;
    case MemorySpace::Param: {
      uint32_t size = warp.launch->parameterBytes;
      if (writes(kind) || address > size || size - address < bytes) {
        stop(warp, lane, ErrorCode::IllegalAddress,
             what() + "parameter offset " + hex(address) + ": the kernel has " +
                 std::to_string(size) + " bytes, read only");
        return false;
      }
      host[lane] =
          reinterpret_cast<uint64_t>(warp.launch->parameters) + address;
      break;
    }
    default: {
      AddressWindow &window = warp.launch->windows[warp.pc];
      bool inside = window.bytes >= bytes &&
                    address - window.base <= window.bytes - bytes;
      if (!inside) {
        GlobalMemory::Window fresh = grid.memory->window(grid.device, address);
        if (fresh.bytes)
          window = {fresh.base, fresh.bytes, fresh.toHost, fresh.toShadow,
                    fresh.writable};
        inside = window.bytes >= bytes &&
                 address - window.base <= window.bytes - bytes;
      }
      if (!inside || (writes(kind) && !window.writable)) {
        std::optional<MemoryFault> fault =
            grid.memory->check(grid.device, address, bytes, writes(kind));
        stop(warp, lane, fault ? fault->code : ErrorCode::IllegalAddress,
             fault ? fault->message : what() + hex(address));
        return false;
      }
      host[lane] = address + window.toHost;
      break;
    }
    }
    space = firstLane || space == found ? found : MemorySpace::Generic;
    firstLane = false;
  }
  // Lanes that take no part point where the first does: they may be read.
  uint64_t first = host[__builtin_ctz(mask)];
  for (uint32_t lane = 0; lane < kLanes; ++lane)
    if (!(mask >> lane & 1))
      host[lane] = first;
  return true;
}

bool cudasim::observeAccess(Warp &warp, const Instr &instr,
                            const Access &access) {
  WarpState &state = stateOf(warp);
  Block &block = *state.block;
  Grid::Impl &grid = *block.grid;
  const Checks &checks = grid.config.checks;
  // A generic access whose lanes went to several spaces is looked at space by
  // space.
  if (access.space == MemorySpace::Generic) {
    uint32_t shared = 0, global = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (!(access.mask >> lane & 1))
        continue;
      uint64_t address = access.addresses[lane];
      if (address - kSharedWindow < kWindowBytes)
        shared |= 1u << lane;
      else if (address < kSharedWindow ||
               address >= kParamWindow + kWindowBytes)
        global |= 1u << lane;
    }
    Access part = access;
    part.space = MemorySpace::Shared;
    part.mask = shared;
    if (shared && !observeAccess(warp, instr, part))
      return false;
    part.space = MemorySpace::Global;
    part.mask = global;
    return !global || observeAccess(warp, instr, part);
  }
  if (access.space == MemorySpace::Local ||
      access.space == MemorySpace::Param) {
    if (grid.config.countersWanted && access.space == MemorySpace::Local)
      countAccess(state, instr, access, access.addresses);
    return true;
  }

  uint64_t offsets[kLanes];
  bool isShared = access.space == MemorySpace::Shared;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    uint64_t address = access.addresses[lane];
    offsets[lane] = isShared && address >= kSharedWindow
                        ? address - kSharedWindow
                        : address;
  }
  if (grid.config.countersWanted)
    countAccess(state, instr, access, offsets);

  if (isShared) {
    if (checks.sharedRedzones &&
        !checkRedzones(state, access.kind, access.mask, offsets, access.bytes))
      return false;
    if (checks.uninitialized) {
      std::vector<uint8_t> &known = block.shadow->initialized;
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        if (!(access.mask >> lane & 1))
          continue;
        uint64_t at = offsets[lane];
        if (writes(access.kind) && access.kind != AccessKind::Atomic) {
          // Asynchronous copies write when they land.
          if (access.kind == AccessKind::Store)
            memset(known.data() + at, 1, access.bytes);
          continue;
        }
        const void *hole = memchr(known.data() + at, 0, access.bytes);
        if (hole) {
          stop(warp, lane, ErrorCode::LaunchFailed,
               "uninitialised shared " + describe(access.kind) + " of " +
                   std::to_string(access.bytes) + " bytes at shared address " +
                   hex(at),
               pendingCopyAt(block, at, access.bytes));
          return false;
        }
      }
    }
    return !checks.sharedRaces ||
           checkSharedRaces(state, instr, access, offsets);
  }

  if (checks.uninitialized) {
    const AddressWindow &cached = warp.launch->windows[warp.pc];
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (!(access.mask >> lane & 1))
        continue;
      uint64_t at = offsets[lane];
      AddressWindow window = cached;
      if (at - window.base >= window.bytes) {
        GlobalMemory::Window fresh = grid.memory->window(grid.device, at);
        window = {fresh.base, fresh.bytes, fresh.toHost, fresh.toShadow,
                  fresh.writable};
      }
      if (!window.toShadow)
        continue;
      auto *shadow = reinterpret_cast<uint8_t *>(at + window.toShadow);
      if (access.kind == AccessKind::Store) {
        memset(shadow, 1, access.bytes);
      } else if (const void *hole = memchr(shadow, 0, access.bytes)) {
        uint64_t distance =
            uint64_t(static_cast<const uint8_t *>(hole) - shadow);
        std::optional<Allocation> allocation = grid.memory->find(at);
        stop(warp, lane, ErrorCode::LaunchFailed,
             "uninitialised global " + describe(access.kind) + " of " +
                 std::to_string(access.bytes) + " bytes at " + hex(at) +
                 ": nobody wrote the byte " + std::to_string(distance) +
                 " of them" +
                 (allocation ? ", " + std::to_string(at - allocation->base) +
                                   " bytes into the " +
                                   std::to_string(allocation->bytes) +
                                   " bytes at " + hex(allocation->base) + " (" +
                                   allocation->label + ")"
                             : std::string()));
        return false;
      }
    }
  }
  return !checks.globalRaces || checkGlobalRaces(state, instr, access);
}

void cudasim::faultWarp(Warp &warp, uint32_t mask, int code,
                        const char *message) {
  stop(warp, uint32_t(__builtin_ctz(mask)), ErrorCode(code), message);
}

float cudasim::perturbed(Warp &warp, float value, float ulps) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7F800000) == 0x7F800000 || (bits & 0x7F800000) == 0)
    return value;
  // A function of the value, as in hardware: equal arguments have equal
  // results.
  Random random(warp.launch->perturb ^ uint64_t(bits) << 20);
  uint64_t draw = random.next();
  double step = double(value) * 0x1p-23 * ulps *
                (double(draw >> 11) * 0x1p-53 * 2 - 1) / 2;
  return float(double(value) + step);
}

//===--- fences and special registers ---------------------------------------//

void cudasim::fenceExecuted(Warp &warp, const Instr &instr, uint32_t) {
  WarpState &state = stateOf(warp);
  if (state.block->grid->globalShadow && !instr.sub)
    fenceBlocks(state);
}

namespace cudasim {
/// The lane whose atomic comes first.
int firstAtomicLane(Warp &warp) {
  Grid::Impl &grid = *stateOf(warp).block->grid;
  return grid.seeded ? int(grid.random.below(32)) : 0;
}
} // namespace cudasim

uint64_t cudasim::readSpecial(Warp &warp, uint32_t which, int lane) {
  WarpState &state = stateOf(warp);
  const Block &block = *state.block;
  const Grid::Impl &grid = *block.grid;
  const Dim3 &shape = grid.config.block, &blocks = grid.config.grid;
  auto thread = [&] { return grid.threadIndex(state.index, uint32_t(lane)); };
  uint32_t bit = 1u << lane;
  // Time is counted in instructions; it only ever grows.
  auto clock = [&] { return (grid.executed + state.executed) * 4; };
  switch (Special(which)) {
  case Special::TidX:
    return thread().x;
  case Special::TidY:
    return thread().y;
  case Special::TidZ:
    return thread().z;
  case Special::NtidX:
    return shape.x;
  case Special::NtidY:
    return shape.y;
  case Special::NtidZ:
    return shape.z;
  case Special::CtaidX:
    return block.index.x;
  case Special::CtaidY:
    return block.index.y;
  case Special::CtaidZ:
    return block.index.z;
  case Special::NctaidX:
    return blocks.x;
  case Special::NctaidY:
    return blocks.y;
  case Special::NctaidZ:
    return blocks.z;
  case Special::LaneId:
    return uint64_t(lane);
  case Special::WarpId:
    return state.index;
  case Special::NwarpId:
    return grid.warpsPerBlock;
  case Special::SmId:
    return block.linear % uint64_t(grid.model->multiprocessors);
  case Special::NsmId:
    return uint64_t(grid.model->multiprocessors);
  case Special::GridId:
    return 1;
  case Special::MaskEq:
    return bit;
  case Special::MaskLe:
    return bit | (bit - 1);
  case Special::MaskLt:
    return bit - 1;
  case Special::MaskGe:
    return ~(bit - 1);
  case Special::MaskGt:
    return ~(bit | (bit - 1));
  case Special::Clock:
    return uint32_t(clock());
  case Special::ClockHi:
    return clock() >> 32;
  case Special::Clock64:
  case Special::GlobalTimer:
    return clock();
  case Special::GlobalTimerLo:
    return uint32_t(clock());
  case Special::GlobalTimerHi:
    return clock() >> 32;
  case Special::WorkspaceHigh:
    return grid.workspace >> 32;
  case Special::WorkspaceLow:
    return uint32_t(grid.workspace);
  case Special::DynamicShared:
    return grid.config.dynamicSharedBytes;
  case Special::TotalShared:
    return grid.sharedTotal;
  case Special::Zero:
    return 0;
  case Special::One:
    return 1;
  }
  return 0;
}
