// What routers start as, of one layer and of two.

#include "tests/passes/upcycle/TinyNeurons.h"

#include <numeric>

using namespace moec;

TEST(Router, CalibratedRowsComeFromTheFile) {
  TinyModel model{TinyShape()};
  auto &rows = model.reader.floats["layers.0.router"];
  for (int64_t i = 0; i < 4 * 16; ++i)
    rows.push_back(float(i));
  model.upcycle("experts=4,router_init=calibrated");
  EXPECT_EQ(model.weight("layers.0.moe.router"), rows);
}

TEST(Router, OfTwoLayersIsLinearTanhLinear) {
  TinyShape shape;
  TinyModel model(shape), dense(shape);
  HostTensor x = normalTokens(4, shape.hidden);
  std::vector<double> expected = dense.run(x);
  model.upcycle("init=drop,experts=6,top_k=1,router=topk_softmax,"
                "router_form=tanh,router_init=normal,router_std=1");
  auto first = model.weight("layers.0.moe.first.router");
  auto last = model.weight("layers.0.moe.router");
  ASSERT_EQ(first.size(), 6u * shape.hidden);
  ASSERT_EQ(last.size(), 36u);
  auto silu = [](double z) { return z / (1 + std::exp(-z)); };
  std::vector<double> y = model.run(x);
  for (int64_t t = 0; t < 4; ++t) {
    std::vector<double> hidden(6), logits(6), out(shape.hidden);
    for (int64_t e = 0; e < 6; ++e) {
      for (int64_t h = 0; h < shape.hidden; ++h)
        hidden[e] += double(first[e * shape.hidden + h]) * x.row(t)[h];
      hidden[e] = std::tanh(hidden[e]);
    }
    for (int64_t e = 0; e < 6; ++e)
      for (int64_t i = 0; i < 6; ++i)
        logits[e] += double(last[e * 6 + i]) * hidden[i];
    Neurons chosen = expertNeurons(
        model, std::max_element(logits.begin(), logits.end()) - logits.begin(),
        shape.hidden);
    for (size_t j = 0; j < chosen.size(); ++j) {
      double gate = 0, up = 0;
      for (int64_t h = 0; h < shape.hidden; ++h) {
        gate += double(chosen.gate[j][h]) * x.row(t)[h];
        up += double(chosen.up[j][h]) * x.row(t)[h];
      }
      for (int64_t h = 0; h < shape.hidden; ++h)
        out[h] += silu(gate) * up * chosen.down[j][h];
    }
    for (int64_t h = 0; h < shape.hidden; ++h)
      EXPECT_NEAR(y[t * shape.hidden + h], out[h], 1e-5);
  }
}

TEST(Router, OfTwoLayersStartsAsTheOptionsSay) {
  TinyShape shape;
  // Zeros in the last layer only: behind two of them nothing is learned.
  TinyModel zero(shape), groups(shape), file(shape);
  zero.upcycle("experts=4,router_form=tanh,router_init=zero");
  EXPECT_EQ(zero.weight("layers.0.moe.router"), std::vector<float>(16, 0));
  EXPECT_NE(zero.weight("layers.0.moe.first.router"),
            std::vector<float>(4 * shape.hidden, 0));
  // A virtual group has one row of the last layer.
  HostTensor x = normalTokens(5, shape.hidden);
  std::vector<double> expected = groups.run(x);
  groups.upcycle("init=virtual_group,granularity=4,experts=8,top_k=4,scaling="
                 "exact,router=topk_softmax,router_form=tanh,router_std=2");
  auto rows = groups.weight("layers.0.moe.router");
  for (int64_t e = 0; e < 8; ++e)
    for (int64_t i = 0; i < 8; ++i)
      EXPECT_EQ(rows[e * 8 + i], rows[e / 4 * 32 + i]);
  EXPECT_LT(relativeError(groups.run(x), expected), 1e-6);
  groups.passes("to-dense{how=expert,expert=0}");
  EXPECT_EQ(groups.module->findWeight("layers.0.moe.first.router"), nullptr);
  std::vector<float> first(4 * shape.hidden), last(16);
  std::iota(first.begin(), first.end(), 1.0f);
  std::iota(last.begin(), last.end(), 100.0f);
  file.reader.floats["layers.0.router.first"] = first;
  file.reader.floats["layers.0.router"] = last;
  file.upcycle("experts=4,router_form=tanh,router_init=calibrated");
  EXPECT_EQ(file.weight("layers.0.moe.first.router"), first);
  EXPECT_EQ(file.weight("layers.0.moe.router"), last);
}

TEST(Router, OfTwoLayersTakesOneMoreExpert) {
  TinyShape shape;
  TinyModel model(shape);
  HostTensor x = normalTokens(5, shape.hidden);
  std::vector<double> expected = model.run(x);
  model.upcycle("experts=3,router_form=tanh,router_std=1");
  model.passes("edit-expert{layer=0,source=expert,from=1,router=normal}");
  EXPECT_EQ(model.dim("layers.0.moe.router", 0), 4);
  EXPECT_EQ(model.dim("layers.0.moe.router", 1), 3);
  EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
}

TEST(Router, BiasesStartAsZero) {
  TinyModel model{TinyShape()};
  model.upcycle("experts=4,router_bias=true,select_bias=true");
  EXPECT_EQ(model.weight("layers.0.moe.router.bias"), std::vector<float>(4, 0));
  EXPECT_EQ(model.weight("layers.0.moe.select_bias"), std::vector<float>(4, 0));
}
