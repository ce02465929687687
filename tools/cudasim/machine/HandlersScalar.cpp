//===- HandlersScalar.cpp - ops that one build serves ---------------------===//
//
// Rare arithmetic, moves between widths, special registers and fences. Lanes
// are done one after the other where nothing is gained from more.
//
// Long because: there is one handler for each op form.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/FloatKit.h"

#include <cfenv>
#include <cmath>

namespace cudasim {
namespace {

//===--- moves --------------------------------------------------------------//

/// instr: count parts of `bytes` each, `sub` bytes in all.
void pack(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t r[kLanes][2] = {};
  for (int k = 0; k < instr.count; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      uint64_t part = instr.bytes == 8
                          ? sourceLanes<uint64_t>(warp, instr.ops[k + 1])[lane]
                          : sourceLanes<uint32_t>(warp, instr.ops[k + 1])[lane];
      if (instr.bytes == 2)
        part &= 0xFFFF;
      int bit = k * instr.bytes * 8;
      r[lane][bit / 64] |= part << (bit % 64);
    }
  }
  if (instr.sub == 16) {
    auto *to = reinterpret_cast<uint64_t(*)[2]>(warp.bases[0] + instr.ops[0]);
    LANES if (mask >> lane & 1) {
      to[lane][0] = r[lane][0];
      to[lane][1] = r[lane][1];
    }
    return;
  }
  if (instr.sub == 8) {
    uint64_t wide[kLanes];
    LANES wide[lane] = r[lane][0];
    writeLanes(warp, instr.ops[0], wide, mask);
    return;
  }
  uint32_t narrow[kLanes];
  LANES narrow[lane] = uint32_t(r[lane][0]);
  writeLanes(warp, instr.ops[0], narrow, mask);
}
void unpack(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t from[kLanes][2];
  LANES {
    if (instr.sub == 16) {
      const auto *wide = reinterpret_cast<const uint64_t(*)[2]>(
          warp.bases[instr.ops[0] & 1] + (instr.ops[0] & ~Ref(1)));
      from[lane][0] = wide[lane][0];
      from[lane][1] = wide[lane][1];
    } else {
      from[lane][0] = instr.sub == 8
                          ? sourceLanes<uint64_t>(warp, instr.ops[0])[lane]
                          : sourceLanes<uint32_t>(warp, instr.ops[0])[lane];
      from[lane][1] = 0;
    }
  }
  for (int k = 0; k < instr.count; ++k) {
    int bit = k * instr.bytes * 8;
    if (instr.bytes == 8) {
      uint64_t part[kLanes];
      LANES part[lane] = from[lane][bit / 64];
      writeLanes(warp, instr.ops[k + 1], part, mask);
      continue;
    }
    uint32_t part[kLanes];
    uint32_t keep = instr.bytes == 2 ? 0xFFFF : ~0u;
    LANES part[lane] = uint32_t(from[lane][bit / 64] >> (bit % 64)) & keep;
    writeLanes(warp, instr.ops[k + 1], part, mask);
  }
}
void move128(Warp &warp, const Instr &instr, uint32_t mask) {
  const auto *from =
      reinterpret_cast<const uint64_t(*)[2]>(warp.bases[0] + instr.ops[1]);
  auto *to = reinterpret_cast<uint64_t(*)[2]>(warp.bases[0] + instr.ops[0]);
  LANES if (mask >> lane & 1) {
    to[lane][0] = from[lane][0];
    to[lane][1] = from[lane][1];
  }
}
template <class L> void special(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) L r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane)
    r[lane] = L(readSpecial(warp, uint32_t(instr.imm), lane));
  writeLanes(warp, instr.ops[0], r, mask);
}
void special16(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane)
    r[lane] = uint32_t(readSpecial(warp, uint32_t(instr.imm), lane)) & 0xFFFF;
  writeLanes(warp, instr.ops[0], r, mask);
}
template <class L>
void localAddress(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) L r[kLanes];
  L value = L(instr.imm + warp.localBase);
  LANES r[lane] = value;
  writeLanes(warp, instr.ops[0], r, mask);
}
void toGeneric(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t window = instr.imm;
  map1<uint64_t, uint64_t>(warp, instr, mask,
                           [window](uint64_t a) { return a + window; });
}
void isSpace(Warp &warp, const Instr &instr, uint32_t mask) {
  const uint64_t *a = sourceLanes<uint64_t>(warp, instr.ops[1]);
  uint64_t window = instr.imm;
  uint32_t r = 0;
  LANES {
    bool special =
        a[lane] >= kSharedWindow && a[lane] < kParamWindow + kWindowBytes;
    bool in = window ? a[lane] - window < kWindowBytes : !special;
    r |= uint32_t(in) << lane;
  }
  writePredicate(warp, instr.ops[0], r, mask);
}

//===--- set, testp ---------------------------------------------------------//

bool compareInts(uint64_t a, uint64_t b, Ty type, Compare how) {
  int bits = type == Ty::B16 || type == Ty::U16 || type == Ty::S16   ? 16
             : type == Ty::B64 || type == Ty::U64 || type == Ty::S64 ? 64
                                                                     : 32;
  int drop = 64 - bits;
  bool isSigned = (type == Ty::S16 || type == Ty::S32 || type == Ty::S64) &&
                  how < Compare::LO;
  uint64_t ua = a << drop >> drop, ub = b << drop >> drop;
  int64_t sa = int64_t(a << drop) >> drop, sb = int64_t(b << drop) >> drop;
  int order = isSigned ? (sa < sb ? -1 : sa > sb) : (ua < ub ? -1 : ua > ub);
  switch (how) {
  case Compare::EQ:
    return order == 0;
  case Compare::NE:
    return order != 0;
  case Compare::LT:
  case Compare::LO:
    return order < 0;
  case Compare::LE:
  case Compare::LS:
    return order <= 0;
  case Compare::GT:
  case Compare::HI:
    return order > 0;
  default:
    return order >= 0;
  }
}
bool compareFloats(double a, double b, Compare how) {
  bool unordered = a != a || b != b;
  switch (how) {
  case Compare::EQ:
    return a == b;
  case Compare::NE:
    return !unordered && a != b;
  case Compare::LT:
    return a < b;
  case Compare::LE:
    return a <= b;
  case Compare::GT:
    return a > b;
  case Compare::GE:
    return a >= b;
  case Compare::EQU:
    return unordered || a == b;
  case Compare::NEU:
    return unordered || a != b;
  case Compare::LTU:
    return unordered || a < b;
  case Compare::LEU:
    return unordered || a <= b;
  case Compare::GTU:
    return unordered || a > b;
  case Compare::GEU:
    return unordered || a >= b;
  case Compare::NUM:
    return !unordered;
  default:
    return unordered;
  }
}
double value16(uint32_t bits, bool isBfloat, bool ftz) {
  if (!isBfloat && ftz && (bits & 0x7C00) == 0)
    bits &= 0x8000;
  return isBfloat ? bfloatToFloat(bits) : halfToFloat(bits);
}

/// imm: comparison, result type and source type, a byte each.
void set(Warp &warp, const Instr &instr, uint32_t mask) {
  Compare how = Compare(instr.imm & 0xFF);
  Ty to = Ty(instr.imm >> 8 & 0xFF), from = Ty(instr.imm >> 16 & 0xFF);
  bool ftz = instr.flags & kFtz;
  bool wide =
      from == Ty::B64 || from == Ty::U64 || from == Ty::S64 || from == Ty::F64;
  bool pairs = from == Ty::F16x2 || from == Ty::BF16x2;
  uint32_t q = 0;
  if (instr.sub) {
    q = predicates(warp)[instr.ops[4]];
    if (instr.flags & kNegatedPred)
      q = ~q;
  }
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    uint64_t a = wide ? sourceLanes<uint64_t>(warp, instr.ops[2])[lane]
                      : sourceLanes<uint32_t>(warp, instr.ops[2])[lane];
    uint64_t b = wide ? sourceLanes<uint64_t>(warp, instr.ops[3])[lane]
                      : sourceLanes<uint32_t>(warp, instr.ops[3])[lane];
    bool third = q >> lane & 1;
    auto combine = [&](bool v) {
      return instr.sub == 0   ? v
             : instr.sub == 1 ? v && third
             : instr.sub == 2 ? v || third
                              : v != third;
    };
    bool low, high = false;
    switch (from) {
    case Ty::F32: {
      float x = floatOf(uint32_t(a)), y = floatOf(uint32_t(b));
      low = compareFloats(ftz ? flush(x) : x, ftz ? flush(y) : y, how);
      break;
    }
    case Ty::F64:
      low = compareFloats(bitCast<double>(a), bitCast<double>(b), how);
      break;
    case Ty::F16:
    case Ty::BF16:
    case Ty::F16x2:
    case Ty::BF16x2: {
      bool isBfloat = from == Ty::BF16 || from == Ty::BF16x2;
      low = compareFloats(value16(a & 0xFFFF, isBfloat, ftz),
                          value16(b & 0xFFFF, isBfloat, ftz), how);
      if (pairs)
        high = compareFloats(value16(a >> 16 & 0xFFFF, isBfloat, ftz),
                             value16(b >> 16 & 0xFFFF, isBfloat, ftz), how);
      break;
    }
    default:
      low = compareInts(a, b, from, how);
      break;
    }
    low = combine(low);
    high = combine(high);
    switch (to) {
    case Ty::F32:
      r[lane] = low ? 0x3F800000 : 0;
      break;
    case Ty::F16:
      r[lane] = low ? 0x3C00 : 0;
      break;
    case Ty::BF16:
      r[lane] = low ? 0x3F80 : 0;
      break;
    case Ty::F16x2:
      r[lane] = (low ? 0x3C00 : 0) | (high ? 0x3C000000 : 0);
      break;
    case Ty::BF16x2:
      r[lane] = (low ? 0x3F80 : 0) | (high ? 0x3F800000 : 0);
      break;
    case Ty::U16:
    case Ty::S16:
      r[lane] = low ? 0xFFFF : 0;
      break;
    default:
      r[lane] = pairs ? (low ? 0xFFFFu : 0) | (high ? 0xFFFF0000u : 0)
                      : (low ? ~0u : 0);
      break;
    }
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

template <class F> void testp(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t r = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    F v = bitCast<F>(sourceLanes<Bits<F>>(warp, instr.ops[1])[lane]);
    int kind = std::fpclassify(v);
    bool yes = false;
    switch (instr.sub) {
    case 0:
      yes = kind != FP_INFINITE && kind != FP_NAN;
      break;
    case 1:
      yes = kind == FP_INFINITE;
      break;
    case 2:
      yes = kind != FP_NAN;
      break;
    case 3:
      yes = kind == FP_NAN;
      break;
    case 4:
      yes = kind == FP_NORMAL;
      break;
    default:
      yes = kind == FP_SUBNORMAL;
      break;
    }
    r |= uint32_t(yes) << lane;
  }
  writePredicate(warp, instr.ops[0], r, mask);
}

//===--- narrow formats -----------------------------------------------------//

/// To nearest even, saturating, in an 8-bit format of `mantissa` bits.
uint32_t toFp8(float v, bool e4m3) {
  uint32_t bits = bitsOfFloat(v), sign = bits >> 24 & 0x80;
  if (isNan32(bits))
    return 0x7F;
  const int mantissa = e4m3 ? 3 : 2;
  const int minExponent = e4m3 ? -6 : -14; // of normal numbers
  const uint32_t most = e4m3 ? 0x7E : 0x7B;
  double magnitude = std::fabs(double(v));
  if (magnitude == 0)
    return sign;
  int exponent = std::ilogb(magnitude);
  if (std::isinf(magnitude))
    return sign | most;
  int scale = (exponent < minExponent ? minExponent : exponent) - mantissa;
  // rint is to nearest even in the default rounding mode.
  double units = std::rint(std::ldexp(magnitude, -scale));
  double rounded = std::ldexp(units, scale);
  double limit = e4m3 ? 448.0 : 57344.0;
  if (rounded > limit)
    return sign | most;
  if (rounded == 0)
    return sign;
  int e = std::ilogb(rounded);
  if (e < minExponent) // subnormal: units of the last place
    return sign | uint32_t(std::ldexp(rounded, mantissa - minExponent));
  uint32_t fraction =
      uint32_t(std::ldexp(rounded, mantissa - e)) & ((1u << mantissa) - 1);
  return sign | uint32_t(e - minExponent + 1) << mantissa | fraction;
}
/// Exact.
uint32_t fp8ToHalf(uint32_t v, bool e4m3) {
  if (!e4m3)
    return (v & 0x7F) > 0x7C ? 0x7FFF : v << 8;
  if ((v & 0x7F) == 0x7F)
    return 0x7FFF;
  uint32_t fraction = v & 7, exponent = v >> 3 & 15;
  float f = exponent ? std::ldexp(float(8 + fraction), int(exponent) - 10)
                     : std::ldexp(float(fraction), -9);
  return floatToHalf(f) | (v & 0x80) << 8;
}
void convertFp8(Warp &warp, const Instr &instr, uint32_t mask) {
  Ty to = Ty(instr.imm & 0xFF), from = Ty(instr.imm >> 8 & 0xFF);
  bool relu = instr.sub;
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t a = sourceLanes<uint32_t>(warp, instr.ops[1])[lane];
    if (to == Ty::F16x2) {
      bool e4 = from == Ty::E4M3x2;
      uint32_t low = fp8ToHalf(a & 0xFF, e4),
               high = fp8ToHalf(a >> 8 & 0xFF, e4);
      if (relu) {
        low = low & 0x8000 ? 0 : low;
        high = high & 0x8000 ? 0 : high;
      }
      r[lane] = low | high << 16;
      continue;
    }
    float high, low;
    if (from == Ty::F32) {
      high = floatOf(a);
      low = floatOf(sourceLanes<uint32_t>(warp, instr.ops[2])[lane]);
    } else {
      high = halfToFloat(a >> 16);
      low = halfToFloat(a & 0xFFFF);
    }
    auto one = [&](float v) {
      return toFp8(relu && v < 0 ? 0.0f : v, to == Ty::E4M3x2);
    };
    r[lane] = one(high) << 8 | one(low);
  }
  writeLanes(warp, instr.ops[0], r, mask);
}
/// sub: 0 u16, 1 s16, 2 u8, 3 s8.
void convertPack(Warp &warp, const Instr &instr, uint32_t mask) {
  bool bytes = instr.sub >= 2, isSigned = instr.sub & 1;
  int64_t most = bytes ? (isSigned ? 127 : 255) : (isSigned ? 32767 : 65535);
  int64_t least = isSigned ? -most - 1 : 0;
  auto clamp = [&](uint32_t v) {
    int64_t x = int32_t(v);
    x = x > most ? most : x < least ? least : x;
    return uint32_t(x) & (bytes ? 0xFF : 0xFFFF);
  };
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t a = clamp(sourceLanes<uint32_t>(warp, instr.ops[1])[lane]);
    uint32_t b = clamp(sourceLanes<uint32_t>(warp, instr.ops[2])[lane]);
    r[lane] = bytes ? b | a << 8 |
                          sourceLanes<uint32_t>(warp, instr.ops[3])[lane] << 16
                    : b | a << 16;
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

/// sub: 0 add, 1 sub, 2 average, 3 absolute difference, 4 min, 5 max; imm:
/// signs of result and sources, then sum, then saturation.
void video(Warp &warp, const Instr &instr, uint32_t mask) {
  int parts = instr.count, bits = 32 / parts;
  bool signedR = instr.imm & 1, signedA = instr.imm & 2,
       signedB = instr.imm & 4;
  bool sum = instr.imm & 8, sat = instr.imm & 16;
  uint32_t field = bits == 8 ? 0xFF : 0xFFFF;
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t a = sourceLanes<uint32_t>(warp, instr.ops[1])[lane];
    uint32_t b = sourceLanes<uint32_t>(warp, instr.ops[2])[lane];
    uint32_t c = sourceLanes<uint32_t>(warp, instr.ops[3])[lane];
    uint32_t out = sum ? c : 0;
    for (int k = 0; k < parts; ++k) {
      auto part = [&](uint32_t v, bool isSigned) {
        int32_t x = int32_t(v >> (k * bits) & field);
        return isSigned ? int32_t(uint32_t(x) << (32 - bits)) >> (32 - bits)
                        : x;
      };
      int32_t x = part(a, signedA), y = part(b, signedB), v = 0;
      switch (instr.sub) {
      case 0:
        v = x + y;
        break;
      case 1:
        v = x - y;
        break;
      case 2:
        // Rounds towards positive infinity, as documented for vavrg.
        v = (x + y + (x + y >= 0)) >> 1;
        break;
      case 3:
        v = x > y ? x - y : y - x;
        break;
      case 4:
        v = x < y ? x : y;
        break;
      default:
        v = x > y ? x : y;
        break;
      }
      if (sat) {
        int32_t most = signedR ? int32_t(field >> 1) : int32_t(field);
        int32_t least = signedR ? -most - 1 : 0;
        v = v > most ? most : v < least ? least : v;
      }
      if (sum)
        out += uint32_t(v);
      else
        out |= (uint32_t(v) & field) << (k * bits);
    }
    r[lane] = out;
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

/// The position of the n-th set bit from a base, up or down.
void findNth(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) uint32_t r[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t bits = sourceLanes<uint32_t>(warp, instr.ops[1])[lane];
    uint32_t base = sourceLanes<uint32_t>(warp, instr.ops[2])[lane] & 31;
    int32_t offset = int32_t(sourceLanes<uint32_t>(warp, instr.ops[3])[lane]);
    r[lane] = ~0u;
    if (offset == 0) {
      if (bits >> base & 1)
        r[lane] = base;
      continue;
    }
    int step = offset > 0 ? 1 : -1;
    int64_t left = offset > 0 ? offset : -int64_t(offset);
    for (int at = int(base); at >= 0 && at < 32; at += step)
      if (bits >> at & 1 && --left == 0) {
        r[lane] = uint32_t(at);
        break;
      }
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

//===--- directed roundings of f64 ------------------------------------------//

class RoundingMode {
public:
  explicit RoundingMode(Rounding mode) : before(std::fegetround()) {
    std::fesetround(mode == Rounding::RZ   ? FE_TOWARDZERO
                    : mode == Rounding::RM ? FE_DOWNWARD
                    : mode == Rounding::RP ? FE_UPWARD
                                           : FE_TONEAREST);
  }
  ~RoundingMode() { std::fesetround(before); }

private:
  int before;
};
/// Keeps the compiler from moving arithmetic across a change of mode.
INLINE double opaque(double v) {
  asm volatile("" : "+x"(v));
  return v;
}

template <int Kind> // 0 add, 1 sub, 2 mul, 3 div, 4 fma, 5 sqrt
void directed64(Warp &warp, const Instr &instr, uint32_t mask) {
  alignas(64) uint64_t r[kLanes];
  RoundingMode scope(instr.rounding);
  for (int lane = 0; lane < kLanes; ++lane) {
    auto get = [&](int k) {
      return opaque(
          bitCast<double>(sourceLanes<uint64_t>(warp, instr.ops[k])[lane]));
    };
    double a = get(1), v;
    if (Kind == 0)
      v = a + get(2);
    else if (Kind == 1)
      v = a - get(2);
    else if (Kind == 2)
      v = a * get(2);
    else if (Kind == 3)
      v = a / get(2);
    else if (Kind == 4)
      v = std::fma(a, get(2), get(3));
    else
      v = std::sqrt(a);
    r[lane] = bitCast<uint64_t>(canonical(opaque(v)));
  }
  writeLanes(warp, instr.ops[0], r, mask);
}

void nothing(Warp &, const Instr &, uint32_t) {}

} // namespace

Handler pickAtomic(const FormKey &key);

Handler pickScalar(const FormKey &key) {
  bool directed = key.rounding >= Rounding::RZ && key.rounding <= Rounding::RP;
  if (directed && key.types[0] == Ty::F64 && key.typeCount == 1) {
    switch (key.op) {
    case Op::Add:
      return directed64<0>;
    case Op::Sub:
      return directed64<1>;
    case Op::Mul:
      return directed64<2>;
    case Op::Div:
      return directed64<3>;
    case Op::Fma:
      return directed64<4>;
    case Op::Sqrt:
      return directed64<5>;
    default:
      return nullptr;
    }
  }
  bool wide = key.types[0] == Ty::U64;
  switch (key.op) {
  case Op::Mov:
    switch (key.sub) {
    case 1:
      return pack;
    case 2:
      return unpack;
    case 3:
      return wide                      ? special<uint64_t>
             : key.types[0] == Ty::U16 ? special16
                                       : special<uint32_t>;
    case 4:
      return wide ? localAddress<uint64_t> : localAddress<uint32_t>;
    case 5:
      return move128;
    default:
      return nullptr;
    }
  case Op::Cvta:
  case Op::CvtaTo:
    return toGeneric;
  case Op::Isspacep:
    return isSpace;
  case Op::Set:
    return set;
  case Op::Testp:
    return key.types[0] == Ty::F64 ? testp<double> : testp<float>;
  case Op::CvtFp8:
    return convertFp8;
  case Op::CvtPack:
    return convertPack;
  case Op::Video:
    return video;
  case Op::Fns:
    return findNth;
  case Op::Atom:
  case Op::Red:
    return pickAtomic(key);
  case Op::Membar:
  case Op::Fence:
    return fenceExecuted;
  case Op::FenceProxy:
  case Op::Prefetch:
  case Op::GridDep:
    return nothing;
  default:
    return nullptr;
  }
}

} // namespace cudasim
