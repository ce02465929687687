#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

using namespace corpus;

namespace {
/// An element type in memory: `bytes` wide, drawn as bits, read as a double.
struct Element {
  int bytes;
  uint32_t (*draw)(Random &);
  double (*read)(uint32_t);
};
} // namespace

static const Element kF16Element = {
    2, [](Random &r) { return uint32_t(toF16(r.uniform(-2, 2))); },
    [](uint32_t bits) { return fromF16(uint16_t(bits)); }};
static const Element kBf16Element = {
    2, [](Random &r) { return uint32_t(toBf16(r.uniform(-2, 2))); },
    [](uint32_t bits) { return double(fromBf16(uint16_t(bits))); }};
// Ten bits of mantissa; what lies below is ignored by the instruction, so it
// is drawn too.
static const Element kTf32Element = {
    4, [](Random &r) { return bitsOf(float(r.uniform(-2, 2))); },
    [](uint32_t bits) { return double(floatOf(bits & ~0x1fffu)); }};
// Every finite value of the formats.
static const Element kE4m3Element = {
    1,
    [](Random &r) {
      uint32_t bits = r.below(256);
      return (bits & 0x7f) == 0x7f ? 0x12 : bits;
    },
    [](uint32_t bits) { return fromE4m3(uint8_t(bits)); }};
static const Element kE5m2Element = {
    1,
    [](Random &r) {
      uint32_t bits = r.below(256);
      return (bits & 0x7c) == 0x7c ? 0x23 : bits;
    },
    [](uint32_t bits) { return fromE5m2(uint8_t(bits)); }};
static const Element kS8Element = {
    1, [](Random &r) { return r.below(256); },
    [](uint32_t bits) { return double(int8_t(bits)); }};
static const Element kU8Element = {1, [](Random &r) { return r.below(256); },
                                   [](uint32_t bits) { return double(bits); }};

/// A matrix of `rows` rows of `depth` elements as bytes and as numbers.
struct Operand {
  std::vector<uint8_t> memory;
  std::vector<double> numbers;
  Operand(const Element &element, int rows, int depth, Random &random) {
    for (int i = 0; i < rows * depth; ++i) {
      uint32_t bits = element.draw(random);
      for (int byte = 0; byte < element.bytes; ++byte)
        memory.push_back(uint8_t(bits >> 8 * byte));
      numbers.push_back(element.read(bits));
    }
  }
};

/// The product and, for tolerances, the sums of magnitudes.
struct Product {
  Operand a, b;
  std::vector<double> want, magnitude;
  Product(const Element &left, const Element &right, int depth, uint64_t seed)
      : Product(left, right, depth, Random(seed)) {}
  Product(const Element &left, const Element &right, int depth, Random random)
      : a(left, 16, depth, random), b(right, 8, depth, random) {
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        double sum = 0, size = 0;
        for (int k = 0; k < depth; ++k) {
          double part =
              a.numbers[row * depth + k] * b.numbers[column * depth + k];
          sum += part;
          size += std::fabs(part);
        }
        want.push_back(sum);
        magnitude.push_back(size);
      }
  }
};

/// Products are exact; the simulator adds them in float, in whatever order:
/// `depth` roundings of the sum of magnitudes. (Tensor cores keep fewer bits of
/// fp8 sums than that.)
static void checkFloatMma(const char *name, const Element &left,
                          const Element &right, int depth) {
  if (!hasKernel("Tensor.cu", name))
    GTEST_SKIP() << name << " needs sm_89, this is sm_" << currentArch();
  Product product(left, right, depth, 26);
  Buffer<uint8_t> a(product.a.memory), b(product.b.memory);
  Buffer<float> c(128);
  launch(kernel("Tensor.cu", name), {1}, {32}, 0, a, b, c);
  auto got = c.download();
  // The accumulator of a lane starts as {0.5, -0.5, 1, 0}.
  for (int i = 0; i < 128; ++i) {
    bool zeroed = std::string(name) == "mmaBf16Short";
    double start = zeroed   ? 0
                   : i < 64 ? (i % 2 ? -0.5 : 0.5)
                   : i % 2  ? 0.0
                            : 1.0;
    EXPECT_NEAR(got[i], product.want[i] + start,
                depth * 0x1p-23 * (product.magnitude[i] + 1))
        << name << " row " << i / 8 << ", column " << i % 8;
  }
}

TEST(Corpus, MmaF16) { checkFloatMma("mmaF16", kF16Element, kF16Element, 16); }
TEST(Corpus, MmaBf16) {
  checkFloatMma("mmaBf16Once", kBf16Element, kBf16Element, 16);
}
TEST(Corpus, MmaBf16Short) {
  checkFloatMma("mmaBf16Short", kBf16Element, kBf16Element, 8);
}
TEST(Corpus, MmaTf32) {
  checkFloatMma("mmaTf32", kTf32Element, kTf32Element, 8);
}
TEST(Corpus, MmaE4m3) {
  checkFloatMma("mmaE4m3", kE4m3Element, kE4m3Element, 32);
}
TEST(Corpus, MmaE5m2) {
  checkFloatMma("mmaE5m2", kE5m2Element, kE5m2Element, 32);
}
TEST(Corpus, MmaE4m3WithE5m2) {
  checkFloatMma("mmaMixed8", kE4m3Element, kE5m2Element, 32);
}

static void checkIntegerMma(const char *name, const Element &element) {
  Product product(element, element, 32, 27);
  Buffer<uint8_t> a(product.a.memory), b(product.b.memory);
  Buffer<int> c(128);
  launch(kernel("Tensor.cu", name), {1}, {32}, 0, a, b, c);
  auto got = c.download();
  for (int i = 0; i < 128; ++i) {
    int start = i < 64 ? (i % 2 ? -4 : 3) : (i % 2 ? 0 : 5);
    EXPECT_EQ(got[i], int(product.want[i]) + start) << name << " at " << i;
  }
}

TEST(Corpus, MmaS8) { checkIntegerMma("mmaS8", kS8Element); }
TEST(Corpus, MmaU8) { checkIntegerMma("mmaU8", kU8Element); }

// Sums in f16: the instruction may round after every product.
TEST(Corpus, MmaF16Sums) {
  Product product(kF16Element, kF16Element, 16, 28);
  Buffer<uint8_t> a(product.a.memory), b(product.b.memory);
  Buffer<uint16_t> c(128);
  launch(kernel("Tensor.cu", "mmaF16Sums"), {1}, {32}, 0, a, b, c);
  auto got = c.download();
  for (int i = 0; i < 128; ++i)
    EXPECT_NEAR(fromF16(got[i]), product.want[i],
                16 * 0x1p-11 * product.magnitude[i])
        << "row " << i / 8 << ", column " << i % 8;
}

TEST(Corpus, MoveMatrices) {
  std::vector<uint16_t> tile(256);
  for (int i = 0; i < 256; ++i)
    tile[i] = uint16_t(i * 257);
  Buffer<uint16_t> in(tile), out(256);
  launch(kernel("Tensor.cu", "moveMatrices"), {1}, {32}, 0, in, out);
  auto got = out.download();
  for (int lane = 0; lane < 32; ++lane)
    for (int half = 0; half < 2; ++half) {
      int group = lane / 4, inner = lane % 4 * 2 + half, at = lane * 2 + half;
      // x1 of the upper left quarter, as it lies.
      EXPECT_EQ(got[at], tile[group * 16 + inner]);
      // x2 of the right half, each 8x8 transposed.
      EXPECT_EQ(got[64 + at], tile[inner * 16 + 8 + group]);
      EXPECT_EQ(got[128 + at], tile[(inner + 8) * 16 + 8 + group]);
      // stmatrix puts the first of them back row by row, 8 halves a row; its
      // 32 words are read in order. Before sm_90 the register is copied.
      EXPECT_EQ(got[192 + at], tile[inner * 16 + 8 + group]);
    }
}
