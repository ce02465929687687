// The weights that each policy makes, against what the spec says they are.

#include "tests/passes/upcycle/TinyNeurons.h"

#include <set>
#include <thread>

using namespace moec;
using ::testing::HasSubstr;

TEST(Drop, RatioZeroIsACopyBitByBit) {
  TinyShape shape;
  shape.element = "bf16";
  TinyModel drop(shape), copy(shape);
  drop.upcycle("init=drop,drop_ratio=0");
  copy.upcycle("init=copy");
  for (const char *name : {"gate", "up", "down", "router"})
    EXPECT_EQ(drop.weight(std::string("layers.0.moe.") + name),
              copy.weight(std::string("layers.0.moe.") + name));
}

TEST(Drop, RatioOneKeepsNothing) {
  TinyShape shape;
  TinyModel model(shape);
  model.upcycle("init=drop,drop_ratio=1,experts=2");
  Neurons dense = denseNeurons(model, shape);
  for (int64_t e = 0; e < 2; ++e) {
    Neurons expert = expertNeurons(model, e, shape.hidden);
    EXPECT_TRUE(kept(dense.gate, expert.gate).empty());
    EXPECT_TRUE(kept(dense.up, expert.up).empty());
    EXPECT_TRUE(kept(dense.down, expert.down).empty());
  }
}

TEST(Drop, SetsAreSharedOrIndependent) {
  TinyShape shape;
  shape.width = 400;
  for (bool shared : {true, false}) {
    TinyModel model(shape);
    model.upcycle(std::string("init=drop,drop_ratio=0.5,experts=2,drop_set=") +
                  (shared ? "shared" : "independent"));
    Neurons dense = denseNeurons(model, shape);
    std::set<size_t> first;
    for (int64_t e = 0; e < 2; ++e) {
      Neurons expert = expertNeurons(model, e, shape.hidden);
      auto gate = kept(dense.gate, expert.gate);
      auto up = kept(dense.up, expert.up);
      auto down = kept(dense.down, expert.down);
      EXPECT_EQ(gate.size(), 200u);
      EXPECT_EQ(up.size(), 200u);
      EXPECT_EQ(down.size(), 200u);
      EXPECT_EQ(gate == up && up == down, shared);
      // (1 - r) of the neurons are whole with a shared set, else (1 - r)^3.
      size_t whole = 0;
      for (size_t j : gate)
        whole += up.count(j) && down.count(j);
      if (shared)
        EXPECT_EQ(whole, 200u);
      else
        EXPECT_NEAR(whole, 50, 25);
      EXPECT_NE(gate, first) << "experts have sets of their own";
      first = gate;
    }
  }
}

TEST(Drop, RedrawnWeightsHaveTheReplacedOnesStatistics) {
  TinyShape shape;
  shape.hidden = 64;
  shape.width = 300;
  for (bool whole : {false, true}) {
    TinyModel model(shape);
    // A matrix whose second half is unlike the first.
    Weight *up = model.module->findWeight("layers.0.ffn.up");
    auto list = std::make_unique<NormalAttrs>();
    list->shape = {150, 64};
    list->mean = 3;
    auto half = Expr::make(ExprKind::Normal, {}, std::move(list));
    auto other = std::make_unique<NormalAttrs>();
    other->shape = {150, 64};
    auto rest = Expr::make(ExprKind::Normal, {}, std::move(other));
    model.module->redefine(
        up, llvm::cantFail(Expr::make(ExprKind::Concat,
                                      {llvm::cantFail(std::move(half)),
                                       llvm::cantFail(std::move(rest))},
                                      nullptr)));
    model.upcycle(std::string("init=drop,drop_ratio=0.5,experts=1,top_k=1,"
                              "drop_statistics=") +
                  (whole ? "whole" : "selected"));
    std::vector<Neuron> dense = denseNeurons(model, shape).up;
    std::vector<Neuron> expert = expertNeurons(model, 0, shape.hidden).up;
    auto same = kept(dense, expert);
    double sum = 0, squares = 0, pool = 0, poolSquares = 0;
    int64_t drawn = 0, pooled = 0;
    for (size_t j = 0; j < dense.size(); ++j) {
      bool redrawn = !same.count(j);
      for (size_t i = 0; i < dense[j].size(); ++i) {
        if (redrawn) {
          sum += expert[j][i];
          squares += double(expert[j][i]) * expert[j][i];
          ++drawn;
        }
        if (redrawn || whole) {
          pool += dense[j][i];
          poolSquares += double(dense[j][i]) * dense[j][i];
          ++pooled;
        }
      }
    }
    ASSERT_EQ(drawn, 150 * 64);
    double mean = pool / pooled;
    double deviation =
        std::sqrt((poolSquares - pooled * mean * mean) / (pooled - 1));
    // Five standard errors of the mean and of the deviation.
    EXPECT_NEAR(sum / drawn, mean, 5 * deviation / std::sqrt(drawn));
    double found = std::sqrt(squares / drawn - sum / drawn * (sum / drawn));
    EXPECT_NEAR(found, deviation, 5 * deviation / std::sqrt(2.0 * drawn));
  }
}

// Policies one after the other: slices of copies, a share of each redrawn.
TEST(Then, RedrawsSlicesAsItDoesCopies) {
  TinyShape shape;
  TinyModel model(shape), plain(shape);
  const std::string groups = "init=virtual_group,granularity=3,experts=6,"
                             "top_k=3,scaling=exact,router=topk_softmax";
  plain.upcycle(groups);
  model.upcycle(groups + ",then=drop,drop_ratio=0.5");
  for (int64_t e = 0; e < 6; ++e) {
    Neurons before = expertNeurons(plain, e, shape.hidden);
    Neurons after = expertNeurons(model, e, shape.hidden);
    int kept = 0;
    for (size_t j = 0; j < before.size(); ++j) {
      bool same = before.up[j] == after.up[j];
      EXPECT_EQ(before.gate[j] == after.gate[j], same);
      EXPECT_EQ(before.down[j] == after.down[j], same);
      kept += same;
    }
    EXPECT_EQ(kept, 4);
  }
  EXPECT_THAT(model.module->facts["upcycle.options"], HasSubstr("then = drop"));
}

TEST(Then, NoiseOnRedrawnNeurons) {
  TinyShape shape;
  TinyModel drop(shape), both(shape), noise(shape);
  drop.upcycle("init=drop,experts=2");
  noise.upcycle("init=noise,experts=2,noise_std=0.1");
  both.upcycle("init=drop,experts=2,then=noise,noise_std=0.1");
  auto a = drop.weight("layers.0.moe.up"), b = both.weight("layers.0.moe.up");
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NE(a[i], b[i]);
    squares += (b[i] - a[i]) * (b[i] - a[i]);
  }
  EXPECT_NEAR(std::sqrt(squares / a.size()), 0.1, 0.01);
  TinyModel twice(shape);
  EXPECT_THAT(twice.tryPasses("upcycle{init=drop,then=drop}"),
              HasSubstr("then=drop does nothing more to experts of init=drop"));
  EXPECT_THAT(twice.tryPasses("upcycle{init=low_rank,then=noise}"),
              HasSubstr("init=low_rank"));
}

TEST(Permute, KeepsNeuronsWholeInAnOrderOfEachExpert) {
  TinyShape shape;
  shape.biased = true;
  TinyModel model(shape);
  HostTensor x = normalTokens(8, shape.hidden);
  std::vector<double> expected = model.run(x);
  model.upcycle("permute=true,experts=3");
  Neurons dense = denseNeurons(model, shape);
  auto bias = model.weight("layers.0.moe.up.bias");
  auto denseBias = model.weight("layers.0.ffn.up.bias");
  std::set<std::vector<int64_t>> orders;
  for (int64_t e = 0; e < 3; ++e) {
    Neurons expert = expertNeurons(model, e, shape.hidden);
    std::vector<int64_t> order;
    for (size_t j = 0; j < expert.size(); ++j) {
      order.push_back(wholeNeuron(dense, expert, j));
      ASSERT_GE(order.back(), 0);
      EXPECT_EQ(bias[e * shape.width + j], denseBias[order.back()]);
    }
    orders.insert(order);
    EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 24u);
  }
  EXPECT_EQ(orders.size(), 3u);
  EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
}

TEST(VirtualGroup, ExpertsAreSlicesAndRowsAreRepeated) {
  TinyShape shape;
  TinyModel model(shape);
  model.upcycle("init=virtual_group,granularity=3,experts=6,top_k=3");
  Neurons dense = denseNeurons(model, shape);
  for (int64_t e = 0; e < 6; ++e) {
    Neurons expert = expertNeurons(model, e, shape.hidden);
    ASSERT_EQ(expert.size(), 8u);
    for (size_t j = 0; j < 8; ++j)
      EXPECT_EQ(wholeNeuron(dense, expert, j), int64_t(e % 3 * 8 + j));
  }
  auto router = model.weight("layers.0.moe.router");
  for (int64_t e = 0; e < 6; ++e)
    for (int64_t i = 0; i < shape.hidden; ++i) {
      EXPECT_EQ(router[e * 16 + i], router[e / 3 * 3 * 16 + i]);
      EXPECT_NE(router[i], router[3 * 16 + i]);
    }
}

TEST(Split, EveryNeuronIsInOneExpert) {
  TinyShape shape;
  shape.biased = true;
  for (const char *by : {"contiguous", "random", "order"})
    for (bool shared : {false, true}) {
      TinyModel model(shape);
      model.reader.integers["layers.0.order"] = {
          23, 1, 2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
          12, 0, 14, 15, 16, 17, 18, 19, 20, 21, 22, 13};
      model.upcycle(std::string("init=split,experts=") +
                    (shared ? "3,shared_experts=1,shared_init=split" : "4") +
                    ",split_by=" + by);
      Neurons dense = denseNeurons(model, shape);
      std::vector<int64_t> order;
      if (shared) {
        Neurons part = sharedNeurons(model, shape.hidden);
        for (size_t j = 0; j < part.size(); ++j)
          order.push_back(wholeNeuron(dense, part, j));
        EXPECT_EQ(order.size(), 6u);
      }
      auto bias = model.weight("layers.0.moe.up.bias");
      auto denseBias = model.weight("layers.0.ffn.up.bias");
      for (int64_t e = 0; e < (shared ? 3 : 4); ++e) {
        Neurons part = expertNeurons(model, e, shape.hidden);
        ASSERT_EQ(part.size(), 6u);
        for (size_t j = 0; j < part.size(); ++j) {
          order.push_back(wholeNeuron(dense, part, j));
          ASSERT_GE(order.back(), 0);
          EXPECT_EQ(bias[e * 6 + j], denseBias[order.back()]);
        }
      }
      EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 24u);
      bool ascending = std::is_sorted(order.begin(), order.end());
      EXPECT_EQ(ascending, llvm::StringRef(by) == "contiguous");
      if (llvm::StringRef(by) == "order")
        EXPECT_EQ(order, model.reader.integers["layers.0.order"]);
    }
}

TEST(Split, OrderMustBeAPermutation) {
  TinyModel model{TinyShape()};
  model.reader.integers["layers.0.order"] = std::vector<int64_t>(24, 3);
  model.upcycle("init=split,experts=4,split_by=order");
  auto bank = materialize(*model.module->findWeight("layers.0.moe.up")->expr,
                          model.reader);
  ASSERT_FALSE(bool(bank));
  EXPECT_THAT(toText(bank.takeError()), HasSubstr("names slice 3 twice"));
}

TEST(Qwen2, CopiesAreShuffledCutAndHalfRedrawn) {
  TinyShape shape;
  for (double ratio : {0.0, 0.5}) {
    TinyModel model(shape);
    // Five experts of ten: two copies of 24 and two neurons of a third.
    model.upcycle("init=qwen2,experts=5,expert_width=10,drop_ratio=" +
                  std::to_string(ratio));
    Neurons dense = denseNeurons(model, shape);
    std::vector<int64_t> order;
    for (int64_t e = 0; e < 5; ++e) {
      Neurons expert = expertNeurons(model, e, shape.hidden);
      ASSERT_EQ(expert.size(), 10u);
      int64_t redrawn = 0;
      for (size_t j = 0; j < 10; ++j) {
        order.push_back(wholeNeuron(dense, expert, j));
        redrawn += order.back() < 0;
      }
      EXPECT_EQ(redrawn, ratio ? 5 : 0);
    }
    if (ratio)
      continue;
    std::vector<int64_t> first(order.begin(), order.begin() + 24);
    std::vector<int64_t> second(order.begin() + 24, order.begin() + 48);
    EXPECT_NE(first, second);
    EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 24u);
    EXPECT_EQ(std::set<int64_t>(second.begin(), second.end()).size(), 24u);
  }
}

TEST(Noise, OfADeviationRelativeToTheMatrix) {
  TinyShape shape;
  shape.hidden = 64;
  shape.width = 256;
  TinyModel model(shape);
  model.upcycle("init=noise,noise_std=0.5,noise_relative=true,experts=1,"
                "top_k=1,noise_ratio=0.25");
  auto dense = model.weight("layers.0.ffn.up");
  auto expert = model.weight("layers.0.moe.up");
  double squares = 0, denseSquares = 0;
  int64_t noisy = 0;
  for (size_t i = 0; i < dense.size(); ++i) {
    double noise = expert[i] - dense[i];
    noisy += noise != 0;
    squares += noise * noise;
    denseSquares += double(dense[i]) * dense[i];
  }
  EXPECT_EQ(noisy, 64 * 64);
  double deviation = std::sqrt(denseSquares / dense.size());
  EXPECT_NEAR(std::sqrt(squares / noisy), 0.5 * deviation, 0.03 * deviation);
}

TEST(Adapters, AddALowRankFunctionOfTheDenseOutput) {
  TinyShape shape;
  TinyModel model(shape);
  HostTensor x = normalTokens(6, shape.hidden);
  std::vector<double> dense = model.run(x);
  TinyModel zero(shape);
  zero.upcycle("init=low_rank,experts=4,rank=3,router_std=1");
  EXPECT_EQ(zero.run(x), dense) << "bit by bit";

  model.upcycle("init=low_rank,experts=1,top_k=1,rank=3,adapter_init=normal,"
                "init_std=0.5,adapter_scale=0.25");
  auto up = model.weight("layers.0.moe.up");
  auto down = model.weight("layers.0.moe.down");
  std::vector<double> expected = dense;
  for (int64_t t = 0; t < 6; ++t)
    for (int64_t r = 0; r < 3; ++r) {
      double z = 0;
      for (int64_t i = 0; i < shape.hidden; ++i)
        z += up[r * shape.hidden + i] * dense[t * shape.hidden + i];
      z = 0.5 * z * (1 + std::erf(z / std::sqrt(2.0)));
      for (int64_t i = 0; i < shape.hidden; ++i)
        expected[t * shape.hidden + i] += down[i * 3 + r] * z;
    }
  EXPECT_GT(relativeError(expected, dense), 0.01);
  EXPECT_LT(relativeError(model.run(x), expected), 1e-6);
  double squares = 0;
  for (float number : down)
    squares += double(number) * number;
  EXPECT_NEAR(std::sqrt(squares / down.size()), 0.125, 0.04);
}

TEST(Shared, CopyMayBeWiderThanTheFfn) {
  TinyShape shape;
  TinyModel model(shape);
  model.upcycle("init=qwen2,experts=4,expert_width=10,shared_width=30");
  Neurons dense = denseNeurons(model, shape);
  Neurons shared = sharedNeurons(model, shape.hidden);
  ASSERT_EQ(shared.size(), 30u);
  for (size_t j = 0; j < 30; ++j)
    EXPECT_EQ(wholeNeuron(dense, shared, j), int64_t(j % 24));
}

// Softmax over the groups of heads multiplies their outputs; equal scores are
// what they were.
TEST(MixedHeads, MultiplyHeadsByTheirExpertsWeight) {
  auto make = [](bool zero) {
    std::string text =
        "module @m {\n  dim t <= 8\n  dim seqs <= 1\n  dim table <= 1\n"
        "  dim blocks <= 1\n  state @k : kv tensor<[blocks, 2, 4, 8], f32>\n"
        "  state @v : kv tensor<[blocks, 2, 8, 4], f32>\n";
    for (auto [name, rows, columns] :
         {std::tuple("q", 16, 16), std::tuple("kw", 8, 16),
          std::tuple("vw", 8, 16), std::tuple("o", 16, 16)})
      text += TinyModel::weightText(name, {rows, columns}, 1, 0.25, "f32");
    text += TinyModel::weightText("zero", {16, 16}, 1, 0, "f32");
    text += "  program @step(%x: tensor<[t, 16], f32>, %p: tensor<[t], i32>, "
            "%s: tensor<[seqs+1], i32>, %b: tensor<[seqs, table], i32>, "
            "%k: state @k, %v: state @v) -> (y: tensor<[t, 16], f32>, "
            "k: state @k, v: state @v) {\n"
            "    %q = linear %x, @q : tensor<[t, 16], f32>\n"
            "    %kx = linear %x, @kw : tensor<[t, 8], f32>\n"
            "    %vx = linear %x, @vw : tensor<[t, 8], f32>\n"
            "    %k1 = kv_append %k, %kx, %p, %s, %b : state @k\n"
            "    %v1 = kv_append %v, %vx, %p, %s, %b {kind = value} "
            ": state @v\n"
            "    %a = attention %q, %k1, %v1, %p, %s, %b {heads = 4} "
            ": tensor<[t, 16], f32>\n"
            "    %h = linear %a, @o : tensor<[t, 16], f32>\n"
            // An FFN of zeros that is there to be upcycled.
            "    %f = ffn %h, @zero, @zero, @zero : tensor<[t, 16], f32>\n"
            "    %y = add %h, %f : tensor<[t, 16], f32>\n"
            "    return %y, %k1, %v1\n  }\n}\n";
    TinyModel model(text);
    if (zero)
      model.upcycle("experts=2,attention=mixture,scaling=exact,router_init="
                    "zero,router=softmax_all");
    return model;
  };
  auto arguments = [] {
    std::vector<HostTensor> list{HostTensor::ofInts({0, 1, 2, 3, 4}),
                                 HostTensor::ofInts({0, 5}),
                                 HostTensor::ofInts({0})};
    list.back().shape = {1, 1};
    list.push_back(HostTensor::ofFloats(ElementType::f32, {1, 2, 4, 8}));
    list.push_back(HostTensor::ofFloats(ElementType::f32, {1, 2, 8, 4}));
    return list;
  };
  HostTensor x = normalTokens(5, 16);
  TinyModel dense = make(false), mixed = make(true);
  std::vector<double> expected = dense.run(x, arguments());
  EXPECT_LT(relativeError(mixed.run(x, arguments()), expected), 1e-6);
  // One of the two groups of heads, at about the weight of both.
  TinyModel one = make(false);
  one.upcycle("experts=2,attention=mixture,attention_top_k=1,scaling=exact,"
              "router_std=1");
  EXPECT_GT(relativeError(one.run(x, arguments()), expected), 0.1);
}

TEST(Bits, DoNotDependOnThreads) {
  TinyModel model{TinyShape()};
  model.upcycle("init=drop,permute=true,experts=4,drop_set=independent");
  std::vector<const Expr *> experts;
  for (const char *name : {"gate", "up", "down"})
    for (const ExprRef &expert :
         model.module->findWeight(std::string("layers.0.moe.") + name)
             ->expr->args)
      experts.push_back(expert.get());
  std::vector<std::vector<float>> alone, together(experts.size());
  for (const Expr *expert : experts)
    alone.push_back(llvm::cantFail(materialize(*expert, model.reader)));
  std::vector<std::thread> threads;
  for (size_t i = experts.size(); i-- > 0;)
    threads.emplace_back([&, i] {
      together[i] = llvm::cantFail(materialize(*experts[i], model.reader));
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(alone, together);
}
