#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <bit>

using namespace corpus;

template <typename T> static T reversed(T value) {
  T result = 0;
  for (size_t i = 0; i < sizeof(T) * 8; ++i)
    result = T(result << 1) | T(value >> i & 1);
  return result;
}

static uint32_t permute(uint32_t x, uint32_t y, uint32_t selector) {
  uint64_t bytes = uint64_t(y) << 32 | x;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= uint32_t(bytes >> (selector >> (4 * i) & 7) * 8 & 0xff) << 8 * i;
  return result;
}

template <typename Operation>
static uint32_t eachByte(uint32_t x, uint32_t y, Operation operation) {
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= (operation(x >> 8 * i & 0xff, y >> 8 * i & 0xff) & 0xff) << 8 * i;
  return result;
}

/// One value a line of the kernel integer32, in its order.
static std::vector<uint32_t> expected32(uint32_t x, uint32_t y) {
  int32_t sx = int32_t(x), sy = int32_t(y);
  int64_t wx = sx, wy = sy;
  uint64_t both = uint64_t(y) << 32 | x; // funnels: y is the high word
  auto low24 = [](int32_t v) {
    return int64_t(int32_t(uint32_t(v) << 8) >> 8);
  };
  int32_t dotSigned = 5;
  uint32_t dotUnsigned = 5;
  for (int i = 0; i < 4; ++i) {
    dotSigned += int8_t(x >> 8 * i) * int8_t(y >> 8 * i);
    dotUnsigned += uint8_t(x >> 8 * i) * uint8_t(y >> 8 * i);
  }
  auto half = [](uint32_t v, int i) { return int16_t(v >> 16 * i); };
  uint32_t halves = 0;
  for (int i = 0; i < 2; ++i)
    halves |= uint32_t(uint16_t(std::max(half(x, i), half(y, i)))) << 16 * i;
  unsigned amount = std::min(y & 63, 32u);
  int64_t sum = wx + wy;
  uint32_t field = x >> 5 & 0x1ff;
  return {
      uint32_t(std::countl_zero(x)),
      uint32_t(std::popcount(x)),
      reversed(x),
      x ? uint32_t(std::countr_zero(x)) + 1 : 0,
      31 - uint32_t(std::countl_zero(x | 1)),
      permute(x, y, 0x2461),
      permute(x, y, y & 0x7777),
      uint32_t(both << 7 >> 32),
      uint32_t(both << (x & 31) >> 32),
      uint32_t(both >> (y & 31)),
      uint32_t(amount == 32 ? x : both << amount >> 32),
      uint32_t(uint64_t(x) * y >> 32),
      uint32_t(wx * wy >> 32),
      uint32_t(uint64_t(x & 0xffffff) * (y & 0xffffff)),
      uint32_t(low24(sx) * low24(sy)),
      uint32_t(x > y ? x - y : y - x) + 17,
      uint32_t(wx > wy ? wx - wy : wy - wx) + 17,
      uint32_t(dotSigned),
      dotUnsigned,
      eachByte(x, y,
               [](uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }),
      eachByte(x, y, [](uint32_t a, uint32_t b) { return a + b; }),
      halves,
      uint32_t((wx + wy) >> 1),
      uint32_t((wx + wy + 1) >> 1),
      x / (y | 1),
      x % (y | 1),
      uint32_t(wx / (sy | 1)),
      uint32_t(wx % (sy | 1)),
      uint32_t(wx / 7),
      uint32_t(wx % 7),
      uint32_t(sx >> (y & 31)),
      x >> (y & 31),
      x << (y & 31),
      uint32_t(std::min(sx, sy)),
      std::max(x, y),
      x == 0x80000000u ? 0 : uint32_t(std::abs(sx)),
      (x & ~y) ^ (y | (x << 3)),
      sx < sy ? x * 3 + y : y * 5 - x,
      field,
      field & 0x100 ? field | 0xfffffe00u : field,
      (y & ~(0x3fu << 11)) | (x & 0x3f) << 11,
      (x & y) | (~x & 0x0f0ff0f0u),
      (y & 63) > 31 ? 0 : x << (y & 31),
      x ? 31 - uint32_t(std::countl_zero(x)) : 0xffffffffu,
      // The sign bit of a signed operand does not count.
      [&] {
        uint32_t v = sx < 0 ? ~x : x;
        return v ? 31 - uint32_t(std::countl_zero(v)) : 0xffffffffu;
      }(),
      uint32_t(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX)),
      uint32_t((uint64_t(x) + y) >> 32),
  };
}

static std::vector<uint64_t> expected64(uint64_t x, uint64_t y) {
  int64_t sx = int64_t(x), sy = int64_t(y);
  using Wide = unsigned __int128;
  bool overflows = sx == INT64_MIN && int64_t(y | 1) == -1;
  return {
      uint64_t(std::countl_zero(x)),
      uint64_t(std::popcount(x)),
      reversed(x),
      x ? uint64_t(std::countr_zero(x)) + 1 : 0,
      uint64_t(Wide(x) * y >> 64),
      uint64_t(__int128(sx) * sy >> 64),
      x * y,
      x / (y | 1),
      x % (y | 1),
      overflows ? x : uint64_t(sx / int64_t(y | 1)),
      overflows ? 0 : uint64_t(sx % int64_t(y | 1)),
      uint64_t(sx >> (y & 63)),
      x >> (y & 63),
      x << (y & 63),
      uint64_t(std::min(sx, sy)),
      std::max(x, y),
      sx < sy ? x + y : x - y,
      uint64_t(uint32_t(x)) * uint32_t(y),
      uint64_t(int64_t(int32_t(x)) * int32_t(y)),
      uint64_t(int64_t(int16_t(x))),
      uint64_t(int64_t(int8_t(y))),
      uint8_t(x) | uint64_t(uint16_t(y)) << 16,
  };
}

/// Edges and random numbers, every edge with every edge.
template <typename T>
static void operands(std::vector<T> &a, std::vector<T> &b, uint64_t seed) {
  const T top = T(1) << (sizeof(T) * 8 - 1);
  const T edges[] = {0, 1, 2, 31, 32, T(-1), top, T(top - 1), T(-7), 0x1234567};
  for (T x : edges)
    for (T y : edges) {
      a.push_back(x);
      b.push_back(y);
    }
  Random random(seed);
  for (int i = 0; i < 60; ++i) {
    a.push_back(T(random.bits() >> random.below(sizeof(T) * 8)));
    b.push_back(T(random.bits() >> random.below(sizeof(T) * 8)));
  }
}

template <typename T, typename Expected>
static void checkColumns(const char *name, Expected expected, uint64_t seed) {
  std::vector<T> a, b;
  operands(a, b, seed);
  const int count = int(a.size());
  const size_t columns = expected(1, 1).size();
  Buffer<T> as(a), bs(b), out(columns * a.size());
  launch(kernel("Integer.cu", name), {unsigned(count + 63) / 64}, {64}, 0, as,
         bs, out, count);
  auto got = out.download();
  for (int i = 0; i < count; ++i) {
    auto want = expected(a[i], b[i]);
    for (size_t column = 0; column < columns; ++column)
      EXPECT_EQ(got[column * count + i], want[column])
          << name << " result " << column << " of " << a[i] << " and " << b[i];
  }
}

TEST(Corpus, Integers32) {
  checkColumns<uint32_t>("integer32", expected32, 14);
}
TEST(Corpus, Integers64) {
  checkColumns<uint64_t>("integer64", expected64, 15);
}
