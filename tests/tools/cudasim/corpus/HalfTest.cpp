#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

namespace {
/// A 16-bit format as the tests use it.
struct Half {
  const char *kernel;
  double (*decode)(uint16_t);
  uint16_t (*encode)(double);
};
} // namespace

static const Half kPairs[] = {
    {"bf16Pairs", [](uint16_t bits) { return double(fromBf16(bits)); }, toBf16},
    {"f16Pairs", fromF16, toF16},
};

/// What the kernel does to each half of the pairs x and y: all results but the
/// last, which picks x's high and y's low half.
static std::vector<uint16_t> expected(const Half &format, uint16_t x,
                                      uint16_t y) {
  double a = format.decode(x), b = format.decode(y);
  auto number = [&](double value) { return format.encode(value); };
  uint16_t one = format.encode(1);
  bool xNan = std::isnan(a), yNan = std::isnan(b);
  uint16_t least = xNan ? y : yNan ? x : a < b ? x : b < a ? y : x | y;
  uint16_t most = xNan ? y : yNan ? x : a > b ? x : b > a ? y : x & y;
  return {number(a + b),
          number(a - b),
          number(a * b),
          number(a * b + a),
          least,
          most,
          uint16_t(x ^ 0x8000),
          uint16_t(y & 0x7fff),
          a > b ? one : uint16_t(0),
          a <= b ? one : uint16_t(0),
          uint16_t(a > b ? 0xffff : 0)};
}

// Values have small exponents, so that a double holds every sum and product
// and the format's rounding is the only one.
static void checkPairs(const Half &format) {
  Random random(19);
  std::vector<uint16_t> numbers[2];
  const double edges[] = {0.0, -0.0, 1.0, -1.0, 3.0, INFINITY, NAN, 0.0078125};
  for (double x : edges)
    for (double y : edges) {
      numbers[0].push_back(format.encode(x));
      numbers[1].push_back(format.encode(y));
    }
  for (int i = 0; i < 128; ++i)
    for (auto &list : numbers)
      list.push_back(format.encode(
          std::ldexp(random.uniform(-1, 1), int(random.below(8)) - 4)));
  const int count = int(numbers[0].size() / 2);
  std::vector<uint32_t> words[2];
  for (int side = 0; side < 2; ++side)
    for (int i = 0; i < count; ++i)
      words[side].push_back(numbers[side][2 * i] |
                            uint32_t(numbers[side][2 * i + 1]) << 16);
  const size_t columns = expected(format, 0, 0).size();
  Buffer<uint32_t> a(words[0]), b(words[1]), out((columns + 1) * count);
  launch(kernel("Half.cu", format.kernel), {unsigned(count + 31) / 32}, {32}, 0,
         a, b, out, count);
  auto got = out.download();
  for (int i = 0; i < count; ++i) {
    for (int half = 0; half < 2; ++half) {
      uint16_t x = numbers[0][2 * i + half], y = numbers[1][2 * i + half];
      auto want = expected(format, x, y);
      for (size_t column = 0; column < columns; ++column) {
        uint16_t bits = uint16_t(got[column * count + i] >> 16 * half);
        if (column < 8 && std::isnan(format.decode(want[column])) &&
            std::isnan(format.decode(bits)))
          continue;
        EXPECT_EQ(bits, want[column])
            << format.kernel << " result " << column << " of "
            << format.decode(x) << " and " << format.decode(y);
      }
    }
    EXPECT_EQ(got[columns * count + i], words[0][i] >> 16 | words[1][i] << 16)
        << format.kernel << " halves of pair " << i;
  }
}

TEST(Corpus, Bf16Pairs) { checkPairs(kPairs[0]); }
TEST(Corpus, F16Pairs) { checkPairs(kPairs[1]); }

TEST(Corpus, HalfConversions) {
  Random random(20);
  std::vector<float> values = {0.0f,  -0.0f,   1.0f,   65504.0f, 65519.0f,
                               1e-7f, 6.1e-5f, 3e-8f,  -1.0e-5f, 0.25f,
                               2.5f,  3.5f,    -0.75f, 300.125f};
  for (int i = 0; i < 82; ++i)
    values.push_back(
        float(std::ldexp(random.uniform(-1, 1), int(random.below(24)) - 14)));
  const int count = int(values.size());
  auto f16 = [](double x, Rounding r = Rounding::Nearest) {
    return roundTo(x, kF16, r);
  };
  auto bf = [](double x, Rounding r = Rounding::Nearest) {
    return roundTo(x, kBf16, r);
  };
  auto expected = [&](float x) -> std::vector<double> {
    return {bf(x),
            bf(x, Rounding::Zero),
            f16(x),
            f16(x, Rounding::Zero),
            f16(x, Rounding::Up),
            f16(f16(x) * 3 + 0.5),
            bf(bf(x) * 3 + 0.5),
            bf(x) < 0.25 ? 1.0 : 0.0,
            f16(x) >= 0.25 ? 1.0 : 0.0,
            std::nearbyint(f16(x)),
            f16(std::trunc(x * 100.0f))};
  };
  const size_t columns = expected(0).size();
  Buffer<float> in(values), out(columns * count);
  launch(kernel("Half.cu", "halfConversions"), {unsigned(count + 31) / 32},
         {32}, 0, in, out, count);
  auto got = out.download();
  for (int i = 0; i < count; ++i) {
    auto want = expected(values[i]);
    for (size_t column = 0; column < columns; ++column)
      EXPECT_EQ(double(got[column * count + i]), want[column])
          << "result " << column << " of " << values[i];
  }
}
