#include "tools/driver/ModuleDiff.h"

#include "ir/support/Diagnostic.h"
#include "ir/text/Parser.h"
#include "tests/ir/weights/NoFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;
using testing::Not;

static std::string moduleText(llvm::StringRef epsilon, llvm::StringRef block,
                              llvm::StringRef value = "1.0",
                              llvm::StringRef fact = "a") {
  return (R"(module @m {
  dim t <= 8
  fact "note" = ")" +
          fact + R"("
  weight @norm : tensor<[4], f32> = fill({shape = [4], value = )" +
          value + R"(})
  weight @layers.0.ffn.up : tensor<[6, 4], f32> = normal({shape = [6, 4], weight = "u"})
  weight @layers.0.ffn.down : tensor<[4, 6], f32> = normal({shape = [4, 6], weight = "d"})
  weight @double : tensor<[4], f32> = scale(@norm, {factor = 2.0})
  program @step(%x: tensor<[t, 4], f32>) -> (y: tensor<[t, 4], f32>) {
    %0 = rms_norm %x, @norm {epsilon = )" +
          epsilon + R"(} : tensor<[t, 4], f32> loc("model.layers.0")
    )" + block +
          R"(
    %9 = add %x, %1 : tensor<[t, 4], f32> loc("model.layers.0")
    return %9
  }
})")
      .str();
}

static const char kFfn[] =
    "%1 = ffn %0, @layers.0.ffn.up, @layers.0.ffn.down {gated = false} : "
    "tensor<[t, 4], f32> loc(\"model.layers.0.ffn\")";
static const char kTwice[] =
    "%2 = ffn %0, @layers.0.ffn.up, @layers.0.ffn.down {gated = false} : "
    "tensor<[t, 4], f32> loc(\"model.layers.0.ffn\")\n"
    "%1 = add %2, %2 : tensor<[t, 4], f32> loc(\"model.layers.0.ffn\")";

namespace {
struct Two {
  std::unique_ptr<Module> before, after;
  ModuleDiff diff;
};
} // namespace

static std::unique_ptr<Module> parse(const std::string &text) {
  auto module = parseModule(text, "test.moe");
  if (module)
    return std::move(*module);
  ADD_FAILURE() << llvm::toString(module.takeError());
  return std::make_unique<Module>("none");
}

static Two compare(const std::string &before, const std::string &after) {
  Two two{parse(before), parse(after), {}};
  two.diff = diffModules(*two.before, *two.after);
  return two;
}

static std::string textOf(const ModuleDiff &diff) {
  std::string text;
  llvm::raw_string_ostream os(text);
  printDiff(diff, os, /*ops=*/true);
  return text;
}

TEST(ModuleDiffTest, aModuleEqualsItself) {
  Two two = compare(moduleText("1e-05", kFfn), moduleText("1e-05", kFfn));
  EXPECT_TRUE(two.diff.isEmpty()) << textOf(two.diff);
}

TEST(ModuleDiffTest, attributesAreNamed) {
  Two two = compare(moduleText("1e-05", kFfn), moduleText("1e-06", kFfn));
  EXPECT_FALSE(two.diff.isEmpty());
  const ProgramDiff &program = two.diff.programs[0];
  EXPECT_EQ(program.count(Change::changed), 1u);
  EXPECT_EQ(program.count(Change::added), 0u);
  EXPECT_THAT(textOf(two.diff), HasSubstr("epsilon: 1e-05 -> 1e-06"));
}

// An op in between: what reads behind it reads something else, once.
TEST(ModuleDiffTest, addedOpsDoNotChangeTheOthers) {
  Two two = compare(moduleText("1e-05", kFfn), moduleText("1e-05", kTwice));
  const ProgramDiff &program = two.diff.programs[0];
  EXPECT_EQ(program.count(Change::added), 1u);
  EXPECT_EQ(program.count(Change::removed), 0u);
  EXPECT_EQ(program.count(Change::changed), 1u);
  EXPECT_EQ(program.count(Change::same), 3u);
  EXPECT_THAT(textOf(two.diff),
              HasSubstr("operand 1: ffn of model.layers.0.ffn "
                        "-> add of model.layers.0.ffn"));
}

TEST(ModuleDiffTest, definitionsAndWhatRefersToThem) {
  Two two = compare(moduleText("1e-05", kFfn, "1.0"),
                    moduleText("1e-05", kFfn, "3.0"));
  ASSERT_EQ(two.diff.countWeights(Change::changed), 1u);
  for (const WeightDiff &weight : two.diff.weights) {
    EXPECT_EQ(weight.change == Change::changed, weight.name == "norm");
    EXPECT_EQ(weight.indirectly, weight.name == "double");
  }
  NoFiles reader;
  llvm::Error err =
      compareWeights(two.diff, reader, reader, 1, [](uint64_t, uint64_t) {});
  ASSERT_FALSE(bool(err)) << llvm::toString(std::move(err));
  for (const WeightDiff &weight : two.diff.weights) {
    ASSERT_TRUE(weight.numbers) << weight.name;
    bool differs = weight.name == "norm" || weight.name == "double";
    EXPECT_EQ(weight.numbers->relative, differs ? 2 : 0) << weight.name;
    EXPECT_NEAR(weight.numbers->cosine, 1, 1e-12);
    EXPECT_EQ(weight.numbers->maxDifference, weight.name == "norm"     ? 2
                                             : weight.name == "double" ? 4
                                                                       : 0);
  }
}

TEST(ModuleDiffTest, pagesEscapeHostileNames) {
  Two two =
      compare(moduleText("1e-05", kFfn, "1.0", "a"),
              moduleText("1e-06", kTwice, "3.0", "<script>alert(1)</script>"));
  two.diff.afterName = "<img src=x>";
  std::string page;
  llvm::raw_string_ostream os(page);
  writeDiffPage(two.diff, os);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));
  EXPECT_THAT(page, HasSubstr("class=\"op add\""));
}

TEST(ModuleDiffTest, programsOfOneModuleOnly) {
  std::string text = moduleText("1e-05", kFfn);
  std::string other = text;
  other.replace(other.find("@step"), 5, "@work");
  Two two = compare(text, other);
  ASSERT_EQ(two.diff.programs.size(), 2u);
  EXPECT_EQ(two.diff.programs[0].change, Change::added);
  EXPECT_EQ(two.diff.programs[1].change, Change::removed);
}
