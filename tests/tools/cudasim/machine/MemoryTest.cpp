//===- MemoryTest.cpp - allocation, quarantine and copies -----------------===//

#include "tools/cudasim/machine/Memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cudasim {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<GlobalMemory> twoDevices(bool track = true) {
  GlobalMemory::Options options;
  options.deviceBytes = {1 << 20, 1 << 20};
  options.quarantineBytes = 100'000;
  options.trackInitialized = track;
  return llvm::cantFail(GlobalMemory::create(options)); // small and valid
}
uint64_t host(const void *p) { return reinterpret_cast<uint64_t>(p); }

TEST(Memory, allocations_are_apart_and_belong_to_a_device) {
  auto memory = twoDevices();
  DevicePtr a = *memory->allocate(0, 100), b = *memory->allocate(0, 100),
            c = *memory->allocate(1, 100);
  EXPECT_EQ(a % 256, 0u);
  EXPECT_GE(b - a, 100u + 256u);
  EXPECT_EQ(memory->deviceOf(c), 1);
  EXPECT_EQ(memory->find(a + 99)->base, a);
  EXPECT_FALSE(memory->find(a + 100));
  EXPECT_EQ(memory->usedBytes(0), 200u);
  EXPECT_EQ(memory->live(0).size(), 2u);
}

TEST(Memory, a_full_device_says_so) {
  auto memory = twoDevices();
  DevicePtr a = *memory->allocate(0, 1 << 20);
  EXPECT_FALSE(memory->allocate(0, 1));
  EXPECT_FALSE(memory->free(a));
  EXPECT_TRUE(memory->allocate(0, 1 << 20));
  EXPECT_FALSE(memory->allocate(1, 0));
  EXPECT_FALSE(memory->allocate(7, 1));
}

TEST(Memory, a_freed_range_is_remembered) {
  auto memory = twoDevices();
  DevicePtr a = *memory->allocate(0, 64);
  EXPECT_FALSE(memory->free(a));
  EXPECT_THAT(memory->free(a)->message, HasSubstr("second free"));
  EXPECT_TRUE(memory->free(a + 8));
  EXPECT_THAT(memory->check(0, a, 4, false)->message,
              HasSubstr("use after free"));
  // Younger frees push it out, and it can be given away again.
  memory->free(*memory->allocate(0, 100'001));
  EXPECT_FALSE(memory->find(a));
  EXPECT_EQ(*memory->allocate(0, 64), a);
}

TEST(Memory, copies_are_checked_and_carry_what_is_initialised) {
  auto memory = twoDevices();
  DevicePtr a = *memory->allocate(0, 64), b = *memory->allocate(1, 64);
  int values[4] = {1, 2, 3, 4}, back[4] = {};
  EXPECT_EQ(*memory->firstUninitialized(a, 64), a);
  EXPECT_FALSE(memory->copy(a, host(values), 16));
  EXPECT_EQ(*memory->firstUninitialized(a, 64), a + 16);
  EXPECT_FALSE(memory->copy(b, a, 32));
  EXPECT_EQ(*memory->firstUninitialized(b, 64), b + 16);
  EXPECT_FALSE(memory->copy(host(back), b, 16));
  EXPECT_EQ(back[3], 4);
  EXPECT_EQ(memory->copy(a, host(values), 65)->code, ErrorCode::IllegalAddress);
  EXPECT_TRUE(memory->copy(a, host(values), 4, GlobalMemory::Pageable::Refuse));
  EXPECT_FALSE(memory->fill(a, 0xABCD, 2, 32));
  EXPECT_FALSE(memory->firstUninitialized(a, 64));
  EXPECT_TRUE(memory->fill(a + 1, 0, 4, 1));
}

TEST(Memory, peers_need_permission) {
  auto memory = twoDevices();
  DevicePtr b = *memory->allocate(1, 64);
  EXPECT_THAT(memory->check(0, b, 4, true)->message, HasSubstr("peer access"));
  EXPECT_EQ(memory->window(0, b).bytes, 0u);
  memory->setPeerAccess(0, 1, true);
  EXPECT_FALSE(memory->check(0, b, 4, true));
  EXPECT_EQ(memory->window(0, b).bytes, 64u);
}

TEST(Memory, host_ranges_are_seen_at_their_own_address) {
  auto memory = twoDevices();
  void *pinned = memory->allocateHost(100);
  ASSERT_TRUE(pinned);
  EXPECT_FALSE(memory->check(0, host(pinned), 100, true));
  EXPECT_EQ(memory->find(host(pinned))->kind, MemoryKind::PinnedHost);
  EXPECT_FALSE(memory->freeHost(pinned));
  static int own[64];
  EXPECT_TRUE(memory->check(0, host(own), 4, false));
  EXPECT_FALSE(memory->registerHost(own, sizeof(own)));
  EXPECT_EQ(memory->registerHost(own + 1, 8)->code,
            ErrorCode::HostMemoryAlreadyRegistered);
  EXPECT_FALSE(memory->check(0, host(own), 4, false));
  EXPECT_FALSE(memory->unregisterHost(own));
  EXPECT_EQ(memory->unregisterHost(own)->code,
            ErrorCode::HostMemoryNotRegistered);
}

TEST(Memory, a_miss_names_the_neighbour) {
  auto memory = twoDevices();
  DevicePtr a = *memory->allocate(0, 100, "weights");
  EXPECT_THAT(memory->check(0, a + 96, 8, false)->message,
              HasSubstr("4 bytes beyond the end of the 100 bytes"));
  EXPECT_THAT(memory->check(0, a + 108, 4, false)->message,
              HasSubstr("8 bytes behind the end"));
  EXPECT_THAT(memory->check(0, 16, 4, false)->message,
              HasSubstr("null pointer"));
  memory->setReadOnly(a);
  EXPECT_THAT(memory->check(0, a, 4, true)->message, HasSubstr("constant"));
}

} // namespace
} // namespace cudasim
