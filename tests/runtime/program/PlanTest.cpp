#include "runtime/program/Plan.h"

#include "ir/support/Diagnostic.h"
#include "runtime/schema/PlanDigest.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

/// The error of reading bytes as `plan.moep`, or "" where there is none.
std::string errorOf(std::vector<uint8_t> bytes) {
  auto plan = runtime::Plan::fromBytes(std::move(bytes), "plan.moep");
  return plan ? "" : toText(plan.takeError());
}

/// The error after one change to a plan that is right.
std::string errorAfter(std::function<void(plan::PlanT &)> change) {
  plan::PlanT plan = toy::makePlan();
  change(plan);
  return errorOf(toy::serialize(plan));
}

TEST(Plan, ReadsWhatIsRight) {
  auto plan =
      runtime::Plan::fromBytes(toy::serialize(toy::makePlan()), "plan.moep");
  ASSERT_TRUE(bool(plan)) << toText(plan.takeError());
  EXPECT_EQ((*plan)->fact("model.context"), llvm::StringRef("64"));
  EXPECT_EQ((*plan)->fact("nothing"), std::nullopt);
  EXPECT_EQ((*plan)->findSymbol("blocks"), 4u);
  EXPECT_EQ((*plan)->findSignature("affine"), 1u);
  EXPECT_EQ((*plan)->findSignature("fly"), std::nullopt);
  auto context = (*plan)->integerFact("model.context", 1);
  ASSERT_TRUE(bool(context));
  EXPECT_EQ(*context, 64);
  auto missing = (*plan)->integerFact("model.speed");
  ASSERT_FALSE(bool(missing));
  EXPECT_THAT(toText(missing.takeError()),
              HasSubstr("lacks the fact 'model.speed'"));
  EXPECT_FALSE(bool((*plan)->checkCode(*(*plan)->root().variants()->Get(0))));
}

TEST(Plan, OpensFiles) {
  TemporaryFolder folder;
  std::vector<uint8_t> bytes = toy::serialize(toy::makePlan());
  std::string path = folder.write(
      "a.moep", llvm::StringRef(reinterpret_cast<const char *>(bytes.data()),
                                bytes.size()));
  auto plan = runtime::Plan::open(path);
  ASSERT_TRUE(bool(plan)) << toText(plan.takeError());
  EXPECT_EQ((*plan)->path(), path);
  auto missing = runtime::Plan::open(folder.file("b.moep"));
  ASSERT_FALSE(bool(missing));
  EXPECT_THAT(toText(missing.takeError()), HasSubstr("b.moep"));
}

TEST(Plan, RefusesOtherVersionsByName) {
  for (uint16_t major : {0, 2}) {
    plan::PlanT plan;
    plan.major = major;
    plan.minor = 7;
    std::vector<uint8_t> bytes = toy::serialize(plan);
    EXPECT_EQ(errorOf(bytes), "plan.moep: error: is a plan of version " +
                                  std::to_string(major) +
                                  ".7, this program reads version 1.2");
    auto version = readPlanVersion(bytes, "plan.moep");
    ASSERT_TRUE(bool(version));
    EXPECT_EQ(version->major, major);
    EXPECT_EQ(version->minor, 7);
  }
}

TEST(Plan, RefusesWhatIsNoPlan) {
  EXPECT_THAT(errorOf({}), HasSubstr("got 0 bytes"));
  EXPECT_THAT(errorOf(std::vector<uint8_t>(64, 0)),
              HasSubstr("expects the identifier 'MOEP'"));
}

TEST(Plan, RefusesEveryTruncation) {
  std::vector<uint8_t> bytes = toy::serialize(toy::makePlan());
  // The last bytes may be padding, which nobody misses.
  for (size_t length = 0; length + 8 <= bytes.size();
       length += length < 64 ? 1 : 37)
    EXPECT_NE(errorOf({bytes.begin(), bytes.begin() + length}), "")
        << length << " of " << bytes.size();
}

TEST(Plan, SurvivesEveryByteChanged) {
  // No outcome is asked for but that there is one.
  std::vector<uint8_t> bytes = toy::serialize(toy::makePlan());
  for (size_t i = 0; i < bytes.size(); i += 3) {
    std::vector<uint8_t> changed = bytes;
    changed[i] ^= uint8_t(0x81 + i % 7);
    errorOf(changed);
  }
}

TEST(Plan, NamesThePlaceOfABadIndex) {
  EXPECT_EQ(errorAfter([](plan::PlanT &plan) {
              plan.variants[0]->programs[0]->launches[1]->kernel = 9;
            }),
            "plan.moep: program 'affine', launch 1 (layers.0.double): error: "
            "runs kernel 9 of 4");
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->launches[0]->buffers[2] = 99;
              }),
              HasSubstr("binds buffer 99 of 5"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->launches[0]->buffers.pop_back();
              }),
              HasSubstr("binds 3 buffers, kernel 'toy_affine' expects 4"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[1]->launches[0]->extents.pop_back();
              }),
              HasSubstr("has 2 extents, kernel 'toy_append' expects 3"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->signature = 2;
              }),
              HasSubstr("has signature 2 of 2"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->kernels[0]->code = 1;
              }),
              HasSubstr("kernel 'toy_affine': error: is in code 1 of 1"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[0]->index = 1;
              }),
              HasSubstr("buffer 0: error: is input 1 of 1"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[1]->index = 1;
              }),
              HasSubstr("is packed weight 1 of 1"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.signatures[0]->states = {0, 2};
              }),
              HasSubstr("names state 2 of 2"));
  EXPECT_THAT(
      errorAfter([](plan::PlanT &plan) { plan.signatures[0]->states = {0}; }),
      HasSubstr("which signature 'step' does not list"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->weights[0]->weights = {5};
              }),
              HasSubstr("packs weight 5 of 1"));
}

TEST(Plan, ChecksArenaRanges) {
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->arena_bytes =
                    toy::polynomial({{64, {}}, {63, {toy::kTokens}}});
              }),
              HasSubstr("buffer 3: error: has 1024 bytes at offset 64, outside "
                        "the arena's 1072 bytes"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[3]->offset =
                    toy::polynomial({{-64, {}}});
              }),
              HasSubstr("at offset -64"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[3]->offset =
                    toy::polynomial({{32, {}}});
              }),
              HasSubstr("not at a multiple of 64"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[2]->bytes =
                    toy::polynomial({{65, {}}});
              }),
              HasSubstr("outside the variant's constants's 128 bytes"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->buffers[2]->bytes =
                    toy::polynomial({{1, {toy::kTokens}}});
              }),
              HasSubstr("a constant whose range names a symbol"));
}

TEST(Plan, ChecksPolynomials) {
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->arena_bytes =
                    toy::polynomial({{1, {9}}});
              }),
              HasSubstr("names a symbol that the plan has not"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->arena_bytes = toy::polynomial(
                    {{int64_t(1) << 60, {toy::kTokens, toy::kTokens}}});
              }),
              HasSubstr("exceeds 63 bits"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->arena_bytes =
                    toy::polynomial({{INT64_MIN, {}}});
              }),
              HasSubstr("exceeds 63 bits"));
  EXPECT_THAT(
      errorAfter([](plan::PlanT &plan) { plan.symbols[0]->maximum = 0; }),
      HasSubstr("symbol 'tokens': error: expects a maximum in [1,"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->launches[0]->grid[0]->divisor =
                    0;
              }),
              HasSubstr("expects a grid divisor of at least 1, got 0"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->programs[0]->launches[0]->grid[0]->extent =
                    toy::polynomial({{-1, {toy::kTokens}}});
              }),
              HasSubstr("number of tasks is negative"));
}

TEST(Plan, ChecksTypesAndWeights) {
  using E = plan::ElementType;
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->type->element = E(200);
              }),
              HasSubstr("expects an element type below 17, got 200"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->type = toy::type(
                    E::f32, {{{int64_t(1) << 40, {}}}, {{1 << 30, {}}}});
              }),
              HasSubstr("a shape whose product exceeds 59 bits"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->type = toy::type(E::f32, {{{1, {0}}}});
              }),
              HasSubstr("expects constant dimensions"));
  EXPECT_THAT(
      errorAfter(
          [](plan::PlanT &plan) { plan.weights[0]->sources[0]->bytes = 8; }),
      HasSubstr(
          "weight 'scale': error: has 1 elements, its sources have more"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->sources[0]->bytes = 0;
              }),
              HasSubstr("has 1 elements, its sources have 0"));
  EXPECT_THAT(
      errorAfter(
          [](plan::PlanT &plan) { plan.weights[0]->sources[0]->bytes = 3; }),
      HasSubstr("source 0: error: has 3 bytes, no whole number of rows of 4"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->sources[0]->offset = UINT64_MAX - 2;
              }),
              HasSubstr("exceeds 64 bits"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->sources[0]->encoding = E::q4_k;
              }),
              HasSubstr("no whole number of q4_k blocks of 256"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->sources[0]->sha256 = {1, 2, 3};
              }),
              HasSubstr("expects a SHA-256 of 32 bytes or none, got 3 bytes"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.weights[0]->sources[0]->rotary_heads = 1;
              }),
              HasSubstr("expects the rows of 1 heads, in pairs, got 1 rows of "
                        "a weight of rank 1"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->weights[0]->layout = plan::LayoutKind::panels;
              }),
              HasSubstr("at least 2 dimensions"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->weights[0]->layout =
                    plan::LayoutKind::gated_panels;
              }),
              HasSubstr("expects 2 weights, got 1"));
}

TEST(Plan, RefusesTwoThingsOfOneName) {
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.symbols[1]->name = plan.symbols[0]->name;
              }),
              HasSubstr("symbol 1: error: has the name 'tokens'"));
  EXPECT_THAT(errorAfter([](plan::PlanT &plan) {
                plan.variants[0]->kernels[1]->name = "toy_affine";
              }),
              HasSubstr("has the name 'toy_affine'"));
}

TEST(Plan, ComparesTheDigestOfCode) {
  plan::PlanT changed = toy::makePlan();
  changed.variants[0]->code[0]->code[100] ^= 1;
  auto plan = runtime::Plan::fromBytes(toy::serialize(changed), "plan.moep");
  ASSERT_TRUE(bool(plan)) << toText(plan.takeError());
  std::string text =
      toText((*plan)->checkCode(*(*plan)->root().variants()->Get(0)));
  EXPECT_THAT(text, HasSubstr("plan.moep: variant 'cpu-generic', code 0: "
                              "error: expects the SHA-256 "));
  EXPECT_THAT(text, HasSubstr("the code was changed or damaged"));
}

TEST(Plan, RefusesEveryByteChangedAfterItsDigest) {
  plan::PlanT toy = toy::makePlan();
  toy.minor = 2;
  std::string written = plan::serialize(toy);
  std::vector<uint8_t> bytes(written.begin(), written.end());
  EXPECT_EQ(errorOf(bytes), "");
  for (size_t i = 0; i < bytes.size(); i += 5) {
    std::vector<uint8_t> changed = bytes;
    changed[i] ^= uint8_t(0x81 + i % 7);
    EXPECT_NE(errorOf(changed), "") << "byte " << i;
  }
  // In bounds, so that only the digest can tell.
  const plan::Variant &variant =
      *plan::GetPlan(bytes.data())->variants()->Get(0);
  const plan::GridFactor *factor =
      variant.programs()->Get(0)->launches()->Get(0)->grid()->Get(0);
  ASSERT_EQ(factor->divisor(), 16);
  auto *table = reinterpret_cast<const flatbuffers::Table *>(factor);
  *const_cast<uint8_t *>(table->GetAddressOf(plan::GridFactor::VT_DIVISOR)) = 8;
  EXPECT_THAT(errorOf(bytes),
              testing::MatchesRegex("plan.moep: error: is damaged: expects the "
                                    "SHA-256 [0-9a-f]+, found [0-9a-f]+"));
}

TEST(Plan, WantsADigestFromTheVersionThatHasOne) {
  plan::PlanT toy = toy::makePlan();
  toy.minor = 2;
  EXPECT_EQ(errorOf(toy::serialize(toy)),
            "plan.moep: error: expects a SHA-256 of 32 bytes of the plan, got "
            "0 bytes");
  toy.minor = 1;
  toy.sha256.assign(31, 0);
  EXPECT_THAT(errorOf(toy::serialize(toy)), HasSubstr("got 31 bytes"));
  // As of an older version, a digest is compared where there is one.
  toy.sha256.assign(32, 0);
  EXPECT_THAT(errorOf(toy::serialize(toy)), HasSubstr("is damaged"));
}

} // namespace
