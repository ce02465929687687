#include "runtime/program/WeightProvider.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Hash.h"
#include "runtime/program/Plan.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

class WeightProviderTest : public testing::Test {
protected:
  std::shared_ptr<const runtime::Plan> makePlan() {
    auto plan = runtime::Plan::fromBytes(toy::serialize(source),
                                         folder.file("plan.moep"));
    EXPECT_TRUE(bool(plan));
    return plan ? *plan : nullptr;
  }
  std::string errorOf(FileWeightProvider provider) {
    auto tensor = provider.get(*makePlan(), 0);
    return tensor ? "" : toText(tensor.takeError());
  }

  TemporaryFolder folder;
  plan::PlanT source = toy::makePlan();
};

TEST_F(WeightProviderTest, MapsFilesBesideThePlan) {
  folder.write("toy.bin", toy::weightFile());
  FileWeightProvider provider;
  auto tensor = provider.get(*makePlan(), 0);
  ASSERT_TRUE(bool(tensor)) << toText(tensor.takeError());
  float value;
  ASSERT_EQ(tensor->bytes.size(), sizeof(value));
  std::memcpy(&value, tensor->bytes.data(), sizeof(value));
  EXPECT_EQ(value, 3);
  EXPECT_EQ(tensor->shape, std::vector<int64_t>{1});
}

TEST_F(WeightProviderTest, NamesTheWeightWhoseFileIsMissingOrShort) {
  EXPECT_THAT(errorOf(FileWeightProvider()),
              testing::AllOf(HasSubstr("toy.bin"), HasSubstr("'scale'")));
  folder.write("toy.bin", toy::weightFile().substr(0, 67));
  EXPECT_THAT(errorOf(FileWeightProvider()),
              testing::AllOf(HasSubstr("toy.bin"), HasSubstr("'scale'")));
}

TEST_F(WeightProviderTest, PutsPiecesTogether) {
  folder.write("toy.bin", toy::weightFile());
  folder.write("more.bin", std::string("\x80\x3f\x00\x40", 4)); // 1, 2
  source.weights[0]->type =
      toy::type(plan::ElementType::f32, {{{3, {}}}, {{1, {}}}});
  source.weights[0]->sources.push_back(std::make_unique<plan::WeightSourceT>());
  plan::WeightSourceT &second = *source.weights[0]->sources[1];
  second.file = folder.file("more.bin");
  second.bytes = 4;
  second.encoding = plan::ElementType::bf16;
  FileWeightProvider provider;
  auto tensor = provider.get(*makePlan(), 0);
  ASSERT_TRUE(bool(tensor)) << toText(tensor.takeError());
  ASSERT_EQ(tensor->pieces.size(), 2u);
  EXPECT_EQ(tensor->pieces[0].encoding, ElementType::f32);
  EXPECT_EQ(tensor->pieces[1].encoding, ElementType::bf16);
  EXPECT_EQ(tensor->pieces[1].bytes.size(), 4u);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{3, 1}));
}

TEST_F(WeightProviderTest, ComparesDigestsWhenAsked) {
  folder.write("toy.bin", toy::weightFile());
  source.weights[0]->sources[0]->sha256.assign(32, 7);
  EXPECT_EQ(errorOf(FileWeightProvider()), "");
  EXPECT_THAT(errorOf(FileWeightProvider(nullptr, /*verify=*/true)),
              HasSubstr("expects bytes with the SHA-256 0707"));
  Digest right = sha256(llvm::StringRef(toy::weightFile()).drop_front(64));
  source.weights[0]->sources[0]->sha256.assign(right.begin(), right.end());
  EXPECT_EQ(errorOf(FileWeightProvider(nullptr, /*verify=*/true)), "");
}

TEST_F(WeightProviderTest, MaterialisesWhatHasNoFile) {
  source.weights[0]->sources.clear();
  EXPECT_THAT(errorOf(FileWeightProvider()), HasSubstr("has no source file"));
  auto materializer = [](std::vector<int64_t> shape) {
    return [shape](llvm::StringRef name) -> llvm::Expected<HostTensor> {
      EXPECT_EQ(name, "scale");
      auto owned = std::make_shared<std::vector<uint8_t>>(4);
      return HostTensor{*owned, ElementType::f32, shape, owned};
    };
  };
  EXPECT_EQ(errorOf(FileWeightProvider(materializer({1}))), "");
  EXPECT_THAT(errorOf(FileWeightProvider(materializer({2}))),
              HasSubstr("with another shape or size"));
  EXPECT_THAT(errorOf(FileWeightProvider(
                  [](llvm::StringRef) -> llvm::Expected<HostTensor> {
                    return error() << "no such weight";
                  })),
              testing::AllOf(HasSubstr("no such weight"),
                             HasSubstr("while materialising it")));
}

} // namespace
