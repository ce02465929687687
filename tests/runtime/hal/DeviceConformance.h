//===- DeviceConformance.h - what every device must do --------------------===//
//
// One suite for all backends. A backend's test instantiates it with a function
// that makes a device and a plan whose first variant holds, for that device,
// the kernel `toy_affine` (ToyKernels.c) as kernel 0.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "runtime/hal/Device.h"
#include "runtime/schema/plan_generated.h"
#include "tests/runtime/toy/ToyPlan.h"

#include <cstring>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moec::runtime {

struct DeviceCase {
  std::string name;
  std::function<llvm::Expected<std::shared_ptr<Device>>()> makeDevice;
  std::function<plan::PlanT()> makePlan;
};

inline void PrintTo(const DeviceCase &deviceCase, std::ostream *os) {
  *os << deviceCase.name;
}

class DeviceConformance : public testing::TestWithParam<DeviceCase> {
protected:
  void SetUp() override {
    auto made = GetParam().makeDevice();
    ASSERT_TRUE(bool(made)) << toText(made.takeError());
    device = *made;
    auto created = device->createStream();
    ASSERT_TRUE(bool(created)) << toText(created.takeError());
    stream = std::move(*created);
  }

  static void expectSuccess(llvm::Error err) {
    EXPECT_FALSE(bool(err)) << toText(std::move(err));
  }

  std::unique_ptr<Buffer> allocate(uint64_t bytes) {
    auto buffer = device->allocate(bytes);
    if (!buffer) {
      ADD_FAILURE() << toText(buffer.takeError());
      return nullptr;
    }
    EXPECT_EQ((*buffer)->bytes(), bytes);
    EXPECT_EQ(uintptr_t((*buffer)->address()) % 64, 0u);
    return std::move(*buffer);
  }

  std::vector<uint8_t> read(DevicePtr source, size_t bytes) {
    std::vector<uint8_t> out(bytes, 0xaa);
    expectSuccess(stream->copyToHost(out, source));
    expectSuccess(stream->synchronize());
    return out;
  }

  static std::vector<uint8_t> pattern(size_t bytes) {
    std::vector<uint8_t> out(bytes);
    for (size_t i = 0; i < bytes; ++i)
      out[i] = uint8_t(i * 7 + i / 251);
    return out;
  }

  std::shared_ptr<Device> device;
  std::unique_ptr<Stream> stream;
};

TEST_P(DeviceConformance, AllocatesZeros) {
  for (uint64_t bytes : {0, 1, 63, 64, 4097, 3 << 20}) {
    std::unique_ptr<Buffer> buffer = allocate(bytes);
    ASSERT_TRUE(buffer);
    EXPECT_THAT(read(buffer->address(), bytes), testing::Each(0)) << bytes;
  }
}

TEST_P(DeviceConformance, RefusesWhatNoMachineHas) {
  for (uint64_t bytes : {uint64_t(1) << 62, UINT64_MAX}) {
    auto buffer = device->allocate(bytes);
    ASSERT_FALSE(bool(buffer));
    EXPECT_THAT(toText(buffer.takeError()),
                testing::HasSubstr(std::to_string(bytes)));
  }
}

TEST_P(DeviceConformance, CopiesThereAndBack) {
  for (size_t bytes : {1, 100, 5000, 1 << 21}) {
    std::unique_ptr<Buffer> buffer = allocate(bytes + 64);
    ASSERT_TRUE(buffer);
    std::vector<uint8_t> data = pattern(bytes);
    expectSuccess(stream->copyToDevice(advance(buffer->address(), 64), data));
    EXPECT_TRUE(read(advance(buffer->address(), 64), bytes) == data);
    EXPECT_THAT(read(buffer->address(), 64), testing::Each(0));
  }
}

TEST_P(DeviceConformance, FillsRangesWithZeros) {
  std::unique_ptr<Buffer> buffer = allocate(256);
  ASSERT_TRUE(buffer);
  std::vector<uint8_t> data = pattern(256);
  expectSuccess(stream->copyToDevice(buffer->address(), data));
  expectSuccess(stream->fillZero(advance(buffer->address(), 64), 128));
  std::fill(data.begin() + 64, data.begin() + 192, uint8_t(0));
  EXPECT_EQ(read(buffer->address(), 256), data);
}

TEST_P(DeviceConformance, OrdersStreamsByEvents) {
  std::unique_ptr<Buffer> buffer = allocate(1 << 20);
  ASSERT_TRUE(buffer);
  auto event = device->createEvent();
  ASSERT_TRUE(bool(event)) << toText(event.takeError());
  auto other = device->createStream();
  ASSERT_TRUE(bool(other)) << toText(other.takeError());
  std::vector<uint8_t> data = pattern(1 << 20), found(1 << 20);
  expectSuccess(stream->copyToDevice(buffer->address(), data));
  expectSuccess(stream->record(**event));
  expectSuccess((*other)->wait(**event));
  expectSuccess((*other)->copyToHost(found, buffer->address()));
  expectSuccess((*other)->synchronize());
  EXPECT_TRUE(found == data);
  expectSuccess((*event)->synchronize());
}

TEST_P(DeviceConformance, RunsKernelsInOrder) {
  flatbuffers::FlatBufferBuilder builder;
  plan::PlanT source = GetParam().makePlan();
  builder.Finish(plan::Variant::Pack(builder, source.variants[0].get()));
  auto &variant =
      *flatbuffers::GetRoot<plan::Variant>(builder.GetBufferPointer());
  expectSuccess(device->supports(variant));
  auto code = device->load(variant);
  ASSERT_TRUE(bool(code)) << toText(code.takeError());

  constexpr int64_t kCount = 1000;
  std::vector<float> x(kCount), y(kCount);
  for (int64_t i = 0; i < kCount; ++i)
    x[size_t(i)] = float(i);
  float weight = 3, constant = 1;
  auto upload = [&](const void *host, size_t bytes) {
    std::unique_ptr<Buffer> buffer = allocate(bytes);
    expectSuccess(stream->copyToDevice(
        buffer->address(), {static_cast<const uint8_t *>(host), bytes}));
    return buffer;
  };
  auto xBuffer = upload(x.data(), kCount * 4);
  auto weightBuffer = upload(&weight, 4);
  auto constantBuffer = upload(&constant, 4);
  auto first = allocate(kCount * 4), second = allocate(kCount * 4);
  DevicePtr buffers[] = {xBuffer->address(), weightBuffer->address(),
                         constantBuffer->address(), first->address()};
  LaunchRequest request;
  request.buffers = buffers;
  request.extents = kCount;
  request.tasks = (kCount + 15) / 16;
  expectSuccess(stream->launch(**code, request));
  // The second launch reads what the first one wrote.
  buffers[0] = first->address();
  buffers[3] = second->address();
  expectSuccess(stream->launch(**code, request));
  // No tasks: nothing happens.
  buffers[3] = first->address();
  request.tasks = 0;
  expectSuccess(stream->launch(**code, request));
  expectSuccess(stream->copyToHost(
      {reinterpret_cast<uint8_t *>(y.data()), kCount * 4}, second->address()));
  expectSuccess(stream->synchronize());
  for (int64_t i = 0; i < kCount; ++i)
    ASSERT_EQ(y[size_t(i)], 3 * (3 * x[size_t(i)] + 1) + 1) << i;
}

TEST_P(DeviceConformance, LoadsRowMajorWeights) {
  auto owner = std::make_shared<std::vector<uint8_t>>(pattern(24 * 4));
  HostTensor weight{*owner, ElementType::f32, {4, 6}, owner};
  owner.reset();
  WeightLayout layout;
  auto buffer = device->loadWeight(layout, weight);
  ASSERT_TRUE(bool(buffer)) << toText(buffer.takeError());
  EXPECT_EQ(read((*buffer)->address(), 24 * 4), pattern(24 * 4));
  // The buffer keeps what it needs.
  weight = {};
  EXPECT_EQ(read((*buffer)->address(), 24 * 4), pattern(24 * 4));
}

TEST_P(DeviceConformance, AdoptsPackedWeights) {
  // At a multiple of 64, as a file's mapping is.
  struct alignas(64) Room {
    uint8_t bytes[5000];
  };
  auto room = std::make_shared<Room>();
  std::vector<uint8_t> expected = pattern(sizeof(room->bytes));
  std::copy(expected.begin(), expected.end(), room->bytes);
  HostBytes packed{room->bytes, room};
  room.reset();
  auto buffer = device->adoptWeight(packed);
  ASSERT_TRUE(bool(buffer)) << toText(buffer.takeError());
  packed = {};
  EXPECT_EQ((*buffer)->bytes(), expected.size());
  EXPECT_EQ(uintptr_t((*buffer)->address()) % 64, 0u);
  EXPECT_EQ(read((*buffer)->address(), expected.size()), expected);
}

TEST_P(DeviceConformance, ConvertsWeights) {
  const uint16_t numbers[] = {0x3f80, 0xc000, 0x0000, 0x4049}; // bf16
  HostTensor weight;
  weight.bytes = {reinterpret_cast<const uint8_t *>(numbers), sizeof(numbers)};
  weight.encoding = ElementType::bf16;
  weight.shape = {4};
  WeightLayout layout;
  auto buffer = device->loadWeight(layout, weight);
  ASSERT_TRUE(bool(buffer)) << toText(buffer.takeError());
  std::vector<uint8_t> bytes = read((*buffer)->address(), 16);
  float found[4];
  std::memcpy(found, bytes.data(), sizeof(found));
  EXPECT_THAT(found, testing::ElementsAre(1.0f, -2.0f, 0.0f, 3.140625f));
}

} // namespace moec::runtime
