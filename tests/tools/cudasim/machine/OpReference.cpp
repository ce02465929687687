//===- OpReference.cpp - what an op form means, one value at a time -------===//
//
// Long because: there is one short function for each op form.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/OpReference.h"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstring>

namespace cudasim::test {
namespace {

typedef __int128 Wide;
typedef unsigned __int128 UWide;
typedef __float128 Quad;

template <class T, class F> T cast(F from) {
  T to;
  static_assert(sizeof(T) == sizeof(F));
  memcpy(&to, &from, sizeof(T));
  return to;
}
float f32(uint64_t bits) { return cast<float>(uint32_t(bits)); }
double f64(uint64_t bits) { return cast<double>(bits); }

uint64_t low(unsigned bits) {
  return bits >= 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
}

class Rounded {
public:
  explicit Rounded(const std::string &mode) : before(fegetround()) {
    fesetround(mode == "rz"   ? FE_TOWARDZERO
               : mode == "rm" ? FE_DOWNWARD
               : mode == "rp" ? FE_UPWARD
                              : FE_TONEAREST);
  }
  ~Rounded() { fesetround(before); }

private:
  int before;
};

/// A binary format by its widths; `ieee` formats have infinities.
struct Format {
  int exponentBits, mantissaBits;
};
constexpr Format kHalf = {5, 10}, kBfloat = {8, 7};

double fromFormat(uint64_t bits, Format f) {
  int bias = (1 << (f.exponentBits - 1)) - 1;
  uint64_t mantissa = bits & low(f.mantissaBits);
  int exponent = int(bits >> f.mantissaBits & low(f.exponentBits));
  bool negative = bits >> (f.mantissaBits + f.exponentBits) & 1;
  double v;
  if (exponent == (1 << f.exponentBits) - 1)
    v = mantissa ? NAN : INFINITY;
  else if (exponent == 0)
    v = std::ldexp(double(mantissa), 1 - bias - f.mantissaBits);
  else
    v = std::ldexp(double(mantissa + (uint64_t(1) << f.mantissaBits)),
                   exponent - bias - f.mantissaBits);
  return negative ? -v : v;
}

/// To nearest even or, where `zero`, towards zero. `sticky` has the sign of
/// what `v` lacks.
uint64_t toFormat(Quad v, int sticky, bool zero, Format f) {
  uint64_t infinity = low(f.exponentBits) << f.mantissaBits;
  if (v != v)
    return infinity | low(f.mantissaBits); // 0x7FFF
  bool negative = v < 0 || (v == 0 && std::signbit(double(v)));
  uint64_t sign = uint64_t(negative) << (f.exponentBits + f.mantissaBits);
  Quad a = v < 0 ? -v : v;
  if (negative)
    sticky = -sticky;
  int bias = (1 << (f.exponentBits - 1)) - 1;
  if (a > Quad(1e300) * Quad(1e300))
    return sign | infinity;
  // Scale until the mantissa is an integer in the format's units.
  int exponent = 1 - bias;
  Quad unit = 1;
  for (int i = 0; i < f.mantissaBits - exponent; ++i)
    unit /= 2;
  for (int i = 0; i < exponent - f.mantissaBits; ++i)
    unit *= 2;
  while (a / unit >= Quad(uint64_t(2) << f.mantissaBits)) {
    unit *= 2;
    ++exponent;
    if (exponent > bias + 300)
      return sign | (zero ? infinity - 1 : infinity);
  }
  Quad units = a / unit;
  uint64_t whole = uint64_t(units);
  Quad rest = units - Quad(whole);
  bool up =
      !zero &&
      (rest > Quad(0.5) ||
       (rest == Quad(0.5) && (sticky > 0 || (sticky == 0 && (whole & 1)))));
  if (!zero && rest == Quad(0.5) && sticky < 0)
    up = false;
  if (zero && rest == 0 && sticky < 0 && whole > 0)
    --whole;
  whole += up;
  uint64_t base =
      whole < (uint64_t(1) << f.mantissaBits)
          ? whole
          : (uint64_t(exponent + bias - 1) << f.mantissaBits) + whole;
  if (base >= infinity)
    return sign | (zero ? infinity - 1 : infinity);
  return sign | base;
}
/// a * b + c.
uint64_t fmaFormat(double a, double b, double c, Format f) {
  Quad product = Quad(a) * Quad(b);
  Quad sum = product + Quad(c);
  int sticky = 0;
  if (std::isfinite(a) && std::isfinite(b) && std::isfinite(c)) {
    Quad shadow = sum - product;
    Quad lost = (product - (sum - shadow)) + (Quad(c) - shadow);
    sticky = lost > 0 ? 1 : lost < 0 ? -1 : 0;
    if (sum == 0 && sticky == 0) {
      // The sign of an exact zero is the processor's business.
      double zero = std::fma(a, b, c);
      return toFormat(std::signbit(zero) ? Quad(-0.0) : Quad(0.0), 0, false, f);
    }
  }
  return toFormat(sum, sticky, false, f);
}

float flushed(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}

struct Words {
  const std::vector<std::string> &all;
  bool has(const char *word) const {
    return std::find(all.begin() + 1, all.end(), word) != all.end();
  }
  std::string rounding() const {
    for (const char *mode :
         {"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"})
      if (has(mode))
        return mode;
    return "";
  }
};

Answer single(float v, const Words &w, double ulps = 0) {
  if (w.has("ftz"))
    v = flushed(v);
  if (w.has("sat"))
    v = std::isnan(v) ? 0 : v < 0 ? 0 : v > 1 ? 1 : v == 0 ? 0.0f : v;
  Answer a;
  a.bits = std::isnan(v) ? 0x7FFFFFFF : cast<uint32_t>(v);
  a.ulps = ulps;
  return a;
}
Answer twice(double v) {
  Answer a;
  a.bits = cast<uint64_t>(v);
  a.anyNan = std::isnan(v);
  return a;
}

bool compare(const std::string &how, double a, double b) {
  bool nan = std::isnan(a) || std::isnan(b);
  if (how == "num")
    return !nan;
  if (how == "nan")
    return nan;
  if (how.size() == 3) // the unordered forms are true for not-a-number
    return nan || compare(how.substr(0, 2), a, b);
  if (nan)
    return false;
  return how == "eq"   ? a == b
         : how == "ne" ? a != b
         : how == "lt" ? a < b
         : how == "le" ? a <= b
         : how == "gt" ? a > b
                       : a >= b;
}
bool compareWide(const std::string &how, Wide a, Wide b) {
  return how == "eq"                  ? a == b
         : how == "ne"                ? a != b
         : how == "lt" || how == "lo" ? a < b
         : how == "le" || how == "ls" ? a <= b
         : how == "gt" || how == "hi" ? a > b
                                      : a >= b;
}

Wide signedValue(uint64_t v, unsigned bits) {
  return Wide(int64_t(v << (64 - bits)) >> (64 - bits));
}

/// Integer forms of the plain arithmetic ops.
std::optional<Answer> integer(const Words &w, const std::string &op,
                              const std::string &type, const uint64_t *in) {
  unsigned bits = bitsOfType(type);
  bool isSigned = type[0] == 's';
  auto value = [&](uint64_t v) {
    return isSigned ? signedValue(v & low(bits), bits) : Wide(v & low(bits));
  };
  Wide a = value(in[0]), b = value(in[1]), c = value(in[2]);
  UWide ua = in[0] & low(bits), ub = in[1] & low(bits);
  uint32_t u1 = uint32_t(in[1]), u2 = uint32_t(in[2]);
  auto out = [&](Wide v, unsigned width = 0) {
    Answer answer;
    answer.bits = uint64_t(v) & low(width ? width : bits);
    return answer;
  };
  auto saturate = [&](Wide v) {
    Wide most = (Wide(1) << (bits - 1)) - 1;
    return v > most ? most : v < -most - 1 ? -most - 1 : v;
  };
  if (op == "add")
    return out(w.has("sat") ? saturate(a + b) : a + b);
  if (op == "sub")
    return out(w.has("sat") ? saturate(a - b) : a - b);
  if (op == "mul" || op == "mad") {
    // An unsigned product of 64 bits fills 128.
    UWide high = isSigned ? UWide(a * b) : ua * ub;
    Wide product = Wide(high);
    if (w.has("wide")) {
      Wide addend = isSigned ? signedValue(in[2] & low(2 * bits), 2 * bits)
                             : Wide(in[2] & low(2 * bits));
      return out(product + (op == "mad" ? addend : 0), 2 * bits);
    }
    Wide part = w.has("hi") ? value(uint64_t(high >> bits) & low(bits))
                            : Wide(uint64_t(high) & low(bits));
    if (op == "mul")
      return out(part);
    return out(w.has("sat") ? saturate(part + c) : part + c);
  }
  if (op == "mul24" || op == "mad24") {
    auto cut = [&](uint64_t v) {
      return isSigned ? signedValue(v & 0xFFFFFF, 24) : Wide(v & 0xFFFFFF);
    };
    Wide product = cut(in[0]) * cut(in[1]);
    Wide part = w.has("hi") ? product >> 16 : product;
    return out(op == "mad24" ? part + c : part);
  }
  if (op == "div")
    return b == 0 ? out(-1) : out(a / b);
  if (op == "rem")
    return b == 0 ? out(a) : out(a % b);
  if (op == "abs")
    return out(a < 0 ? -a : a);
  if (op == "neg")
    return out(-a);
  if (op == "min" || op == "max") {
    Wide r = op == "min" ? std::min(a, b) : std::max(a, b);
    return out(w.has("relu") ? std::max<Wide>(r, 0) : r);
  }
  if (op == "sad")
    return out(c + (a < b ? b - a : a - b));
  if (op == "popc") {
    int count = 0;
    for (unsigned i = 0; i < bits; ++i)
      count += in[0] >> i & 1;
    return out(count, 32);
  }
  if (op == "clz") {
    unsigned zeros = 0;
    while (zeros < bits && !(in[0] >> (bits - 1 - zeros) & 1))
      ++zeros;
    return out(zeros, 32);
  }
  if (op == "bfind") {
    uint64_t v = isSigned && a < 0 ? ~in[0] : in[0];
    int at = int(bits) - 1;
    while (at >= 0 && !(v >> at & 1))
      --at;
    if (at < 0)
      return out(-1, 32);
    return out(w.has("shiftamt") ? int(bits) - 1 - at : at, 32);
  }
  if (op == "fns") {
    int64_t offset = int32_t(in[2]), at = int64_t(in[1] & 31);
    if (offset == 0)
      return out(in[0] >> at & 1 ? at : -1, 32);
    int64_t left = std::abs(offset);
    for (; at >= 0 && at < 32; at += offset > 0 ? 1 : -1)
      if ((in[0] >> at & 1) && --left == 0)
        return out(at, 32);
    return out(-1, 32);
  }
  if (op == "brev") {
    uint64_t r = 0;
    for (unsigned i = 0; i < bits; ++i)
      r |= (in[0] >> i & 1) << (bits - 1 - i);
    return out(r);
  }
  if (op == "bfe") {
    unsigned position = u1 & 255, length = u2 & 255;
    uint64_t r = 0;
    bool fill = isSigned && length &&
                (in[0] >> std::min(position + length - 1, bits - 1) & 1);
    for (unsigned i = 0; i < bits; ++i) {
      bool bit = i < length && position + i < bits ? in[0] >> (position + i) & 1
                                                   : fill;
      r |= uint64_t(bit) << i;
    }
    return out(r);
  }
  if (op == "bfi") {
    uint64_t r = in[1];
    unsigned position = u2 & 255, length = uint32_t(in[3]) & 255;
    for (unsigned i = 0; i < length && position + i < bits && i < bits; ++i) {
      r &= ~(uint64_t(1) << (position + i));
      r |= (in[0] >> i & 1) << (position + i);
    }
    return out(r);
  }
  if (op == "bmsk") {
    uint64_t at = uint32_t(in[0]), length = u1;
    if (w.has("wrap")) {
      at &= 31;
      length &= 31;
    }
    uint64_t r = 0;
    for (uint64_t i = at; i < std::min<uint64_t>(at + length, 32); ++i)
      r |= uint64_t(1) << i;
    return out(r, 32);
  }
  if (op == "szext") {
    uint32_t n = w.has("wrap") ? u1 & 31 : u1;
    uint64_t v = in[0] & low(32);
    if (n < 32) {
      bool sign = isSigned && n && (v >> (n - 1) & 1);
      v = (v & low(n)) | (sign ? low(32) & ~low(n) : 0);
    }
    return out(v, 32);
  }
  if (op == "and")
    return out(in[0] & in[1]);
  if (op == "or")
    return out(in[0] | in[1]);
  if (op == "xor")
    return out(in[0] ^ in[1]);
  if (op == "not")
    return out(~in[0]);
  if (op == "cnot")
    return out(ua == 0);
  if (op == "shl")
    return out(u1 >= bits ? 0 : in[0] << u1);
  if (op == "shr")
    return out(u1 >= bits ? (a < 0 ? -1 : 0) : a >> u1);
  if (op == "shf") {
    uint32_t n = w.has("wrap") ? u2 & 31 : std::min<uint32_t>(u2, 32);
    UWide both = UWide(u1) << 32 | uint32_t(in[0]);
    return out(w.has("r") ? uint64_t(both >> n) : uint64_t((both << n) >> 32),
               32);
  }
  if (op == "prmt") {
    uint8_t bytes[8];
    uint64_t both = in[0] & low(32);
    both |= uint64_t(u1) << 32;
    memcpy(bytes, &both, 8);
    uint32_t r = 0;
    int s = int(u2 & 3);
    static const int tables[6][4][4] = {
        {{0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}}, // f4e
        {{0, 7, 6, 5}, {1, 0, 7, 6}, {2, 1, 0, 7}, {3, 2, 1, 0}}, // b4e
        {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}, // rc8
        {{0, 1, 2, 3}, {1, 1, 2, 3}, {2, 2, 2, 3}, {3, 3, 3, 3}}, // ecl
        {{0, 0, 0, 0}, {0, 1, 1, 1}, {0, 1, 2, 2}, {0, 1, 2, 3}}, // ecr
        {{0, 1, 0, 1}, {2, 3, 2, 3}, {0, 1, 0, 1}, {2, 3, 2, 3}}, // rc16
    };
    const char *modes[6] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    for (int m = 0; m < 6; ++m)
      if (w.has(modes[m])) {
        for (int k = 0; k < 4; ++k)
          r |= uint32_t(bytes[tables[m][s][k]]) << (8 * k);
        return out(r, 32);
      }
    for (int k = 0; k < 4; ++k) {
      uint32_t select = u2 >> (4 * k) & 15;
      uint32_t byte = bytes[select & 7];
      if (select & 8)
        byte = byte >= 128 ? 255 : 0;
      r |= byte << (8 * k);
    }
    return out(r, 32);
  }
  if (op == "selp")
    return out(in[2] ? in[0] : in[1]);
  return std::nullopt;
}

/// Dot products, lane-wise bytes and the like, with 32-bit operands.
std::optional<Answer> packed(const Words &w, const std::string &op,
                             const std::vector<std::string> &types,
                             const uint64_t *in) {
  auto out = [](uint64_t v) {
    Answer answer;
    answer.bits = v & low(32);
    return answer;
  };
  auto part = [](uint64_t v, int index, unsigned bits, bool isSigned) {
    uint64_t field = v >> (index * int(bits)) & low(bits);
    return isSigned ? int64_t(signedValue(field, bits)) : int64_t(field);
  };
  if (op == "dp4a" || op == "dp2a") {
    bool a = types[0] == "s32", b = types[1] == "s32";
    int64_t sum = int64_t(in[2]);
    for (int k = 0; k < 4; ++k) {
      if (op == "dp4a")
        sum += part(in[0], k, 8, a) * part(in[1], k, 8, b);
      else if (k < 2)
        sum += part(in[0], k, 16, a) *
               part(in[1], k + (w.has("hi") ? 2 : 0), 8, b);
    }
    return out(uint64_t(sum));
  }
  if (types[0] == "u16x2" || types[0] == "s16x2") {
    bool isSigned = types[0] == "s16x2";
    uint64_t r = 0;
    for (int k = 0; k < 2; ++k) {
      int64_t a = part(in[0], k, 16, isSigned),
              b = part(in[1], k, 16, isSigned);
      int64_t v = op == "add"   ? a + b
                  : op == "min" ? std::min(a, b)
                                : std::max(a, b);
      if (w.has("relu"))
        v = std::max<int64_t>(v, 0);
      r |= (uint64_t(v) & 0xFFFF) << (16 * k);
    }
    return out(r);
  }
  if (op[0] == 'v') {
    bool four = op.back() == '4';
    std::string kind = op.substr(1, op.size() - 2);
    unsigned bits = four ? 8 : 16;
    uint64_t r = w.has("add") ? in[2] : 0;
    bool rs = types[0] == "s32";
    for (int k = 0; k < (four ? 4 : 2); ++k) {
      int64_t a = part(in[0], k, bits, types[1] == "s32");
      int64_t b = part(in[1], k, bits, types[2] == "s32");
      int64_t v = kind == "add"       ? a + b
                  : kind == "sub"     ? a - b
                  : kind == "absdiff" ? std::abs(a - b)
                  : kind == "min"     ? std::min(a, b)
                  : kind == "max"     ? std::max(a, b)
                                      : (a + b + (a + b >= 0)) >> 1;
      if (w.has("sat")) {
        int64_t most = rs ? int64_t(low(bits - 1)) : int64_t(low(bits));
        v = std::clamp(v, rs ? -most - 1 : int64_t(0), most);
      }
      if (w.has("add"))
        r += uint64_t(v);
      else
        r |= (uint64_t(v) & low(bits)) << (k * int(bits));
    }
    return out(r);
  }
  if (op == "cvt" && w.has("pack")) {
    bool bytes = types[0] == "u8" || types[0] == "s8", s = types[0][0] == 's';
    unsigned bits = bytes ? 8 : 16;
    auto clamp = [&](uint64_t v) {
      int64_t most = s ? int64_t(low(bits - 1)) : int64_t(low(bits));
      return uint64_t(
                 std::clamp<int64_t>(int32_t(v), s ? -most - 1 : 0, most)) &
             low(bits);
    };
    uint64_t pair = clamp(in[1]) | clamp(in[0]) << bits;
    return out(bytes ? pair | in[2] << 16 : pair);
  }
  return std::nullopt;
}

float opaque(float v) {
  asm volatile("" : "+x"(v));
  return v;
}
double opaque(double v) {
  asm volatile("" : "+x"(v));
  return v;
}
template <class T> T arithmetic(const std::string &op, T a, T b, T c) {
  a = opaque(a), b = opaque(b), c = opaque(c);
  T r = op == "add"    ? a + b
        : op == "sub"  ? a - b
        : op == "mul"  ? a * b
        : op == "div"  ? a / b
        : op == "rcp"  ? T(1) / a
        : op == "sqrt" ? std::sqrt(a)
                       : std::fma(a, b, c);
  return opaque(r);
}
bool isArithmetic(const std::string &op) {
  for (const char *each :
       {"add", "sub", "mul", "div", "rcp", "sqrt", "fma", "mad"})
    if (op == each)
      return true;
  return false;
}
template <class T> T extremum(const std::string &op, T a, T b, const Words &w) {
  bool flip = w.has("xorsign") && (std::signbit(a) != std::signbit(b));
  bool nan = std::isnan(a) || std::isnan(b);
  if (w.has("xorsign")) {
    a = std::fabs(a);
    b = std::fabs(b);
  }
  T r;
  if (nan && (w.has("NaN") || (std::isnan(a) && std::isnan(b))))
    return T(NAN);
  if (nan)
    r = std::isnan(a) ? b : a;
  else if (a == b)
    r = op == "min" ? (std::signbit(a) ? a : b) : (std::signbit(a) ? b : a);
  else
    r = (op == "min") == (a < b) ? a : b;
  return flip ? -r : r;
}
std::optional<double> transcendental(const std::string &op, double x,
                                     double &ulps) {
  ulps = 2;
  if (op == "rcp")
    return 1 / x;
  if (op == "sqrt")
    return std::sqrt(x);
  if (op == "rsqrt")
    return 1 / std::sqrt(x);
  if (op == "ex2")
    return std::exp2(x);
  if (op == "lg2")
    return std::log2(x);
  if (op == "sin")
    return std::sin(x);
  if (op == "cos")
    return std::cos(x);
  if (op == "tanh")
    return std::tanh(x);
  return std::nullopt;
}

std::optional<Answer> floating(const Words &w, const std::string &op,
                               const std::string &type, const uint64_t *in) {
  std::string mode = w.rounding();
  bool ftz = w.has("ftz");
  if (op == "testp") {
    double v = type == "f64" ? f64(in[0]) : f32(in[0]);
    int kind = type == "f64" ? std::fpclassify(f64(in[0]))
                             : std::fpclassify(f32(in[0]));
    Answer a;
    a.bits = w.has("finite")       ? std::isfinite(v)
             : w.has("infinite")   ? std::isinf(v)
             : w.has("number")     ? !std::isnan(v)
             : w.has("notanumber") ? std::isnan(v)
             : w.has("normal")     ? kind == FP_NORMAL
                                   : kind == FP_SUBNORMAL;
    return a;
  }
  if (op == "selp") {
    Answer a;
    a.bits = in[2] ? in[0] : in[1];
    return a;
  }
  if (type == "f64") {
    double a = f64(in[0]), b = f64(in[1]), c = f64(in[2]);
    Answer r;
    if (op == "abs" || op == "neg") {
      r.bits = op == "abs" ? in[0] & ~(uint64_t(1) << 63)
                           : in[0] ^ uint64_t(1) << 63;
      return r;
    }
    if (op == "copysign")
      return twice(std::copysign(b, a));
    if (op == "min" || op == "max")
      return twice(extremum(op, a, b, w));
    if (op == "rsqrt" && !ftz)
      return twice(1 / std::sqrt(a));
    if (w.has("approx")) {
      uint64_t bits = in[0] & ~low(32);
      double x = f64(bits);
      if (std::fpclassify(x) == FP_SUBNORMAL)
        x = std::copysign(0.0, x);
      double v = op == "rcp" ? 1 / x : 1 / std::sqrt(x);
      uint64_t out = cast<uint64_t>(v) & ~low(32);
      if (std::fpclassify(f64(out)) == FP_SUBNORMAL)
        out &= uint64_t(1) << 63;
      r.bits = out;
      r.anyNan = std::isnan(v);
      return r;
    }
    if (!isArithmetic(op))
      return std::nullopt;
    Rounded scope(mode);
    return twice(arithmetic(op, a, b, c));
  }
  if (type == "f32") {
    float a = f32(in[0]), b = f32(in[1]), c = f32(in[2]);
    if (ftz) {
      a = flushed(a);
      b = flushed(b);
      c = flushed(c);
    }
    if (op == "abs" || op == "neg") {
      Answer r;
      uint32_t bits = cast<uint32_t>(a);
      r.bits = op == "abs" ? bits & 0x7FFFFFFF : bits ^ 0x80000000;
      r.anyNan = std::isnan(a);
      return r;
    }
    if (op == "copysign") {
      Answer r;
      r.bits = (in[0] & 0x80000000) | (in[1] & 0x7FFFFFFF);
      return r;
    }
    if (op == "min" || op == "max")
      return single(extremum(op, a, b, w), w);
    if (w.has("approx") || w.has("full")) {
      if (op == "div") {
        bool lost =
            w.has("approx") && std::fabs(b) > 0x1p126f && std::isfinite(b);
        if (lost)
          return single(a * std::copysign(0.0f, b), w);
        return single(a / b, w, 2);
      }
      double ulps = 0;
      auto v = transcendental(op, double(a), ulps);
      // Outside of this range sine and cosine have no promised accuracy.
      if ((op == "sin" || op == "cos") && std::fabs(a) > 1e6f &&
          std::isfinite(a))
        return std::nullopt;
      return v ? std::optional(single(float(*v), w, ulps)) : std::nullopt;
    }
    if (!isArithmetic(op))
      return std::nullopt;
    float r;
    {
      Rounded scope(mode);
      r = arithmetic(op, a, b, c);
    }
    return single(r, w);
  }
  if (type == "f32x2") {
    Answer r;
    for (int k = 0; k < 2; ++k) {
      uint64_t parts[3] = {in[0] >> (32 * k) & low(32),
                           in[1] >> (32 * k) & low(32),
                           in[2] >> (32 * k) & low(32)};
      auto one = floating(w, op, "f32", parts);
      if (!one)
        return std::nullopt;
      r.bits |= one->bits << (32 * k);
    }
    return r;
  }
  if (type == "f16x2" || type == "bf16x2") {
    Answer r;
    std::string part = type.substr(0, type.size() - 2);
    for (int k = 0; k < 2; ++k) {
      uint64_t parts[3] = {in[0] >> (16 * k) & 0xFFFF,
                           in[1] >> (16 * k) & 0xFFFF,
                           in[2] >> (16 * k) & 0xFFFF};
      auto one = floating(w, op, part, parts);
      if (!one)
        return std::nullopt;
      r.bits |= one->bits << (16 * k);
      r.ulps = one->ulps;
    }
    return r;
  }
  bool isHalf = type == "f16";
  Format format = isHalf ? kHalf : kBfloat;
  uint64_t exponent = low(format.exponentBits) << format.mantissaBits;
  auto enter = [&](uint64_t v) {
    return ftz && (v & exponent) == 0 ? v & 0x8000 : v & 0xFFFF;
  };
  uint64_t a = enter(in[0]), b = enter(in[1]), c = enter(in[2]);
  double x = fromFormat(a, format), y = fromFormat(b, format),
         z = fromFormat(c, format);
  Answer r;
  if (op == "abs" || op == "neg") {
    r.bits = op == "abs" ? a & 0x7FFF : a ^ 0x8000;
    return r;
  }
  if (op == "min" || op == "max") {
    double v = extremum(op, x, y, w);
    r.bits = toFormat(Quad(v), 0, false, format);
    return r;
  }
  double ulps = 0;
  if (w.has("approx")) {
    auto v = transcendental(op, x, ulps);
    if (!v)
      return std::nullopt;
    r.bits = toFormat(Quad(*v), 0, false, format);
    r.ulps = 1;
  } else if (op == "add") {
    r.bits = fmaFormat(x, 1, y, format);
  } else if (op == "sub") {
    r.bits = fmaFormat(y, -1, x, format);
  } else if (op == "mul") {
    r.bits = toFormat(Quad(x) * Quad(y), 0, false, format);
    if (x * y == 0 && (x == 0 || y == 0))
      r.bits = std::signbit(x * y) ? 0x8000 : 0;
  } else if (op == "fma") {
    r.bits = fmaFormat(x, y, z, format);
  } else {
    return std::nullopt;
  }
  bool nan = (r.bits & 0x7FFF) > exponent;
  if (ftz && (r.bits & exponent) == 0)
    r.bits &= 0x8000;
  if (w.has("sat"))
    r.bits = nan || (r.bits & 0x8000)         ? 0
             : fromFormat(r.bits, format) > 1 ? (isHalf ? 0x3C00 : 0x3F80)
                                              : r.bits;
  if (w.has("relu") && !nan && (r.bits & 0x8000))
    r.bits = 0;
  return r;
}

/// The value of a register as a float format.
double valueOf(uint64_t bits, const std::string &type) {
  return type == "f64"   ? f64(bits)
         : type == "f32" ? double(f32(bits))
         : type == "f16" ? fromFormat(bits & 0xFFFF, kHalf)
                         : fromFormat(bits & 0xFFFF, kBfloat);
}

std::optional<Answer> conversion(const Words &w,
                                 const std::vector<std::string> &types,
                                 const uint64_t *in) {
  const std::string &to = types[0], &from = types[1];
  std::string mode = w.rounding();
  bool toFloat = isFloatType(to), fromFloat = isFloatType(from);
  Answer r;
  unsigned toBits = bitsOfType(to), fromBits = bitsOfType(from);
  if (to == "f16x2" || to == "bf16x2") { // of two f32
    Format format = to == "f16x2" ? kHalf : kBfloat;
    uint64_t exponent = low(format.exponentBits) << format.mantissaBits;
    for (int k = 0; k < 2; ++k) {
      float v = f32(in[1 - k]);
      uint64_t part = toFormat(std::isnan(v) ? Quad(NAN) : Quad(v), 0,
                               mode == "rz", format);
      if (mode == "rz" && std::isinf(v))
        part = exponent | (v < 0 ? 0x8000 : 0);
      if (w.has("satfinite") && (part & 0x7FFF) == exponent)
        part -= 1;
      if (w.has("relu") && v < 0)
        part = 0;
      if (w.has("relu") && v == 0)
        part = 0;
      r.bits |= part << (16 * k);
    }
    return r;
  }
  if (to == "tf32") {
    float v = f32(in[0]);
    if (std::isnan(v)) {
      r.bits = 0x7FFFFFFF;
      return r;
    }
    if (std::isinf(v)) {
      r.bits = w.has("satfinite") ? 0x7F7FE000 | (v < 0 ? 0x80000000 : 0)
                                  : cast<uint32_t>(v);
    } else {
      // Units of the last of ten bits.
      uint32_t bits = uint32_t(in[0]), rest = bits & 0x1FFF;
      uint32_t down = bits & ~0x1FFFu;
      bool up = mode == "rna" ? rest >= 0x1000
                : mode == "rn"
                    ? rest > 0x1000 || (rest == 0x1000 && (down & 0x2000))
                    : false;
      r.bits = down + (up ? 0x2000 : 0);
      if (w.has("satfinite") && (r.bits & 0x7FFFFFFF) == 0x7F800000)
        r.bits -= 0x2000;
    }
    if (w.has("relu") && (r.bits & 0x80000000))
      r.bits = 0;
    return r;
  }
  if (!toFloat && !fromFloat) {
    Wide v = from[0] == 's' ? signedValue(in[0] & low(fromBits), fromBits)
                            : Wide(in[0] & low(fromBits));
    bool isSigned = to[0] == 's';
    if (w.has("sat")) {
      Wide most =
          isSigned ? (Wide(1) << (toBits - 1)) - 1 : (Wide(1) << toBits) - 1;
      v = std::clamp<Wide>(v, isSigned ? -most - 1 : 0, most);
    }
    uint64_t cut = uint64_t(v) & low(toBits);
    // The register may be wider: the value is extended to it.
    r.bits = isSigned ? uint64_t(signedValue(cut, toBits)) : cut;
    return r;
  }
  if (!toFloat) {
    float single = f32(in[0]);
    double v = from == "f32" ? double(w.has("ftz") ? flushed(single) : single)
                             : valueOf(in[0], from);
    bool isSigned = to[0] == 's';
    if (std::isnan(v)) {
      bool top = from == "f64" || toBits == 64;
      uint64_t bits = top ? uint64_t(1) << (toBits - 1) : 0;
      r.bits = isSigned ? uint64_t(signedValue(bits, toBits)) : bits;
      return r;
    }
    double whole = mode == "rni"   ? std::nearbyint(v)
                   : mode == "rzi" ? std::trunc(v)
                   : mode == "rmi" ? std::floor(v)
                                   : std::ceil(v);
    Wide most =
        isSigned ? (Wide(1) << (toBits - 1)) - 1 : (Wide(1) << toBits) - 1;
    Wide least = isSigned ? -most - 1 : 0;
    Wide exact = whole > 1e30 ? most : whole < -1e30 ? least : Wide(whole);
    r.bits = uint64_t(std::clamp(exact, least, most));
    return r;
  }
  // To a float.
  Quad exact;
  bool negativeZero = false;
  double v = 0;
  if (fromFloat) {
    float single = f32(in[0]);
    v = from == "f32" ? double(w.has("ftz") ? flushed(single) : single)
                      : valueOf(in[0], from);
    if (mode == "rni")
      v = std::nearbyint(v);
    else if (mode == "rzi")
      v = std::trunc(v);
    else if (mode == "rmi")
      v = std::floor(v);
    else if (mode == "rpi")
      v = std::ceil(v);
    if (w.has("sat"))
      v = std::isnan(v) ? 0 : v > 1 ? 1 : v > 0 ? v : 0.0;
    if (w.has("relu") && v < 0)
      v = 0.0;
    exact = Quad(v);
    negativeZero = v == 0 && std::signbit(v);
  } else {
    Wide whole = from[0] == 's' ? signedValue(in[0] & low(fromBits), fromBits)
                                : Wide(in[0] & low(fromBits));
    if (w.has("sat"))
      whole = std::clamp<Wide>(whole, 0, 1);
    exact = Quad(whole);
  }
  if (to == "f64" || to == "f32") {
    Rounded scope(mode);
    // Exact in at most 64 bits: long double holds it, and converts in the
    // rounding mode.
    volatile long double wide = static_cast<long double>(exact);
    if (to == "f64") {
      volatile double d = double(wide);
      r = twice(d);
      return r;
    }
    volatile float f = float(wide);
    float g = w.has("ftz") ? flushed(f) : float(f);
    r.bits = std::isnan(g) ? 0x7FFFFFFF : cast<uint32_t>(g);
    return r;
  }
  Format format = to == "f16" ? kHalf : kBfloat;
  if (negativeZero) {
    r.bits = 0x8000;
    return r;
  }
  uint64_t infinity = low(format.exponentBits) << format.mantissaBits;
  if (std::isinf(v))
    r.bits = infinity | (v < 0 ? 0x8000 : 0);
  else
    r.bits = toFormat(exact, 0, mode == "rz", format);
  if ((mode == "rm" || mode == "rp") && !std::isinf(v) && !std::isnan(v)) {
    // From the value towards zero, one step away where that is the direction.
    r.bits = toFormat(exact, 0, true, format);
    double zero = fromFormat(r.bits, format);
    bool away = mode == "rp" ? Quad(zero) < exact : Quad(zero) > exact;
    r.bits += away;
  }
  return r;
}

} // namespace

unsigned bitsOfType(const std::string &type) {
  if (type == "pred")
    return 1;
  if (type == "f16x2" || type == "bf16x2" || type == "u16x2" ||
      type == "s16x2" || type == "tf32")
    return 32;
  if (type == "f32x2")
    return 64;
  return unsigned(std::stoul(type.substr(type.find_first_of("0123456789"))));
}
bool isFloatType(const std::string &type) {
  return type[0] == 'f' || type.substr(0, 2) == "bf";
}

std::optional<Answer> answer(const std::vector<std::string> &all,
                             const std::vector<std::string> &types,
                             const uint64_t *in) {
  Words w{all};
  const std::string &op = all[0];
  const std::string type = types.empty() ? "b32" : types[0];
  if (op == "setp" || op == "set") {
    bool isSet = op == "set";
    const std::string &of = types.back();
    const std::string &how = all[1];
    bool result;
    auto value = [&](uint64_t bits) {
      if (of == "f32" && w.has("ftz"))
        return double(flushed(f32(bits)));
      if (of == "f16" && w.has("ftz") && (bits & 0x7C00) == 0)
        return fromFormat(bits & 0x8000, kHalf);
      return valueOf(bits, of);
    };
    if (isFloatType(of)) {
      result = compare(how, value(in[0]), value(in[1]));
    } else {
      unsigned bits = bitsOfType(of);
      bool isSigned = of[0] == 's' && how != "lo" && how != "ls" &&
                      how != "hi" && how != "hs";
      auto number = [&](uint64_t v) {
        return isSigned ? signedValue(v & low(bits), bits)
                        : Wide(v & low(bits));
      };
      result = compareWide(how, number(in[0]), number(in[1]));
    }
    bool third = in[2] & 1;
    result = w.has("and")   ? result && third
             : w.has("or")  ? result || third
             : w.has("xor") ? result != third
                            : result;
    Answer r;
    r.bits = !isSet           ? result
             : !result        ? 0
             : type == "f32"  ? 0x3F800000
             : type == "f16"  ? 0x3C00
             : type == "bf16" ? 0x3F80
                              : low(bitsOfType(type));
    return r;
  }
  if (op == "lop3") {
    Answer r;
    for (int i = 0; i < 32; ++i) {
      unsigned index = unsigned((in[0] >> i & 1) << 2 | (in[1] >> i & 1) << 1 |
                                (in[2] >> i & 1));
      r.bits |= (uint64_t(0xCA) >> index & 1) << i;
    }
    return r;
  }
  if (op == "slct") {
    bool first;
    if (types[1] == "f32") {
      float c = f32(in[2]);
      first = (w.has("ftz") ? flushed(c) : c) >= 0;
    } else {
      first = int32_t(in[2]) >= 0;
    }
    Answer r;
    r.bits = first ? in[0] : in[1];
    return r;
  }
  if (op == "movmatrix")
    return std::nullopt; // lanes depend on each other
  if ((op == "min" || op == "max") && isFloatType(type) && all.size() > 1 &&
      types.size() == 1 && w.has("abs") && !w.has("xorsign")) {
    // The three-operand form.
    uint64_t positive[3];
    for (int k = 0; k < 3; ++k)
      positive[k] = in[k] & 0x7FFFFFFF;
    std::vector<std::string> words = all;
    words.erase(std::find(words.begin(), words.end(), "abs"));
    Words plain{words};
    auto first = floating(plain, op, type, positive);
    uint64_t next[3] = {first->bits, positive[2], 0};
    return floating(plain, op, type, next);
  }
  if ((op == "add" || op == "sub" || op == "fma") && types.size() == 2) {
    // A 16-bit operand with an f32 one.
    double x = valueOf(in[0], types[1]);
    double y = op == "fma" ? valueOf(in[1], types[1]) : 1.0;
    float z = f32(in[op == "fma" ? 2 : 1]);
    if (op == "sub")
      z = -z;
    float r;
    {
      Rounded scope(w.rounding());
      r = opaque(std::fma(opaque(float(x)), opaque(float(y)), opaque(z)));
    }
    return single(r, w);
  }
  if (auto made = packed(w, op, types, in))
    return made;
  if (op == "cvt")
    return conversion(w, types, in);
  if (!types.empty() && isFloatType(type))
    return floating(w, op, type, in);
  return integer(w, op, type, in);
}

} // namespace cudasim::test
