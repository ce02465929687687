#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>

using namespace corpus;

static int fibonacci(int n) {
  int a = 0, b = 1;
  for (int i = 0; i < n; ++i) {
    int next = a + b;
    a = b;
    b = next;
  }
  return a;
}

static int expectedControl(int value, int counter) {
  static const float coefficients[] = {1.0f, -0.5f,   0.25f, -0.125f,
                                       2.0f, 0.0625f, -3.0f, 0.5f};
  auto square = [&](int k) { return k * k - value; };
  int skipped = 0;
  for (int k = 0; k <= value % 20; ++k)
    skipped += k % 3 == 1 ? 0 : k;
  const int results[12] = {
      value + 1,
      value * 3,
      value - 7 + 11,
      11,
      value ^ 0x55,
      value * 3 + value * 2 + 1,
      fibonacci(value % 7 + 2),
      square(value >> 4 & 15) + square(value & 15),
      skipped,
      int(coefficients[value & 7] * 1000.0f),
      value / 3 + value % 5,
      -value,
  };
  return results[value % 12] + counter;
}

TEST(Corpus, ControlFlow) {
  const int count = 200;
  Random random(24);
  std::vector<int> values(count), want(count);
  for (int i = 0; i < count; ++i)
    values[i] = i < 100 ? i : int(random.below(100000));
  Buffer<int> in(values), out(count);
  CUmodule module = nullptr;
  CUfunction function = kernel("Control.cu", "controlFlow");
  CU_CHECK(cuFuncGetModule(&module, function));
  // A variable of the module, read and written from the host.
  CUdeviceptr counter = 0;
  size_t bytes = 0;
  ASSERT_TRUE(
      CU_CHECK(cuModuleGetGlobal(&counter, &bytes, module, "gCounter")));
  ASSERT_EQ(bytes, sizeof(int));
  for (int offset : {5, -40}) {
    int found = 0;
    if (offset == 5) {
      CU_CHECK(cuMemcpyDtoH(&found, counter, sizeof found));
      EXPECT_EQ(found, offset) << "the initial value";
    }
    CU_CHECK(cuMemcpyHtoD(counter, &offset, sizeof offset));
    launch(function, {2}, {128}, 0, in, out, count);
    for (int i = 0; i < count; ++i)
      want[i] = expectedControl(values[i], offset);
    EXPECT_EQ(out.download(), want);
  }
}

TEST(Corpus, SortInLocalMemory) {
  const int threads = 64;
  Random random(25);
  std::vector<int> values(threads * 16);
  for (int &value : values)
    value = int(random.below(200)) - 100;
  auto want = values;
  for (int i = 0; i < threads; ++i)
    std::sort(want.begin() + i * 16, want.begin() + (i + 1) * 16);
  Buffer<int> in(values), out(values.size());
  launch(kernel("Control.cu", "sortLocal"), {1}, {64}, 0, in, out);
  EXPECT_EQ(out.download(), want);
}

// Lines of different threads may come in any order.
TEST(Corpus, Printf) {
  CUfunction function = kernel("Control.cu", "printLines");
  testing::internal::CaptureStdout();
  launch(function, {2}, {64}, 0, 7);
  std::string text = testing::internal::GetCapturedStdout();
  std::vector<std::string> lines, want;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  for (int block = 0; block < 2; ++block)
    for (unsigned thread = 3; thread < 64; thread += 16) {
      char line[128];
      snprintf(line, sizeof line,
               "block %d thread %u: %s %5.2f %" PRId64 " %c %%", block, thread,
               "value", 3.5, int64_t(7) << 33, 'x');
      want.push_back(line);
    }
  std::sort(lines.begin(), lines.end());
  std::sort(want.begin(), want.end());
  EXPECT_EQ(lines, want);
}

TEST(Corpus, ThreadsKnowTheirPlace) {
  const Shape grid = {2, 3, 2}, block = {5, 3, 3};
  const unsigned threads = 45, blocks = 12;
  Buffer<uint32_t> out(blocks * threads * 4);
  launch(kernel("Control.cu", "identify"), grid, block, 0, out);
  auto got = out.download();
  for (unsigned b = 0; b < blocks; ++b) {
    unsigned bx = b % 2, by = b / 2 % 3, bz = b / 6;
    for (unsigned t = 0; t < threads; ++t) {
      unsigned x = t % 5, y = t / 5 % 3, z = t / 15, lane = t % 32;
      const uint32_t *row = got.data() + (b * threads + t) * 4;
      EXPECT_EQ(row[0], x | y << 8 | z << 16 | 32u << 24);
      EXPECT_EQ(row[1], bx | by << 8 | bz << 16);
      EXPECT_EQ(row[2], lane | 2u << 16);
      EXPECT_EQ(row[3], (1u << lane) - 1);
    }
  }
}
