#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cstdlib>

using namespace corpus;

/// `operation` in the given direction; the volatiles keep it between the two
/// changes of mode.
template <typename Operation>
static float rounded(int mode, float x, float y, Operation operation) {
  volatile float a = x, b = y;
  std::fesetround(mode);
  volatile float result = operation(a, b);
  std::fesetround(FE_TONEAREST);
  return result;
}

/// cvt to a signed or unsigned integer: clamped, and NaN gives `nan`.
static double toInteger(double value, double low, double high, double nan) {
  if (std::isnan(value))
    return nan;
  return std::min(std::max(value, low), high) + 0.0; // No integer is -0.
}

/// min and max of the PTX ISA: a number wins over NaN, +0 over -0 is larger.
static float larger(float x, float y) {
  if (std::isnan(x) || std::isnan(y))
    return std::isnan(x) ? y : x;
  if (x == y)
    return std::signbit(x) ? y : x;
  return x > y ? x : y;
}

static std::vector<float> expectedExact(float x, float y) {
  auto add = [](float a, float b) { return a + b; };
  auto multiply = [](float a, float b) { return a * b; };
  auto fused = [](float a, float b) { return std::fma(a, b, 0.25f); };
  const double int32Low = -2147483648.0, int32High = 2147483647.0;
  const double int64High = 0x1p63, uint64High = 0x1p64;
  return {
      x + y,
      x - y,
      x * y,
      x / y,
      std::fma(x, y, 0.5f),
      std::sqrt(std::fabs(x)),
      1.0f / y,
      -larger(-x, -y),
      larger(x, y),
      std::copysign(x, y),
      std::floor(x),
      std::ceil(x),
      std::trunc(x),
      std::nearbyint(x),
      std::isnan(x) || x <= 0 ? 0.0f : std::min(x, 1.0f),
      -x,
      std::fabs(y),
      rounded(FE_TOWARDZERO, x, y, add),
      rounded(FE_UPWARD, x, y, add),
      rounded(FE_DOWNWARD, x, y, add),
      rounded(FE_TOWARDZERO, x, y, multiply),
      rounded(FE_UPWARD, x, y, multiply),
      rounded(FE_DOWNWARD, x, y, fused),
      rounded(FE_TOWARDZERO, x, y, fused),
      x / y,
      std::sqrt(std::fabs(x)),
      1.0f / y,
      float(toInteger(std::nearbyint(x), int32Low, int32High, 0)),
      float(toInteger(std::trunc(x), int32Low, int32High, 0)),
      float(toInteger(std::ceil(x), int32Low, int32High, 0)),
      float(toInteger(std::floor(x), int32Low, int32High, 0)),
      float(toInteger(std::trunc(x), 0, 4294967295.0, 0)),
      // For 64 bits NaN becomes the integer with only the highest bit set.
      float(toInteger(std::trunc(x), -0x1p63, int64High, -0x1p63)),
      float(toInteger(std::trunc(std::fabs(x)), 0, uint64High, 0x1p63)),
      float(double(x) * 0.1),
      std::isnan(x)     ? 1.0f
      : std::isinf(x)   ? 2.0f
      : std::signbit(x) ? 3.0f
                        : 4.0f,
      x < y    ? 1.0f
      : x > y  ? 2.0f
      : x == y ? 3.0f
               : 4.0f,
      floatOf(bitsOf(x) ^ 0x00400000),
  };
}

// Bit for bit, zeros with their sign; NaN is any NaN.
TEST(Corpus, FloatExact) {
  const float edges[] = {0.0f,     -0.0f,        1.0f,     -1.5f,
                         2.5f,     3.5f,         1e-40f,   1e38f,
                         -2.5e38f, 1.17549e-38f, INFINITY, -INFINITY,
                         NAN,      16777217.0f,  4.2e9f,   -2147483648.0f};
  std::vector<float> a, b;
  for (float x : edges)
    for (float y : edges) {
      a.push_back(x);
      b.push_back(y);
    }
  Random random(16);
  for (int i = 0; i < 64; ++i) {
    a.push_back(floatOf(uint32_t(random.bits())));
    b.push_back(floatOf(uint32_t(random.bits())));
    a.push_back(float(random.uniform(-10, 10)));
    b.push_back(float(random.uniform(-10, 10)));
  }
  const int count = int(a.size());
  const size_t columns = expectedExact(1, 1).size();
  Buffer<float> as(a), bs(b), out(columns * count);
  launch(kernel("Float.cu", "floatExact"), {unsigned(count + 63) / 64}, {64}, 0,
         as, bs, out, count);
  auto got = out.download();
  for (int i = 0; i < count; ++i) {
    auto want = expectedExact(a[i], b[i]);
    for (size_t column = 0; column < columns; ++column) {
      float value = got[column * count + i];
      if (std::isnan(want[column]) && std::isnan(value))
        continue;
      EXPECT_EQ(bitsOf(value), bitsOf(want[column]))
          << "result " << column << " of " << a[i] << " and " << b[i]
          << ": got " << value << ", expected " << want[column];
    }
  }
}

namespace {
/// A function and the error that CUDA's guide allows: in units in the last
/// place, plus absolute.
struct Bounded {
  const char *name;
  double (*reference)(double, double);
  double ulps, absolute;
};
} // namespace

// Bounds of the full-range functions are those of the CUDA programming guide,
// "Mathematical Functions"; those of intrinsics and approx instructions are of
// the guide and of the PTX ISA.
static const Bounded kMath[] = {
    {"expf", [](double x, double) { return std::exp(x); }, 2, 0},
    {"logf", [](double x, double) { return std::log(std::fabs(x)); }, 1, 1e-8},
    {"sinf", [](double x, double) { return std::sin(x); }, 2, 0},
    {"cosf", [](double x, double) { return std::cos(x); }, 2, 0},
    {"tanhf", [](double x, double) { return std::tanh(x); }, 2, 0},
    {"powf", [](double x, double y) { return std::pow(std::fabs(x), y); }, 4,
     0},
    {"rsqrtf", [](double x, double) { return 1 / std::sqrt(std::fabs(x)); }, 2,
     0},
    {"erff", [](double x, double) { return std::erf(x); }, 2, 0},
    {"exp2f", [](double x, double) { return std::exp2(x); }, 2, 0},
    {"log2f", [](double x, double) { return std::log2(std::fabs(x)); }, 1,
     1e-8},
    {"cbrtf", [](double x, double) { return std::cbrt(x); }, 1, 0},
    {"fmodf", [](double x, double y) { return std::fmod(x, y); }, 0, 0},
    {"hypotf", [](double x, double y) { return std::hypot(x, y); }, 3, 0},
    {"atan2f", [](double x, double y) { return std::atan2(x, y); }, 3, 0},
    {"log1pf", [](double x, double) { return std::log1p(std::fabs(x)); }, 1, 0},
    {"expm1f", [](double x, double) { return std::expm1(x); }, 1, 0},
    // 2 + floor(|1.173 x|) units, and |x| is below 3.
    {"__expf", [](double x, double) { return std::exp(x); }, 5, 0},
    {"__logf", [](double x, double) { return std::log(std::fabs(x)); }, 3,
     0x1p-21},
    {"__sinf", [](double x, double) { return std::sin(x); }, 0, 0x1p-21},
    {"__cosf", [](double x, double) { return std::cos(x); }, 0, 0x1p-21},
    {"__fdividef", [](double x, double y) { return x / y; }, 2, 0},
    // The exponential's 2 units, a sum and a quotient.
    {"sigmoid", [](double x, double) { return 1 / (1 + std::exp(-x)); }, 4, 0},
    {"tanh.approx", [](double x, double) { return std::tanh(x); }, 0x1p13, 0},
    {"sqrt.approx", [](double x, double) { return std::sqrt(std::fabs(x)); }, 2,
     0},
    {"rcp.approx", [](double, double y) { return 1 / y; }, 1, 0},
};

TEST(Corpus, FloatFunctions) {
  const char *options = std::getenv("MOEC_CUDASIM");
  if (options && std::strstr(options, "perturb=1"))
    GTEST_SKIP() << "the library's bounds rest on the errors that the parts' "
                    "instructions have, not on those that are allowed";
  Random random(17);
  auto a = random.floats(257, -3, 3), b = random.floats(257, -3, 3);
  const int count = int(a.size());
  Buffer<float> as(a), bs(b), out(std::size(kMath) * count);
  launch(kernel("Float.cu", "floatMath"), {unsigned(count + 63) / 64}, {64}, 0,
         as, bs, out, count);
  auto got = out.download();
  for (size_t column = 0; column < std::size(kMath); ++column) {
    const Bounded &function = kMath[column];
    for (int i = 0; i < count; ++i) {
      double want = function.reference(a[i], b[i]);
      // Half a unit more, for the reference is not rounded.
      double unit = std::ldexp(1.0, std::ilogb(want) - 23);
      EXPECT_NEAR(got[column * count + i], want,
                  (function.ulps + (function.ulps ? 0.5 : 0)) * unit +
                      function.absolute)
          << function.name << " of " << a[i] << " and " << b[i];
    }
  }
}

TEST(Corpus, Doubles) {
  Random random(18);
  std::vector<double> a, b;
  for (int i = 0; i < 96; ++i) {
    a.push_back(random.uniform(-20, 20));
    b.push_back(random.uniform(-20, 20));
  }
  auto expected = [](double x, double y) -> std::vector<double> {
    uint64_t bits, other;
    std::memcpy(&bits, &x, 8);
    std::memcpy(&other, &y, 8);
    uint64_t flipped = bits ^ 1;
    uint64_t joined = (bits & ~0xffffffffull) | (other & 0xffffffff);
    double flippedValue, joinedValue;
    std::memcpy(&flippedValue, &flipped, 8);
    std::memcpy(&joinedValue, &joined, 8);
    volatile double vx = x, vy = y;
    std::fesetround(FE_DOWNWARD);
    volatile double down = vx + vy;
    std::fesetround(FE_UPWARD);
    volatile double up = vx * vy;
    std::fesetround(FE_TONEAREST);
    return {x + y, x * y, x / y, std::fma(x, y, 0.5), std::sqrt(std::fabs(x)),
            1.0 / y, std::fmin(x, y), std::fmax(x, y), std::floor(x),
            std::nearbyint(x), down, up, std::trunc(x),
            std::trunc(std::fabs(x)), std::nearbyint(x), double(float(x)),
            flippedValue, joinedValue,
            // From here on within the guide's bound of 2 units.
            std::exp(x), std::log(std::fabs(x)), std::sin(x),
            1 / std::sqrt(std::fabs(x))};
  };
  const size_t exact = 18, columns = expected(1, 1).size();
  const int count = int(a.size());
  Buffer<double> as(a), bs(b), out(columns * count), total(1, 0.0);
  launch(kernel("Float.cu", "doubleMath"), {unsigned(count + 31) / 32}, {32}, 0,
         as, bs, out, total, count);
  auto got = out.download();
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    auto want = expected(a[i], b[i]);
    sum += a[i] * 0.25;
    for (size_t column = 0; column < columns; ++column) {
      double unit = std::ldexp(1.0, std::ilogb(want[column]) - 52);
      // The library below the reference is off by up to a unit itself.
      EXPECT_NEAR(got[column * count + i], want[column],
                  column < exact ? 0 : 3 * unit)
          << "result " << column << " of " << a[i] << " and " << b[i];
    }
  }
  EXPECT_NEAR(total.download()[0], sum, 1e-12);
}
