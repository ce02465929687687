// Passes on models that have experts: edit-expert and to-dense.

#include "tests/passes/upcycle/TinyModel.h"

using namespace moec;
using ::testing::HasSubstr;

namespace {
std::vector<float> expertOfBank(TinyModel &model, const std::string &name,
                                int64_t expert) {
  auto bank = model.weight(name);
  int64_t size = bank.size() / model.dim(name, 0);
  return {bank.begin() + expert * size, bank.begin() + (expert + 1) * size};
}
} // namespace

TEST(ToDense, OfCopiesIsTheDenseModelBitByBit) {
  TinyShape shape;
  shape.element = "bf16";
  shape.biased = true;
  for (const char *how : {"how=average", "how=expert,expert=2"}) {
    TinyModel model(shape), dense(shape);
    HostTensor x = normalTokens(5, shape.hidden);
    model.upcycle("experts=3");
    model.passes(std::string("to-dense{") + how + "}");
    for (const char *name : {"gate", "up", "down", "gate.bias", "down.bias"})
      EXPECT_EQ(model.weight(std::string("layers.0.ffn.") + name),
                dense.weight(std::string("layers.0.ffn.") + name));
    EXPECT_EQ(model.run(x), dense.run(x));
    // Nothing of the mixture is left.
    EXPECT_EQ(model.module->findWeight("layers.0.moe.up"), nullptr);
    EXPECT_EQ(model.module->findWeight("layers.0.moe.router"), nullptr);
    EXPECT_TRUE(model.module->states().empty());
    EXPECT_EQ(model.module->facts.count("model.experts"), 0u);
    EXPECT_EQ(model.module->findProgram("step")->body().numArguments(), 1u);
  }
}

TEST(ToDense, AveragesOrTakesOne) {
  TinyShape shape;
  TinyModel average(shape), one(shape);
  for (TinyModel *model : {&average, &one})
    model->upcycle("init=drop,experts=4");
  auto bank = average.weight("layers.0.moe.up");
  auto second = expertOfBank(one, "layers.0.moe.up", 1);
  average.passes("to-dense");
  one.passes("to-dense{how=expert,expert=1}");
  EXPECT_EQ(one.weight("layers.0.ffn.up"), second);
  auto mean = average.weight("layers.0.ffn.up");
  for (size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (int64_t e = 0; e < 4; ++e)
      sum += bank[e * mean.size() + i];
    EXPECT_EQ(mean[i], float(sum / 4));
  }
}

TEST(ToDense, JoinsSlicesAndASharedFfn) {
  TinyShape shape;
  shape.biased = true;
  for (const char *options :
       {"init=split,experts=4,router=softmax_all,scaling=exact",
        "init=split,experts=2,router=softmax_all,scaling=exact,"
        "shared_width=12,shared_init=split"}) {
    TinyModel model(shape);
    HostTensor x = normalTokens(5, shape.hidden);
    std::vector<double> expected = model.run(x);
    model.upcycle(options);
    model.passes("to-dense{how=concat}");
    EXPECT_EQ(model.dim("layers.0.ffn.up", 0), shape.width);
    EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
  }
}

TEST(ToDense, RefusesWhatIsNoFfn) {
  TinyShape shape;
  TinyModel gated(shape), adapters(shape), few(shape);
  gated.upcycle("shared_experts=1,shared_gate=true");
  EXPECT_THAT(gated.tryPasses("to-dense"),
              HasSubstr("behind a gate that depends on the token"));
  adapters.upcycle("init=low_rank");
  EXPECT_THAT(adapters.tryPasses("to-dense"),
              HasSubstr("stands on another FFN"));
  few.upcycle("experts=2");
  EXPECT_THAT(few.tryPasses("to-dense{how=expert,expert=2}"),
              HasSubstr("has experts 0 to 1, but not expert 2"));
}

TEST(EditExpert, AddsTheMeanOfAll) {
  TinyShape shape;
  shape.biased = true;
  TinyModel model(shape);
  model.upcycle("init=drop,experts=3,router_bias=true,select_bias=true");
  std::map<std::string, std::vector<float>> before;
  for (const char *name : {"gate", "up", "down", "up.bias", "router"})
    before[name] = model.weight(std::string("layers.0.moe.") + name);
  model.passes("edit-expert{layer=0}");
  for (auto &[name, old] : before) {
    auto bank = model.weight("layers.0.moe." + name);
    ASSERT_EQ(bank.size(), old.size() / 3 * 4);
    EXPECT_TRUE(std::equal(old.begin(), old.end(), bank.begin()));
    for (size_t i = 0; i < old.size() / 3; ++i) {
      double sum = 0;
      for (size_t e = 0; e < 3; ++e)
        sum += old[e * old.size() / 3 + i];
      EXPECT_EQ(bank[old.size() + i], float(sum * (1.0 / 3)));
    }
  }
  EXPECT_EQ(model.weight("layers.0.moe.select_bias"), std::vector<float>(4, 0));
  EXPECT_EQ(model.module->facts["model.experts"], "4");
  EXPECT_EQ(model.run(normalTokens(3, shape.hidden)).size(), 48u);
}

TEST(EditExpert, ReplacesOneAndKeepsTheOthers) {
  TinyShape shape;
  TinyModel model(shape);
  model.upcycle("init=drop,experts=3");
  auto before = model.weight("layers.0.moe.up");
  auto router = model.weight("layers.0.moe.router");
  model.passes("edit-expert{layer=0,expert=1,source=expert,from=2,router="
               "expert}");
  for (int64_t e = 0; e < 3; ++e) {
    size_t size = before.size() / 3, from = e == 1 ? 2 : e;
    EXPECT_EQ(expertOfBank(model, "layers.0.moe.up", e),
              std::vector<float>(before.begin() + from * size,
                                 before.begin() + (from + 1) * size));
    EXPECT_EQ(expertOfBank(model, "layers.0.moe.router", e),
              std::vector<float>(router.begin() + from * 16,
                                 router.begin() + (from + 1) * 16));
  }
  EXPECT_EQ(model.module->facts["model.experts"], "3");
  model.passes("edit-expert{layer=0,expert=0,source=scratch,router=zero}");
  EXPECT_EQ(expertOfBank(model, "layers.0.moe.router", 0),
            std::vector<float>(16, 0));
  model.passes("edit-expert{layer=0,expert=0,init=drop,drop_ratio=0.5}");
  model.passes("edit-expert{layer=0,expert=0,init=noise,router=normal}");
  EXPECT_EQ(model.run(normalTokens(3, shape.hidden)).size(), 48u);
}

TEST(EditExpert, ACopyOfAllExpertsChangesNothing) {
  TinyShape shape;
  TinyModel model(shape);
  HostTensor x = normalTokens(5, shape.hidden);
  std::vector<double> expected = model.run(x);
  model.upcycle("experts=2,router_std=1");
  model.passes("edit-expert{layer=0,source=expert,from=1,router=normal,"
               "router_std=1}");
  EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
}

TEST(EditExpert, OneMoreOfAllThatRun) {
  TinyShape shape;
  TinyModel model(shape);
  HostTensor x = normalTokens(5, shape.hidden);
  std::vector<double> expected = model.run(x);
  model.upcycle("experts=3,router=softmax_all,router_std=1");
  model.passes("edit-expert{layer=0},edit-expert{layer=0}");
  EXPECT_EQ(model.dim("layers.0.moe.up", 0), 5);
  EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
}

TEST(EditExpert, SaysWhatItCannotDo) {
  TinyShape shape;
  TinyModel model(shape);
  EXPECT_THAT(model.tryPasses("edit-expert{layer=0}"),
              HasSubstr("is layer 0, which has no experts to edit"));
  model.upcycle("experts=4,router_groups=2,router_top_groups=1,top_k=2");
  EXPECT_THAT(model.tryPasses("edit-expert{layer=1}"),
              HasSubstr("layer is 1, but the model has layers 0 to 0"));
  EXPECT_THAT(model.tryPasses("edit-expert{layer=0,expert=5}"),
              HasSubstr("there is no expert 5 to replace"));
  EXPECT_THAT(model.tryPasses("edit-expert{layer=0,expert=0,from=4}"),
              HasSubstr("made of expert 4"));
  EXPECT_THAT(model.tryPasses("edit-expert{layer=0}"),
              HasSubstr("has 2 groups of 2 experts"));
}
