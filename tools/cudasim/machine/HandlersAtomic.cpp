//===- HandlersAtomic.cpp - atom and red ----------------------------------===//
//
// Lanes take their turns one after the other; which is first is up to the
// schedule's seed.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/FloatKit.h"

namespace cudasim {

int firstAtomicLane(Warp &warp);

namespace {

enum Kind { Add, Min, Max, And, Or, Xor, Inc, Dec, Exch, Cas };

template <class T> INLINE T readAs(uint64_t address) {
  T value;
  __builtin_memcpy(&value, reinterpret_cast<const void *>(address), sizeof(T));
  return value;
}
template <class T> INLINE void writeAs(uint64_t address, T value) {
  __builtin_memcpy(reinterpret_cast<void *>(address), &value, sizeof(T));
}

struct IntegerOps {
  template <class T> static T apply(int kind, T old, T value, T) {
    using U = Bits<T>;
    switch (kind) {
    case Add:
      return T(U(old) + U(value));
    case Min:
      return value < old ? value : old;
    case Max:
      return old < value ? value : old;
    case And:
      return old & value;
    case Or:
      return old | value;
    case Xor:
      return old ^ value;
    case Inc:
      return U(old) >= U(value) ? T(0) : T(old + 1);
    case Dec:
      return old == 0 || U(old) > U(value) ? value : T(old - 1);
    default:
      return value;
    }
  }
};

uint32_t minMax16(uint32_t a, uint32_t b, uint32_t exponent, bool max) {
  bool nanA = (a & 0x7FFF) > exponent, nanB = (b & 0x7FFF) > exponent;
  if (nanA || nanB)
    return nanA && nanB ? 0x7FFF : nanA ? b : a;
  auto order = [](uint32_t v) {
    return v & 0x8000 ? int32_t(0x8000) - int32_t(v) - 1 : int32_t(v);
  };
  return (order(a) < order(b)) != max ? a : b;
}
template <class H> uint32_t apply16(int kind, uint32_t old, uint32_t value) {
  if (kind == Add)
    return fma16<H>(old, H::kOne, value);
  return minMax16(old, value, H::kExponent, kind == Max);
}

/// The addresses of all lanes, checked, and the host bytes behind them.
bool findTargets(Warp &warp, const Instr &instr, uint32_t mask, uint32_t bytes,
                 uint64_t *host) {
  uint64_t addresses[kLanes];
  uint64_t offset = instr.imm;
  if (instr.flags & kFrameLocal)
    offset += warp.localBase;
  if (instr.flags & kAddress64) {
    const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[7]);
    LANES addresses[lane] = a[lane] + offset;
  } else {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[7]);
    LANES addresses[lane] = uint32_t(a[lane] + uint32_t(offset));
  }
  MemorySpace found = instr.space;
  if (!resolveAddresses(warp, instr, mask, addresses, bytes, AccessKind::Atomic,
                        host, found))
    return false;
  if (!warp.launch->observed)
    return true;
  Access access{AccessKind::Atomic, found, mask, bytes, addresses};
  return observeAccess(warp, instr, access);
}

template <class F> INLINE void eachLane(Warp &warp, uint32_t mask, F f) {
  int first = firstAtomicLane(warp);
  for (int i = 0; i < kLanes; ++i) {
    int lane = (i + first) & 31;
    if (mask >> lane & 1)
      f(lane);
  }
}

template <class T>
void atomicInteger(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  uint64_t host[kLanes];
  if (!findTargets(warp, instr, mask, sizeof(T), host))
    return;
  const Ref *extra = warp.launch->extra + instr.target;
  const auto *value = sourceLanes<Lane<T>>(warp, extra[1]);
  const auto *swap =
      instr.sub == Cas ? sourceLanes<Lane<T>>(warp, extra[2]) : value;
  int kind = instr.sub;
  Lane<T> old[kLanes] = {};
  eachLane(warp, mask, [&](int lane) {
    T before = readAs<T>(host[lane]);
    T v = fromLane<T>(value[lane]);
    T after = kind == Cas ? (before == v ? fromLane<T>(swap[lane]) : before)
                          : IntegerOps::apply<T>(kind, before, v, before);
    writeAs<T>(host[lane], after);
    old[lane] = toLane<T>(before);
  });
  writeLanes(warp, extra[0], old, mask);
}

/// cas and exch of 128 bits.
void atomic128(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  uint64_t host[kLanes];
  if (!findTargets(warp, instr, mask, 16, host))
    return;
  const Ref *extra = warp.launch->extra + instr.target;
  auto at = [&](Ref ref) {
    return reinterpret_cast<uint64_t(*)[2]>(warp.bases[0] + ref);
  };
  uint64_t old[kLanes][2];
  eachLane(warp, mask, [&](int lane) {
    __builtin_memcpy(old[lane], reinterpret_cast<void *>(host[lane]), 16);
    const uint64_t *value = at(extra[1])[lane];
    if (instr.sub == Exch) {
      __builtin_memcpy(reinterpret_cast<void *>(host[lane]), value, 16);
    } else if (old[lane][0] == value[0] && old[lane][1] == value[1]) {
      __builtin_memcpy(reinterpret_cast<void *>(host[lane]), at(extra[2])[lane],
                       16);
    }
  });
  if (extra[0] == kSink)
    return;
  LANES if (mask >> lane & 1) {
    at(extra[0])[lane][0] = old[lane][0];
    at(extra[0])[lane][1] = old[lane][1];
  }
}

/// add.f32, alone or as a vector. On global memory subnormals are flushed, as
/// documented; kFtz says so.
void atomicFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  int count = instr.count;
  uint64_t host[kLanes];
  if (!findTargets(warp, instr, mask, 4u * count, host))
    return;
  const Ref *extra = warp.launch->extra + instr.target;
  uint32_t old[4][kLanes] = {};
  const uint32_t *values[4];
  for (int k = 0; k < count; ++k)
    values[k] = sourceLanes<uint32_t>(warp, extra[count + k]);
  bool ftz = instr.flags & kFtz;
  eachLane(warp, mask, [&](int lane) {
    for (int k = 0; k < count; ++k) {
      uint32_t before = readAs<uint32_t>(host[lane] + 4 * k);
      float a = floatOf(before), b = floatOf(values[k][lane]);
      if (ftz) {
        a = flush(a);
        b = flush(b);
      }
      float sum = a + b;
      writeAs<uint32_t>(host[lane] + 4 * k,
                        bitsOfFloat(canonical(ftz ? flush(sum) : sum)));
      old[k][lane] = before;
    }
  });
  for (int k = 0; k < count; ++k)
    writeLanes(warp, extra[k], old[k], mask);
}
void atomicDouble(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  uint64_t host[kLanes];
  if (!findTargets(warp, instr, mask, 8, host))
    return;
  const Ref *extra = warp.launch->extra + instr.target;
  const uint64_t *value = sourceLanes<uint64_t>(warp, extra[1]);
  uint64_t old[kLanes] = {};
  eachLane(warp, mask, [&](int lane) {
    uint64_t before = readAs<uint64_t>(host[lane]);
    double sum = bitCast<double>(before) + bitCast<double>(value[lane]);
    writeAs<uint64_t>(host[lane], bitCast<uint64_t>(canonical(sum)));
    old[lane] = before;
  });
  writeLanes(warp, extra[0], old, mask);
}
/// 16-bit formats and their pairs, alone or as vectors.
template <class H, bool Pair>
void atomicHalf(Warp &warp, const Instr &instr, uint32_t mask) {
  if (!mask)
    return;
  int count = instr.count;
  constexpr int size = Pair ? 4 : 2;
  uint64_t host[kLanes];
  if (!findTargets(warp, instr, mask, uint32_t(size * count), host))
    return;
  const Ref *extra = warp.launch->extra + instr.target;
  uint32_t old[8][kLanes] = {};
  const uint32_t *values[8];
  for (int k = 0; k < count; ++k)
    values[k] = sourceLanes<uint32_t>(warp, extra[count + k]);
  int kind = instr.sub;
  eachLane(warp, mask, [&](int lane) {
    for (int k = 0; k < count; ++k) {
      uint32_t v = values[k][lane];
      if (Pair) {
        uint32_t before = readAs<uint32_t>(host[lane] + 4 * k);
        writeAs<uint32_t>(host[lane] + 4 * k,
                          apply16<H>(kind, before & 0xFFFF, v & 0xFFFF) |
                              apply16<H>(kind, before >> 16, v >> 16) << 16);
        old[k][lane] = before;
      } else {
        uint16_t before = readAs<uint16_t>(host[lane] + 2 * k);
        writeAs<uint16_t>(host[lane] + 2 * k,
                          uint16_t(apply16<H>(kind, before, v & 0xFFFF)));
        old[k][lane] = before;
      }
    }
  });
  for (int k = 0; k < count; ++k)
    writeLanes(warp, extra[k], old[k], mask);
}

} // namespace

Handler pickAtomic(const FormKey &key) {
  switch (key.types[0]) {
  case Ty::B16:
    return atomicInteger<uint16_t>;
  case Ty::B32:
  case Ty::U32:
    return atomicInteger<uint32_t>;
  case Ty::S32:
    return atomicInteger<int32_t>;
  case Ty::B64:
  case Ty::U64:
    return atomicInteger<uint64_t>;
  case Ty::S64:
    return atomicInteger<int64_t>;
  case Ty::B128:
    return atomic128;
  case Ty::F32:
    return atomicFloat;
  case Ty::F64:
    return atomicDouble;
  case Ty::F16:
    return atomicHalf<Half, false>;
  case Ty::F16x2:
    return atomicHalf<Half, true>;
  case Ty::BF16:
    return atomicHalf<Bfloat, false>;
  case Ty::BF16x2:
    return atomicHalf<Bfloat, true>;
  default:
    return nullptr;
  }
}

} // namespace cudasim
