#include "runtime/cpu/CpuMemory.h"

#include "ir/support/Diagnostic.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

using namespace moec;
using namespace moec::runtime;

namespace {

uint8_t *memoryOf(const Buffer &buffer) {
  return static_cast<uint8_t *>(hostAddress(buffer.address()));
}

bool holds(const Buffer &buffer, uint8_t value) {
  const uint8_t *memory = memoryOf(buffer);
  return std::all_of(memory, memory + buffer.bytes(),
                     [&](uint8_t byte) { return byte == value; });
}

constexpr uint64_t kMiB = uint64_t(1) << 20;

TEST(CpuMemory, IsZeroedAndAligned) {
  for (uint64_t bytes : {uint64_t(0), uint64_t(1), uint64_t(65), 2 * kMiB - 1,
                         2 * kMiB, 5 * kMiB + 3}) {
    auto buffer = allocateCpuBuffer(bytes);
    ASSERT_TRUE(bool(buffer)) << toText(buffer.takeError());
    EXPECT_EQ((*buffer)->bytes(), bytes);
    EXPECT_EQ(uintptr_t((*buffer)->address()) % 64, 0u);
    EXPECT_TRUE(holds(**buffer, 0)) << bytes;
    std::memset(memoryOf(**buffer), 1, bytes);
  }
}

TEST(CpuMemory, OfAPoolIsApartAndOutlivesIt) {
  std::vector<std::unique_ptr<Buffer>> buffers;
  {
    CpuMemoryPool pool;
    // More than one mapping holds, small and large ones by turns.
    for (uint64_t i = 0; i < 40; ++i) {
      auto buffer = pool.allocate(i % 4 == 0   ? i
                                  : i % 4 == 3 ? 17 * kMiB
                                               : 5 * kMiB + i);
      ASSERT_TRUE(bool(buffer)) << toText(buffer.takeError());
      buffers.push_back(std::move(*buffer));
      EXPECT_EQ(uintptr_t(buffers.back()->address()) % 64, 0u);
    }
  }
  auto mark = [](Buffer &buffer, uint8_t value) {
    if (buffer.bytes() == 0)
      return;
    EXPECT_EQ(memoryOf(buffer)[0], 0);
    EXPECT_EQ(memoryOf(buffer)[buffer.bytes() - 1], 0);
    memoryOf(buffer)[0] = memoryOf(buffer)[buffer.bytes() - 1] = value;
  };
  for (size_t i = 0; i < buffers.size(); ++i)
    mark(*buffers[i], uint8_t(i + 1));
  // Neighbours go, in any order; the others keep what they hold.
  for (size_t i = 0; i < buffers.size(); i += 2)
    buffers[i].reset();
  for (size_t i = 1; i < buffers.size(); i += 2) {
    EXPECT_EQ(memoryOf(*buffers[i])[0], i + 1);
    EXPECT_EQ(memoryOf(*buffers[i])[buffers[i]->bytes() - 1], i + 1);
  }
}

TEST(CpuMemory, RefusesWhatCannotBe) {
  CpuMemoryPool pool;
  for (uint64_t bytes : {~uint64_t(0), uint64_t(1) << 62}) {
    for (auto *made : {+[](CpuMemoryPool &, uint64_t bytes) {
                         return allocateCpuBuffer(bytes);
                       },
                       +[](CpuMemoryPool &pool, uint64_t bytes) {
                         return pool.allocate(bytes);
                       }}) {
      auto buffer = made(pool, bytes);
      ASSERT_FALSE(bool(buffer));
      EXPECT_NE(toText(buffer.takeError()).find("cannot allocate"),
                std::string::npos);
    }
  }
}

} // namespace
