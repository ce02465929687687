//===- HandlersConvert.cpp - cvt ------------------------------------------===//
//
// The decoder leaves in `sub` which of the two registers have 64 bits: bit 0
// the result, bit 1 the source; in imm's low bytes the two types.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/FloatKit.h"
#include "tools/cudasim/machine/HandlerPicks.h"

namespace cudasim {
namespace {

INLINE Ty resultType(const Instr &instr) { return Ty(instr.imm & 0xFF); }
INLINE Ty sourceType(const Instr &instr) { return Ty(instr.imm >> 8 & 0xFF); }

/// Writes 64-bit values, cut to the register's width.
INLINE void writeWide(Warp &warp, const Instr &instr, const uint64_t *values,
                      uint32_t mask) {
  if (instr.sub & 1) {
    writeLanes(warp, instr.ops[0], values, mask);
    return;
  }
  alignas(64) uint32_t narrow[kLanes];
  LANES narrow[lane] = uint32_t(values[lane]);
  writeLanes(warp, instr.ops[0], narrow, mask);
}
template <class S, class L>
INLINE void extend(const Warp &warp, Ref ref, int64_t *out) {
  const L *a = sourceLanes<L>(warp, ref);
  LANES out[lane] = int64_t(S(a[lane]));
}
/// The source as 64 bits; unsigned 64-bit values keep their bits.
INLINE void loadInteger(const Warp &warp, const Instr &instr, int64_t *out) {
  bool wide = instr.sub & 2;
  Ref ref = instr.ops[1];
  switch (sourceType(instr)) {
  case Ty::U8:
    return wide ? extend<uint8_t, uint64_t>(warp, ref, out)
                : extend<uint8_t, uint32_t>(warp, ref, out);
  case Ty::S8:
    return wide ? extend<int8_t, uint64_t>(warp, ref, out)
                : extend<int8_t, uint32_t>(warp, ref, out);
  case Ty::U16:
    return wide ? extend<uint16_t, uint64_t>(warp, ref, out)
                : extend<uint16_t, uint32_t>(warp, ref, out);
  case Ty::S16:
    return wide ? extend<int16_t, uint64_t>(warp, ref, out)
                : extend<int16_t, uint32_t>(warp, ref, out);
  case Ty::U32:
    return wide ? extend<uint32_t, uint64_t>(warp, ref, out)
                : extend<uint32_t, uint32_t>(warp, ref, out);
  case Ty::S32:
    return wide ? extend<int32_t, uint64_t>(warp, ref, out)
                : extend<int32_t, uint32_t>(warp, ref, out);
  default:
    return extend<int64_t, uint64_t>(warp, ref, out);
  }
}
template <class D> INLINE void truncate(int64_t *v, bool sat, bool fromU64) {
  constexpr bool isSigned = D(-1) < D(0);
  constexpr int bits = 8 * sizeof(D);
  if (sat) {
    constexpr int64_t most = isSigned ? int64_t((uint64_t(1) << (bits - 1)) - 1)
                             : bits == 64
                                 ? INT64_MAX
                                 : int64_t((uint64_t(1) << (bits & 63)) - 1);
    constexpr int64_t least = isSigned ? -most - 1 : 0;
    LANES {
      int64_t x = v[lane];
      bool huge = fromU64 && x < 0; // above INT64_MAX
      int64_t r = x > most ? most : x < least ? least : x;
      if (bits == 64 && !isSigned && fromU64)
        r = x;
      else if (huge)
        r = most;
      v[lane] = r;
    }
  }
  LANES v[lane] = int64_t(D(v[lane]));
}
INLINE void truncateTo(Ty type, int64_t *v, bool sat, bool fromU64) {
  switch (type) {
  case Ty::U8:
    return truncate<uint8_t>(v, sat, fromU64);
  case Ty::S8:
    return truncate<int8_t>(v, sat, fromU64);
  case Ty::U16:
    return truncate<uint16_t>(v, sat, fromU64);
  case Ty::S16:
    return truncate<int16_t>(v, sat, fromU64);
  case Ty::U32:
    return truncate<uint32_t>(v, sat, fromU64);
  case Ty::S32:
    return truncate<int32_t>(v, sat, fromU64);
  case Ty::U64:
    return truncate<uint64_t>(v, sat, fromU64);
  default:
    return truncate<int64_t>(v, sat, fromU64);
  }
}
/// A 16-bit register holds its value with a zero upper half.
INLINE void store(Warp &warp, const Instr &instr, int64_t *v, uint32_t mask) {
  if (instr.bytes == 2)
    LANES v[lane] &= 0xFFFF;
  writeWide(warp, instr, reinterpret_cast<uint64_t *>(v), mask);
}

void intToInt(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) int64_t v[kLanes];
  loadInteger(warp, instr, v);
  truncateTo(resultType(instr), v, instr.flags & kSat,
             sourceType(instr) == Ty::U64);
  store(warp, instr, v, mask);
}
void intToIntPlain64(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint64_t, uint32_t>(warp, instr, mask,
                           [](uint32_t a) { return uint64_t(a); });
}
void intToIntSigned64(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<int64_t, int32_t>(warp, instr, mask,
                         [](int32_t a) { return int64_t(a); });
}
void intToIntLow(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, uint64_t>(warp, instr, mask,
                           [](uint64_t a) { return uint32_t(a); });
}

void intToFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) int64_t v[kLanes];
  loadInteger(warp, instr, v);
  bool isUnsigned = sourceType(instr) == Ty::U64;
  Rounding mode = instr.rounding;
  alignas(64) double sum[kLanes], rest[kLanes];
  LANES {
    double high = isUnsigned ? double(uint32_t(uint64_t(v[lane]) >> 32))
                             : double(int32_t(v[lane] >> 32));
    double low = double(uint32_t(v[lane]));
    sum[lane] = twoSum(high * 4294967296.0, low, rest[lane]);
  }
  alignas(64) uint64_t r[kLanes];
  bool sat = instr.flags & kSat;
  switch (resultType(instr)) {
  case Ty::F32:
    LANES {
      float f = mode == Rounding::RN ? float(toOdd(sum[lane], rest[lane]))
                                     : directed(sum[lane], rest[lane], mode);
      r[lane] = bitsOfFloat(sat ? clamp01(f) : f);
    }
    break;
  case Ty::F64:
    LANES {
      // sum is the nearest; rest says where the integer lies.
      int64_t bits = bitCast<int64_t>(sum[lane]);
      bool negative = bits < 0;
      bool down = mode == Rounding::RM || (mode == Rounding::RZ && !negative);
      bool up = mode == Rounding::RP || (mode == Rounding::RZ && negative);
      if (rest[lane] < 0 && down)
        bits += negative ? 1 : -1;
      if (rest[lane] > 0 && up)
        bits += negative ? -1 : 1;
      double d = bitCast<double>(bits);
      r[lane] = bitCast<uint64_t>(sat ? clamp01(d) : d);
    }
    break;
  default: {
    bool isHalf = resultType(instr) == Ty::F16;
    LANES {
      float f = narrowToOdd(toOdd(sum[lane], rest[lane]));
      f = sat ? clamp01(f) : f;
      r[lane] = isHalf ? Half::round(f, mode) : Bfloat::round(f, mode);
    }
    break;
  }
  }
  writeWide(warp, instr, r, mask);
}
void s32ToFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<float, int32_t>(warp, instr, mask, [](int32_t a) { return float(a); });
}
void u32ToFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<float, uint32_t>(warp, instr, mask, [](uint32_t a) { return float(a); });
}

INLINE double roundToInteger(double v, Rounding mode) {
  double r = mode == Rounding::RNI   ? __builtin_rint(v)
             : mode == Rounding::RZI ? __builtin_trunc(v)
             : mode == Rounding::RMI ? __builtin_floor(v)
                                     : __builtin_ceil(v);
  return r;
}

/// The source's value, exact in double.
INLINE void loadFloat(const Warp &warp, const Instr &instr, double *out) {
  bool ftz = instr.flags & kFtz;
  switch (sourceType(instr)) {
  case Ty::F64: {
    const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[1]);
    LANES out[lane] = bitCast<double>(a[lane]);
    return;
  }
  case Ty::F32: {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
    LANES out[lane] = double(ftz ? flush(floatOf(a[lane])) : floatOf(a[lane]));
    return;
  }
  case Ty::F16: {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
    LANES out[lane] = double(halfToFloat(a[lane] & 0xFFFF));
    return;
  }
  default: {
    const uint32_t *a = sourceLanes<uint32_t>(warp, instr.ops[1]);
    LANES out[lane] = double(bfloatToFloat(a[lane] & 0xFFFF));
    return;
  }
  }
}

template <class D> INLINE int64_t toInteger(double v, bool nanIsTop) {
  constexpr bool isSigned = D(-1) < D(0);
  constexpr int bits = 8 * sizeof(D);
  constexpr D most = isSigned ? D((uint64_t(1) << (bits - 1)) - 1) : D(-1);
  constexpr D least = isSigned ? D(uint64_t(1) << (bits - 1)) : D(0);
  // 2^bits or 2^(bits-1), the first value that does not fit.
  double limit = isSigned ? 0x1p0 * double(uint64_t(1) << (bits - 1))
                          : 2.0 * double(uint64_t(1) << (bits - 1));
  bool high = v >= limit, low = isSigned ? v < -limit : v < 0;
  double safe = high || low || v != v ? 0 : v;
  D r = D(safe);
  r = high ? most : low ? least : r;
  if (v != v)
    r = nanIsTop ? D(uint64_t(1) << (bits - 1)) : D(0);
  return int64_t(r);
}
template <class D>
void floatToInt(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) double x[kLanes];
  loadFloat(warp, instr, x);
  Rounding mode = instr.rounding;
  bool nanIsTop = sourceType(instr) == Ty::F64 || sizeof(D) == 8;
  alignas(64) int64_t r[kLanes];
  LANES r[lane] = toInteger<D>(roundToInteger(x[lane], mode), nanIsTop);
  store(warp, instr, r, mask);
}

void floatToFloat(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) double x[kLanes];
  loadFloat(warp, instr, x);
  Rounding mode = instr.rounding;
  if (mode >= Rounding::RNI)
    LANES x[lane] = roundToInteger(x[lane], mode);
  if (instr.flags & kSat)
    LANES x[lane] = clamp01(x[lane]);
  bool relu = instr.bytes & 0x80;
  if (relu)
    LANES x[lane] = x[lane] < 0 ? 0 : x[lane];
  alignas(64) uint64_t r[kLanes];
  bool ftz = instr.flags & kFtz;
  switch (resultType(instr)) {
  case Ty::F64:
    LANES r[lane] = bitCast<uint64_t>(canonical(x[lane]));
    break;
  case Ty::F32:
    LANES {
      float f = mode >= Rounding::RZ && mode <= Rounding::RP
                    ? directed(x[lane], 0, mode)
                    : float(x[lane]);
      r[lane] = bitsOfFloat(canonical(ftz ? flush(f) : f));
    }
    break;
  case Ty::F16:
    LANES {
      float f = narrowToOdd(x[lane]);
      r[lane] = Half::round(f, mode);
    }
    break;
  default:
    LANES {
      float f = narrowToOdd(x[lane]);
      r[lane] = Bfloat::round(f, mode);
    }
    break;
  }
  writeWide(warp, instr, r, mask);
}

void bfloatToFloat32(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, uint32_t>(warp, instr, mask, [](uint32_t a) {
    return bitsOfFloat(canonical(bfloatToFloat(a & 0xFFFF)));
  });
}
void halfToFloat32(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, uint32_t>(warp, instr, mask, [](uint32_t a) {
    return bitsOfFloat(canonical(halfToFloat(a & 0xFFFF)));
  });
}
template <class H>
void floatTo16(Warp &warp, const Instr &instr, uint32_t mask) {
  map1<uint32_t, float>(warp, instr, mask,
                        [](float a) { return H::nearest(a); });
}
template <bool Sat>
void float32(Warp &warp, const Instr &instr, uint32_t mask) {
  bool ftz = instr.flags & kFtz;
  map1<float, float>(warp, instr, mask, [ftz](float a) {
    float v = ftz ? flush(a) : a;
    return Sat ? clamp01(v) : canonical(v);
  });
}

/// The first source goes to the upper half.
template <class H> void pair(Warp &warp, const Instr &instr, uint32_t mask) {
  bool zero = instr.rounding == Rounding::RZ;
  bool relu = instr.count & 1, satfinite = instr.count & 2;
  auto one = [=](float v) {
    uint32_t r = zero ? H::towardsZero(v) : H::nearest(v);
    if (satfinite && (r & 0x7FFF) == H::kExponent)
      r = (r & 0x8000) | (H::kExponent - 1);
    if (relu && (r & 0x8000) && (r & 0x7FFF) <= H::kExponent)
      r = 0;
    return r;
  };
  if (!zero && !relu && !satfinite) {
    map2<uint32_t, float, float>(warp, instr, mask, [](float a, float b) {
      return H::nearest(a) << 16 | H::nearest(b);
    });
    return;
  }
  map2<uint32_t, float, float>(warp, instr, mask, [&](float a, float b) {
    return one(a) << 16 | one(b);
  });
}

void toTf32(Warp &warp, const Instr &instr, uint32_t mask) {
  Rounding mode = instr.rounding;
  bool relu = instr.count & 1, satfinite = instr.count & 2;
  map1<uint32_t, uint32_t>(warp, instr, mask, [=](uint32_t bits) {
    if (isNan32(bits))
      return uint32_t(0x7FFFFFFF);
    uint32_t r = bits;
    if ((bits & 0x7F800000) != 0x7F800000) {
      if (mode == Rounding::RNA)
        r += 0x1000;
      else if (mode == Rounding::RN)
        r += 0xFFF + (bits >> 13 & 1);
    }
    r &= ~uint32_t(0x1FFF);
    if (satfinite && (r & 0x7FFFFFFF) == 0x7F800000)
      r = (r & 0x80000000) | 0x7F7FE000;
    return relu && (r & 0x80000000) ? uint32_t(0) : r;
  });
}

bool isFloatTy(Ty type) { return type >= Ty::F16 && type <= Ty::F64; }

Handler pickFloatToInt(Ty type) {
  switch (type) {
  case Ty::U8:
    return floatToInt<uint8_t>;
  case Ty::S8:
    return floatToInt<int8_t>;
  case Ty::U16:
    return floatToInt<uint16_t>;
  case Ty::S16:
    return floatToInt<int16_t>;
  case Ty::U32:
    return floatToInt<uint32_t>;
  case Ty::S32:
    return floatToInt<int32_t>;
  case Ty::U64:
    return floatToInt<uint64_t>;
  case Ty::S64:
    return floatToInt<int64_t>;
  default:
    return nullptr;
  }
}

Handler pick(const FormKey &key) {
  Ty to = key.types[0], from = key.types[1];
  switch (key.op) {
  case Op::CvtPair:
    return to == Ty::F16x2 ? pair<Half> : pair<Bfloat>;
  case Op::CvtTf32:
    return toTf32;
  case Op::Cvt:
    break;
  default:
    return nullptr;
  }
  bool wideTo = key.sub & 1, wideFrom = key.sub & 2;
  if (!isFloatTy(to) && !isFloatTy(from)) {
    if (!key.sat && wideTo && !wideFrom && to >= Ty::U8) {
      bool to64 = to == Ty::U64 || to == Ty::S64;
      if (to64 && from == Ty::U32)
        return intToIntPlain64;
      if (to64 && from == Ty::S32)
        return intToIntSigned64;
    }
    bool to32 = to == Ty::U32 || to == Ty::S32;
    if (!key.sat && !wideTo && wideFrom && to32 &&
        (from == Ty::U64 || from == Ty::S64))
      return intToIntLow;
    return intToInt;
  }
  if (!isFloatTy(from)) {
    if (to == Ty::F32 && key.rounding == Rounding::RN && !key.sat &&
        !wideFrom) {
      if (from == Ty::S32)
        return s32ToFloat;
      if (from == Ty::U32)
        return u32ToFloat;
    }
    return intToFloat;
  }
  if (!isFloatTy(to))
    return pickFloatToInt(to);
  bool plain = !key.sat && !key.relu;
  if (to == Ty::F32 && from == Ty::BF16 && plain &&
      key.rounding == Rounding::None && !key.ftz)
    return bfloatToFloat32;
  if (to == Ty::F32 && from == Ty::F16 && plain &&
      key.rounding == Rounding::None && !key.ftz)
    return halfToFloat32;
  if (from == Ty::F32 && plain && !key.ftz && key.rounding == Rounding::RN) {
    if (to == Ty::BF16)
      return floatTo16<Bfloat>;
    if (to == Ty::F16)
      return floatTo16<Half>;
  }
  if (to == Ty::F32 && from == Ty::F32 && key.rounding == Rounding::None)
    return key.sat ? float32<true> : float32<false>;
  return floatToFloat;
}

} // namespace

Handler CUDASIM_ISA::pickConvert(const FormKey &key) { return pick(key); }

} // namespace cudasim
