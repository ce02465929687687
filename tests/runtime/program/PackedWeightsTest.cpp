#include "runtime/program/PackedWeights.h"

#include "ir/support/Diagnostic.h"
#include "runtime/program/Plan.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"
#include "llvm/ADT/StringExtras.h"

#include <cstring>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace moec;
using namespace moec::runtime;
using testing::AllOf;
using testing::HasSubstr;

namespace {

/// The toy plan with its weight packed at byte 4096 of `toy.weights`.
class PackedWeightsTest : public testing::Test {
protected:
  void SetUp() override {
    source = toy::makePlan();
    auto file = std::make_unique<plan::WeightFileT>();
    file->file = "toy.weights";
    file->bytes = kWeightFileStart + 4;
    file->id.assign(32, 9);
    source.weight_files.push_back(std::move(file));
    auto range = std::make_unique<plan::PackedRangeT>();
    range->offset = kWeightFileStart;
    range->bytes = 4;
    source.variants[0]->weights[0]->packed = std::move(range);
    head.fileBytes = kWeightFileStart + 4;
    head.id.fill(9);
    write();
  }

  plan::PackedRangeT &range() {
    return *source.variants[0]->weights[0]->packed;
  }
  plan::WeightFileT &file() { return *source.weight_files[0]; }

  std::string contents() const {
    std::string text(kWeightFileStart, '\0');
    auto bytes = head.encode();
    std::memcpy(text.data(), bytes.data(), bytes.size());
    float scale = 5;
    text.append(reinterpret_cast<const char *>(&scale), sizeof(scale));
    return text;
  }
  void write() { folder.write("toy.weights", contents()); }

  llvm::Expected<HostBytes> get(bool verify = false,
                                const char *name = "plan.moep") {
    MOEC_ASSIGN(
        std::shared_ptr<const runtime::Plan> plan,
        runtime::Plan::fromBytes(toy::serialize(source), folder.file(name)));
    WeightFiles files(verify);
    return files.get(
        *plan, *plan->root().variants()->Get(0)->weights()->Get(0)->packed());
  }
  std::string errorOf(bool verify = false) {
    auto bytes = get(verify);
    return bytes ? "" : toText(bytes.takeError());
  }
  std::string errorAfter(std::function<void()> change) {
    change();
    std::string text = errorOf();
    source = toy::makePlan();
    source.weight_files.clear();
    SetUp();
    return text;
  }

  TemporaryFolder folder;
  plan::PlanT source;
  WeightFileHead head;
};

TEST_F(PackedWeightsTest, MapsTheRange) {
  auto bytes = get();
  ASSERT_TRUE(bool(bytes)) << toText(bytes.takeError());
  ASSERT_EQ(bytes->bytes.size(), 4u);
  float value;
  std::memcpy(&value, bytes->bytes.data(), 4);
  EXPECT_EQ(value, 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes->bytes.data()) % 4096, 0u);
}

TEST_F(PackedWeightsTest, HeadHasTheFormThatTheHeaderDescribes) {
  head.fileBytes = 0x0807060504030201;
  std::string expected = "moecwgts";
  expected += std::string("\1\0\0\0\0\0\0\0", 8);
  expected += "\1\2\3\4\5\6\7\10";
  expected += std::string(32, '\t');
  auto bytes = head.encode();
  EXPECT_EQ(llvm::toStringRef(llvm::ArrayRef<uint8_t>(bytes)), expected);
}

TEST_F(PackedWeightsTest, LooksBesideThePlanAndBesideWhatALinkNames) {
  folder.write("plan.moep", "any");
  ASSERT_EQ(::mkdir(folder.file("links").c_str(), 0777), 0);
  ASSERT_EQ(::symlink(folder.file("plan.moep").c_str(),
                      folder.file("links/plan.moep").c_str()),
            0);
  EXPECT_TRUE(bool(get(false, "links/plan.moep")));
  // One beside the link goes first.
  folder.write("links/toy.weights", "other");
  auto bytes = get(false, "links/plan.moep");
  ASSERT_FALSE(bool(bytes));
  EXPECT_THAT(toText(bytes.takeError()), HasSubstr("links/toy.weights"));
}

TEST_F(PackedWeightsTest, NamesTheFileThatIsWrong) {
  std::string path = folder.file("toy.weights");
  std::string good = contents();
  EXPECT_EQ(errorOf(), "");
  auto errorWith = [&](llvm::StringRef text) {
    folder.write("toy.weights", text.str());
    std::string found = errorOf();
    EXPECT_THAT(found, HasSubstr("compile again"));
    EXPECT_THAT(found, testing::StartsWith(path + ": error: "));
    return found;
  };
  EXPECT_THAT(errorWith(llvm::StringRef(good).drop_back(1)),
              HasSubstr("expects 4100 bytes, found 4099"));
  EXPECT_THAT(errorWith(good + "x"),
              HasSubstr("expects 4100 bytes, found 4101"));
  EXPECT_THAT(errorWith("moecwgts"), HasSubstr("found 8"));
  EXPECT_THAT(errorWith("moe"), HasSubstr("is no file of packed weights"));
  EXPECT_THAT(errorWith(""), HasSubstr("is empty"));
  for (auto [at, message] :
       {std::pair(0, "is no file of packed weights: expects 'moecwgts'"),
        std::pair(8, "packed weights of version"),
        std::pair(17, "states a size of"),
        std::pair(55, "belongs to another plan: expects the id 0909")}) {
    std::string changed = good;
    changed[size_t(at)] ^= 0x40;
    EXPECT_THAT(errorWith(changed), HasSubstr(message)) << at;
  }
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_THAT(errorOf(), AllOf(HasSubstr(path + ": error: cannot open"),
                               HasSubstr("keep both in one folder")));
}

TEST_F(PackedWeightsTest, ComparesDigestsWhenAsked) {
  range().sha256.assign(32, 7);
  EXPECT_EQ(errorOf(), "");
  EXPECT_THAT(errorOf(/*verify=*/true),
              AllOf(HasSubstr("toy.weights: at byte 4096: error: expects "
                              "bytes with the SHA-256 0707"),
                    HasSubstr("compile again")));
  Digest right = sha256(llvm::StringRef(contents()).drop_front(4096));
  range().sha256.assign(right.begin(), right.end());
  EXPECT_EQ(errorOf(/*verify=*/true), "");
}

TEST_F(PackedWeightsTest, PlansWithBadRangesAreRefused) {
  std::string place = "plan.moep: variant 'cpu-generic', packed weight 0";
  EXPECT_THAT(errorAfter([&] { range().file = 1; }),
              AllOf(HasSubstr(place), HasSubstr("lies in weight file 1 of 1")));
  for (uint64_t bytes : {uint64_t(0), uint64_t(3), uint64_t(8), UINT64_MAX})
    EXPECT_THAT(errorAfter([&] { range().bytes = bytes; }),
                HasSubstr("has " + std::to_string(bytes) +
                          " bytes, but its layout takes 4"));
  for (uint64_t offset :
       {uint64_t(0), uint64_t(64), uint64_t(4032), uint64_t(4097),
        uint64_t(4160), uint64_t(1) << 62, UINT64_MAX - 3, UINT64_MAX - 63})
    EXPECT_THAT(errorAfter([&] { range().offset = offset; }),
                HasSubstr("at byte " + std::to_string(offset) +
                          " of a file of 4100 bytes"));
  EXPECT_THAT(errorAfter([&] { range().sha256 = {1, 2, 3}; }),
              HasSubstr("expects a SHA-256 of 32 bytes or none, got 3 bytes"));
}

TEST_F(PackedWeightsTest, PlansWithBadFilesAreRefused) {
  EXPECT_THAT(errorAfter([&] { file().file = ""; }),
              HasSubstr("weight file 0: error: expects a file's name"));
  EXPECT_THAT(errorAfter([&] { file().file = std::string("a\0b", 3); }),
              HasSubstr("without zero bytes"));
  EXPECT_THAT(errorAfter([&] { file().id.resize(31); }),
              HasSubstr("expects an id of 32 bytes, got 31 bytes"));
  EXPECT_THAT(errorAfter([&] { file().bytes = 4095; }),
              HasSubstr("expects at least 4096 bytes, got 4095"));
  // A file that cannot be so large is found when it is opened.
  EXPECT_THAT(errorAfter([&] { file().bytes = UINT64_MAX; }),
              HasSubstr("expects 18446744073709551615 bytes, found 4100"));
}

} // namespace
