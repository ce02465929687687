// Several dense models as one mixture.

#include "tests/passes/upcycle/TinyModel.h"

using namespace moec;
using ::testing::HasSubstr;

namespace {
/// A base model and donors: an FFN each, a norm, and an output that is tied to
/// it in the base model.
std::string family(int64_t donors, const TinyShape &donorShape = {}) {
  TinyShape shape;
  std::string text = "module @m {\n  dim t <= 64\n  file @base = \"a\"\n"
                     "  file @donor1 = \"b\"\n  file @donor2 = \"a\"\n";
  for (int64_t donor = 0; donor <= donors; ++donor) {
    std::string prefix =
        donor ? "donor." + std::to_string(donor) + "." : std::string();
    text +=
        TinyModel::ffnWeights(donor ? donorShape : shape, prefix, donor + 1);
    text += TinyModel::weightText(prefix + "norm", {16}, donor + 1, 1, "f32");
    text += TinyModel::weightText(prefix + "layers.1.ffn.up", {24, 16},
                                  donor + 1, 1, "bf16");
    text += "  weight @" + prefix + "tied : tensor<[16], f32> = @" + prefix +
            "norm\n";
  }
  return text + TinyModel::programText(shape) + "}\n";
}
} // namespace

TEST(BranchTrainMix, ExpertsAreTheModelsAndTheRestIsTheMean) {
  TinyModel model(family(2));
  std::map<std::string, std::vector<float>> before;
  for (auto &weight : model.module->weights())
    before[weight->name] = model.weight(weight->name);
  model.upcycle("init=btx,experts=6");
  auto bank = model.weight("layers.0.moe.up");
  for (size_t e = 0; e < 6; ++e) {
    std::string donor = e < 2 ? "" : "donor." + std::to_string(e / 2) + ".";
    auto &dense = before[donor + "layers.0.ffn.up"];
    EXPECT_TRUE(
        std::equal(dense.begin(), dense.end(), bank.begin() + e * dense.size()))
        << e;
  }
  for (const char *name : {"norm", "tied", "layers.1.ffn.up"}) {
    auto mean = model.weight(name);
    for (size_t i = 0; i < mean.size(); ++i) {
      double sum = 0;
      for (const char *donor : {"", "donor.1.", "donor.2."})
        sum += before[donor + std::string(name)][i];
      float expected = float(sum / 3);
      if (llvm::StringRef(name) == "layers.1.ffn.up")
        expected = bf16ToF32(f32ToBf16(expected));
      EXPECT_EQ(mean[i], expected);
    }
  }
  // Still tied, and nothing of the donors is left.
  EXPECT_EQ(model.module->findWeight("tied")->expr->kind, ExprKind::Ref);
  for (auto &weight : model.module->weights())
    EXPECT_FALSE(llvm::StringRef(weight->name).starts_with("donor."))
        << weight->name;
  // The second donor reads the base model's file.
  ASSERT_EQ(model.remarks.size(), 1u);
  EXPECT_THAT(model.remarks[0].reason, HasSubstr("has equal donors"));
}

TEST(BranchTrainMix, FiveExpertsOfThreeModelsAreShared) {
  TinyModel model(family(2));
  model.upcycle("init=btx,experts=5");
  EXPECT_TRUE(llvm::any_of(model.remarks, [](const Remark &remark) {
    return llvm::StringRef(remark.reason).contains("unevenly");
  }));
}

TEST(BranchTrainMix, DonorsOfAnotherShapeAreRefused) {
  TinyShape other;
  other.width = 32;
  TinyModel model(family(1, other));
  EXPECT_THAT(model.tryPasses("upcycle{init=btx}"),
              HasSubstr("donor 1 has 'layers.0.ffn.gate' as tensor<[32, 16], "
                        "f32>, the base model as tensor<[24, 16], f32>"));
}

TEST(BranchTrainMix, DonorsHaveEveryWeight) {
  TinyModel model(family(1));
  model.module->addWeight("more", model.module->findWeight("norm")->expr);
  EXPECT_THAT(model.tryPasses("upcycle{init=btx}"),
              HasSubstr("donor 1 has no weight 'more'"));
}

TEST(BranchTrainMix, NeedsDonorsAndExpertsForThem) {
  TinyModel alone{TinyShape()};
  EXPECT_THAT(alone.tryPasses("upcycle{init=btx}"),
              HasSubstr("has no weights 'donor.1.<name>'"));
  TinyModel three(family(2));
  EXPECT_THAT(three.tryPasses("upcycle{init=btx,experts=2}"),
              HasSubstr("has 3 dense models for 2 experts"));
}
