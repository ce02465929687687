//===- HandlersMemory.cpp - loads, stores and asynchronous copies ---------===//
//
// The usual case is decided for all lanes at once: every address inside the
// window of global memory that this instruction used last, or inside the
// block's shared memory. All else goes through resolveAddresses.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/HandlerKit.h"
#include "tools/cudasim/machine/HandlerPicks.h"

namespace cudasim {
namespace {

/// Address of every lane; lanes that take no part repeat the first that does.
INLINE void addressesOf(const Warp &warp, const Instr &instr, Ref base,
                        uint64_t offset, uint32_t mask, uint64_t *out) {
  if (instr.flags & kFrameLocal)
    offset += warp.localBase;
  if (instr.flags & kAddress64) {
    const uint64_t *a = sourceLanes<uint64_t>(warp, base);
    LANES out[lane] = a[lane] + offset;
  } else {
    const uint32_t *a = sourceLanes<uint32_t>(warp, base);
    LANES out[lane] = uint32_t(a[lane] + uint32_t(offset));
  }
  if (mask != kAllLanes) {
    uint64_t first = out[__builtin_ctz(mask)];
    LANES out[lane] = mask >> lane & 1 ? out[lane] : first;
  }
}

INLINE bool allWithin(const uint64_t *addresses, uint64_t base, uint64_t size,
                      uint32_t bytes) {
  if (size < bytes)
    return false;
  uint64_t limit = size - bytes, bad = 0;
  LANES bad |= uint64_t(addresses[lane] - base > limit) |
               (addresses[lane] & (bytes - 1));
  return bad == 0;
}

/// Host address of every lane.
INLINE bool locate(Warp &warp, const Instr &instr, uint32_t mask,
                   const uint64_t *addresses, uint32_t bytes, AccessKind kind,
                   MemorySpace space, uint64_t *host) {
  MemorySpace found = space;
  bool done = false;
  if (space == MemorySpace::Shared) {
    if (allWithin(addresses, 0, warp.sharedBytes, bytes)) {
      uint64_t base = reinterpret_cast<uint64_t>(warp.shared);
      LANES host[lane] = base + addresses[lane];
      done = true;
    }
  } else if (space == MemorySpace::Global || space == MemorySpace::Generic) {
    const AddressWindow &window = warp.launch->windows[warp.pc];
    if (allWithin(addresses, window.base, window.bytes, bytes) &&
        (window.writable ||
         (kind != AccessKind::Store && kind != AccessKind::Atomic))) {
      LANES host[lane] = addresses[lane] + window.toHost;
      found = MemorySpace::Global;
      done = true;
    }
  }
  if (!done &&
      !resolveAddresses(warp, instr, mask, addresses, bytes, kind, host, found))
    return false;
  if (warp.launch->observed) {
    Access access{kind, found, mask, bytes, addresses};
    return observeAccess(warp, instr, access);
  }
  return true;
}

/// Lane by lane one element after the other in memory.
INLINE bool inSequence(const uint64_t *host, uint32_t bytes) {
  uint64_t bad = 0;
  LANES bad |= host[lane] ^ (host[0] + uint64_t(lane) * bytes);
  return bad == 0;
}

template <class T> INLINE T readAs(uint64_t address) {
  T value;
  __builtin_memcpy(&value, reinterpret_cast<const void *>(address), sizeof(T));
  return value;
}
template <class T> INLINE void writeAs(uint64_t address, T value) {
  __builtin_memcpy(reinterpret_cast<void *>(address), &value, sizeof(T));
}

/// T is the type in memory, L the register's lane; a signed T is extended.
template <class T, class L, int Count, MemorySpace Space>
void load(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  constexpr uint32_t bytes = sizeof(T) * Count;
  alignas(64) uint64_t addresses[kLanes], host[kLanes];
  addressesOf(warp, instr, instr.ops[7], instr.imm, mask, addresses);
  if (!locate(warp, instr, mask, addresses, bytes, AccessKind::Load, Space,
              host))
    return;
  alignas(64) L values[Count][kLanes];
  if (mask == kAllLanes && inSequence(host, bytes)) {
    const T *from = reinterpret_cast<const T *>(host[0]);
    for (int k = 0; k < Count; ++k)
      LANES values[k][lane] = L(from[lane * Count + k]);
  } else {
    LANES for (int k = 0; k < Count; ++k) values[k][lane] =
        L(readAs<T>(host[lane] + k * sizeof(T)));
  }
  // A 16-bit register has a zero upper half, whatever the sign.
  if (sizeof(T) < 4 && T(-1) < T(0) && instr.sub)
    for (int k = 0; k < Count; ++k)
      LANES values[k][lane] &= 0xFFFF;
  for (int k = 0; k < Count; ++k)
    writeLanes(warp, instr.ops[k], values[k], mask);
}

template <class T, class L, int Count, MemorySpace Space>
void storeTo(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  constexpr uint32_t bytes = sizeof(T) * Count;
  alignas(64) uint64_t addresses[kLanes], host[kLanes];
  addressesOf(warp, instr, instr.ops[7], instr.imm, mask, addresses);
  if (!locate(warp, instr, mask, addresses, bytes, AccessKind::Store, Space,
              host))
    return;
  const L *sources[Count];
  for (int k = 0; k < Count; ++k)
    sources[k] = sourceLanes<L>(warp, instr.ops[k]);
  if (mask == kAllLanes && inSequence(host, bytes)) {
    alignas(64) T block[kLanes * Count];
    for (int k = 0; k < Count; ++k)
      LANES block[lane * Count + k] = T(sources[k][lane]);
    __builtin_memcpy(reinterpret_cast<void *>(host[0]), block, sizeof(block));
    return;
  }
  // In lane order, so that the highest lane wins where addresses collide.
  LANES if (mask >> lane & 1) for (int k = 0; k < Count; ++k)
      writeAs<T>(host[lane] + k * sizeof(T), T(sources[k][lane]));
}

/// Kernel parameters: the same for all lanes unless indexed by a register.
template <class T, class L, int Count>
void loadParam(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint8_t *from = warp.launch->parameters + instr.imm;
  for (int k = 0; k < Count; ++k) {
    T value;
    __builtin_memcpy(&value, from + k * sizeof(T), sizeof(T));
    L lanes = L(value);
    if (sizeof(T) < 4 && instr.sub)
      lanes &= 0xFFFF;
    alignas(64) L values[kLanes];
    LANES values[lane] = lanes;
    writeLanes(warp, instr.ops[k], values, mask);
  }
}

template <class T, class L, int Count> Handler bySpaceLoad(MemorySpace space) {
  switch (space) {
  case MemorySpace::Global:
    return load<T, L, Count, MemorySpace::Global>;
  case MemorySpace::Shared:
    return load<T, L, Count, MemorySpace::Shared>;
  case MemorySpace::Local:
    return load<T, L, Count, MemorySpace::Local>;
  case MemorySpace::Param:
    return loadParam<T, L, Count>;
  default:
    return load<T, L, Count, MemorySpace::Generic>;
  }
}
template <class T, class L, int Count> Handler bySpaceStore(MemorySpace space) {
  switch (space) {
  case MemorySpace::Global:
    return storeTo<T, L, Count, MemorySpace::Global>;
  case MemorySpace::Shared:
    return storeTo<T, L, Count, MemorySpace::Shared>;
  case MemorySpace::Local:
    return storeTo<T, L, Count, MemorySpace::Local>;
  default:
    return storeTo<T, L, Count, MemorySpace::Generic>;
  }
}
template <class T, class L> Handler byCount(const FormKey &key, bool isLoad) {
  switch (key.count) {
  case 1:
    return isLoad ? bySpaceLoad<T, L, 1>(key.space)
                  : bySpaceStore<T, L, 1>(key.space);
  case 2:
    return isLoad ? bySpaceLoad<T, L, 2>(key.space)
                  : bySpaceStore<T, L, 2>(key.space);
  case 4:
    return isLoad ? bySpaceLoad<T, L, 4>(key.space)
                  : bySpaceStore<T, L, 4>(key.space);
  default:
    return nullptr;
  }
}

/// key.sub says whether the registers have 64 bits.
Handler pickAccess(const FormKey &key, bool isLoad) {
  bool wide = key.sub & 1;
  switch (key.types[0]) {
  case Ty::B8:
  case Ty::U8:
    return wide ? byCount<uint8_t, uint64_t>(key, isLoad)
                : byCount<uint8_t, uint32_t>(key, isLoad);
  case Ty::S8:
    if (!isLoad)
      return wide ? byCount<uint8_t, uint64_t>(key, isLoad)
                  : byCount<uint8_t, uint32_t>(key, isLoad);
    return wide ? byCount<int8_t, uint64_t>(key, isLoad)
                : byCount<int8_t, uint32_t>(key, isLoad);
  case Ty::B16:
  case Ty::U16:
    return wide ? byCount<uint16_t, uint64_t>(key, isLoad)
                : byCount<uint16_t, uint32_t>(key, isLoad);
  case Ty::S16:
    if (!isLoad)
      return wide ? byCount<uint16_t, uint64_t>(key, isLoad)
                  : byCount<uint16_t, uint32_t>(key, isLoad);
    return wide ? byCount<int16_t, uint64_t>(key, isLoad)
                : byCount<int16_t, uint32_t>(key, isLoad);
  case Ty::B32:
  case Ty::U32:
  case Ty::F32:
    return wide ? byCount<uint32_t, uint64_t>(key, isLoad)
                : byCount<uint32_t, uint32_t>(key, isLoad);
  case Ty::S32:
    if (wide && isLoad)
      return byCount<int32_t, uint64_t>(key, isLoad);
    return wide ? byCount<uint32_t, uint64_t>(key, isLoad)
                : byCount<uint32_t, uint32_t>(key, isLoad);
  case Ty::B64:
  case Ty::U64:
  case Ty::S64:
  case Ty::F64:
    return byCount<uint64_t, uint64_t>(key, isLoad);
  default:
    return nullptr;
  }
}

/// ops: 0 target, 1 source, 2 source bytes (or kSink). `bytes` is the size,
/// imm the two offsets, target's low.
void copyAsync(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  alignas(64) uint64_t target[kLanes], source[kLanes], host[kLanes],
      targetHost[kLanes];
  Instr view = instr;
  view.flags = (instr.flags & kAddress64) ? kAddress64 : 0;
  addressesOf(warp, view, instr.ops[0],
              uint64_t(int64_t(int32_t(uint32_t(instr.imm)))), mask, target);
  view.flags = kAddress64;
  addressesOf(warp, view, instr.ops[1], uint64_t(int64_t(instr.imm) >> 32),
              mask, source);
  uint32_t sizes[kLanes];
  uint32_t reading = mask;
  if (instr.ops[2] == kSink) {
    LANES sizes[lane] = instr.bytes;
  } else if (instr.sub == 1) { // ignore-src predicate
    uint32_t skip = predicates(warp)[instr.ops[2]];
    if (instr.flags & kNegatedPred)
      skip = ~skip;
    LANES sizes[lane] = skip >> lane & 1 ? 0 : instr.bytes;
  } else {
    const uint32_t *given = sourceLanes<uint32_t>(warp, instr.ops[2]);
    uint32_t tooMuch = 0;
    LANES {
      sizes[lane] = given[lane];
      tooMuch |= uint32_t(given[lane] > instr.bytes) << lane;
    }
    if (tooMuch & mask) {
      faultWarp(warp, tooMuch & mask, 719,
                "cp.async with a source size above its copy size");
      return;
    }
  }
  LANES if (sizes[lane] == 0) reading &= ~(uint32_t(1) << lane);
  if (reading) {
    if (reading != mask) {
      uint64_t first = source[__builtin_ctz(reading)];
      LANES source[lane] = reading >> lane & 1 ? source[lane] : first;
    }
    uint32_t partial = 0;
    LANES partial |= uint32_t(sizes[lane] != instr.bytes) << lane;
    // Lanes that read less than the copy's size may stand at an array's end.
    uint32_t whole = reading & ~partial;
    if (whole && whole != reading) {
      uint64_t first = source[__builtin_ctz(whole)];
      alignas(64) uint64_t some[kLanes];
      LANES some[lane] = whole >> lane & 1 ? source[lane] : first;
      if (!locate(warp, instr, whole, some, instr.bytes, AccessKind::AsyncRead,
                  MemorySpace::Global, host))
        return;
    } else if (whole &&
               !locate(warp, instr, whole, source, instr.bytes,
                       AccessKind::AsyncRead, MemorySpace::Global, host)) {
      return;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(reading & partial) || !(reading & partial & (1u << lane)))
        continue;
      alignas(64) uint64_t one[kLanes], oneHost[kLanes];
      for (int other = 0; other < kLanes; ++other)
        one[other] = source[lane];
      MemorySpace found = MemorySpace::Global;
      if (!resolveAddresses(warp, instr, 1u << lane, one, sizes[lane],
                            AccessKind::AsyncRead, oneHost, found))
        return;
      host[lane] = oneHost[lane];
    }
  }
  if (!locate(warp, instr, mask, target, instr.bytes, AccessKind::AsyncWrite,
              MemorySpace::Shared, targetHost))
    return;
  issueAsyncCopy(warp, instr, mask, host, targetHost, sizes);
}

Handler pick(const FormKey &key) {
  switch (key.op) {
  case Op::Ld:
    return pickAccess(key, true);
  case Op::St:
    return pickAccess(key, false);
  case Op::CpAsync:
    return copyAsync;
  case Op::CpAsyncCommit:
    return commitAsyncCopies;
  case Op::CpAsyncWait:
    return waitAsyncCopies;
  default:
    return nullptr;
  }
}

} // namespace

Handler CUDASIM_ISA::pickMemory(const FormKey &key) { return pick(key); }

} // namespace cudasim
