#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

#include <functional>

using namespace corpus;

TEST(Corpus, WarpExchange) {
  Random random(21);
  std::vector<uint32_t> v(32);
  for (uint32_t &value : v)
    value = random.below(1000);
  v[9] = 7;

  using Lane = std::function<uint32_t(int)>;
  auto ballot = [](uint32_t members, const std::function<bool(int)> &test) {
    uint32_t bits = 0;
    for (int lane = 0; lane < 32; ++lane)
      if (members >> lane & 1 && test(lane))
        bits |= 1u << lane;
    return bits;
  };
  auto fold = [&](uint32_t members, auto operation) {
    uint32_t result = 0;
    bool first = true;
    for (int lane = 0; lane < 32; ++lane)
      if (members >> lane & 1) {
        result = first ? v[lane] : operation(result, v[lane]);
        first = false;
      }
    return result;
  };
  auto steps = [&](int lane) {
    uint32_t count = 0;
    for (uint32_t n = v[lane] % 97 + 1; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
      ++count;
    return count;
  };
  const uint32_t all = 0xffffffff, odd = 0xaaaaaaaa, even = 0x55555555;
  auto sum = [](uint32_t a, uint32_t b) { return a + b; };
  auto most = [](uint32_t a, uint32_t b) { return std::max(a, b); };
  int32_t least = INT32_MAX;
  for (uint32_t value : v)
    least = std::min(least, int32_t(value) - 500);

  const Lane want[] = {
      [&](int) { return ballot(all, [&](int l) { return v[l] & 1; }); },
      [&](int) { return 1u; },
      [&](int) { return 1u; },
      [&](int lane) {
        return ballot(all, [&](int l) { return (v[l] & 3) == (v[lane] & 3); });
      },
      [&](int) { return all; },
      [&](int) { return 1u; },
      [&](int lane) { return v[(lane * 5 + 3) & 31]; },
      [&](int lane) { return v[lane < 3 ? lane : lane - 3]; },
      [&](int lane) { return v[lane > 26 ? lane : lane + 5]; },
      [&](int lane) { return v[lane ^ 9]; },
      [&](int lane) { return v[(lane & 24) | ((lane + 1) & 7)]; },
      [&](int lane) { return v[(lane & 15) < 2 ? lane : lane - 2]; },
      [&](int lane) { return v[(lane & 3) == 3 ? lane : lane + 1]; },
      [&](int lane) { return v[lane ^ 3]; },
      [&](int) { return fold(all, sum); },
      [&](int) { return uint32_t(least); },
      [&](int) { return fold(all, most); },
      [&](int) {
        return fold(all, [](uint32_t a, uint32_t b) { return a & b; });
      },
      [&](int) {
        return fold(all, [](uint32_t a, uint32_t b) { return a | b; });
      },
      [&](int) {
        return fold(all, [](uint32_t a, uint32_t b) { return a ^ b; });
      },
      [&](int lane) { return v[lane ^ 1] << 1; },
      [&](int lane) { return uint32_t(lane ^ 1); },
      [&](int lane) { return lane & 1 ? fold(odd, sum) : fold(even, most); },
      [&](int lane) { return lane & 1 ? v[31] : v[0]; },
      [&](int lane) {
        return lane & 1 ? ballot(odd, [&](int l) { return v[l] > 500; })
                        : ballot(even, [&](int l) { return v[l] < 500; });
      },
      steps,
      [&](int) { return ballot(all, [&](int l) { return steps(l) > 20; }); },
  };
  Buffer<uint32_t> in(v), out(std::size(want) * 32);
  launch(kernel("Warp.cu", "warpExchange"), {1}, {32}, 0, in, out);
  auto got = out.download();
  for (size_t row = 0; row < std::size(want); ++row)
    for (int lane = 0; lane < 32; ++lane)
      EXPECT_EQ(got[row * 32 + lane], want[row](lane))
          << "result " << row << ", lane " << lane;
}

// 80 threads: the last warp is half empty.
TEST(Corpus, BlockVotes) {
  const int threads = 80;
  Random random(22);
  std::vector<uint32_t> values(threads);
  uint32_t odd = 0;
  for (uint32_t &value : values) {
    value = 10 + random.below(1000);
    odd += value & 1;
  }
  for (bool special : {false, true}) {
    if (special) {
      odd += 1 - (values[70] & 1);
      values[70] = 5;
      odd -= values[3] & 1;
      values[3] = 4000;
    }
    Buffer<uint32_t> in(values), out(threads * 3);
    launch(kernel("Warp.cu", "blockVotes"), {1}, {threads}, 0, in, out);
    auto got = out.download();
    for (int i = 0; i < threads; ++i) {
      EXPECT_EQ(got[i], odd);
      EXPECT_EQ(got[i + threads], special ? 0u : 1u);
      EXPECT_EQ(got[i + threads * 2], special ? 1u : 0u);
    }
  }
}
