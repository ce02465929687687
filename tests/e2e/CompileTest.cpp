//===- CompileTest.cpp - compiled models against the interpreter ----------===//
//
// A decoder of two layers with random weights, dense and upcycled, goes the
// whole way to machine code for every variant that this machine runs, and its
// logits are compared with the interpreter's: the error against the f64 mode is
// at most c times that of the typed mode plus a floor (design.md, 2.2).
//
//===----------------------------------------------------------------------===//

#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"
#include "tests/e2e/TinyDecoder.h"
#include "tools/driver/Upcycler.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace moec;
using namespace moec::test;

namespace {
struct Case {
  const char *name;
  Precision precision;
  /// Options of upcycle; empty stays dense.
  const char *upcycle;
  /// The bound: c times the typed mode's error plus a floor, both relative to
  /// the largest logit. c: kernels sum in f32 where the typed mode sums in f64
  /// and rounds once, over chains of at most 52 products and 10 ops a layer.
  /// q8_0 computes from the same quantised weights, in f32.
  double c, floor;
  Kind kind = Kind::llama;
};
std::ostream &operator<<(std::ostream &os, const Case &c) {
  return os << c.name;
}

class Compile : public testing::TestWithParam<Case> {};
} // namespace

TEST_P(Compile, AgreesWithTheInterpreter) {
  const Case &test = GetParam();
  std::vector<int32_t> tokens(37);
  std::mt19937 random(1);
  for (int32_t &token : tokens)
    token = random() % 70;

  auto make = [&] {
    auto module = tinyModule(test.kind);
    if (*test.upcycle)
      llvm::cantFail(upcycleModule(*module, test.upcycle));
    return module;
  };
  // The interpreter runs what the compiler saw after types were converted.
  auto converted = make();
  {
    PassManager manager;
    std::string types = test.precision == Precision::bf16
                            ? "convert-types{weights=bf16,activations=bf16}"
                        : test.precision == Precision::q8_0
                            ? "convert-types{weights=q8_0,activations=f32}"
                            : "convert-types";
    manager.add(llvm::cantFail(parsePipeline(types, allPasses())));
    ASSERT_FALSE(bool(manager.run(*converted)));
  }
  std::vector<double> exact =
      interpret(*converted, Interpreter::Mode::f64, tokens);
  std::vector<double> typed =
      interpret(*converted, Interpreter::Mode::typed, tokens);
  ASSERT_EQ(exact.size(), tokens.size() * 70);
  double largest = 0, typedError = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::abs(exact[i]));
    typedError = std::max(typedError, std::abs(typed[i] - exact[i]));
  }
  for (cpu::CpuLevel level : hostLevels()) {
    SCOPED_TRACE(cpu::variantName(level).str());
    auto one = loadVariant(make(), test.precision, level, 1);
    ASSERT_TRUE(one);
    std::vector<float> whole = runChunks(one, tokens, {37});
    ASSERT_EQ(whole.size(), exact.size());
    double worst = 0;
    for (size_t i = 0; i < exact.size(); ++i)
      worst = std::max(worst, std::abs(whole[i] - exact[i]));
    EXPECT_LE(worst, test.c * typedError + test.floor * largest);
    // Another split into steps takes other programs (small batches sort
    // nothing) and other tiles; sums keep their order.
    std::vector<float> parts = runChunks(one, tokens, {1, 1, 9, 8, 1, 17});
    double apart = 0;
    for (size_t i = 0; i < whole.size(); ++i)
      apart = std::max<double>(apart, std::abs(whole[i] - parts[i]));
    EXPECT_LE(apart, test.c * typedError + test.floor * largest);
    // Threads and runs never change a bit.
    auto two = loadVariant(make(), test.precision, level, 2);
    ASSERT_TRUE(two);
    std::vector<float> again = runChunks(two, tokens, {37});
    EXPECT_EQ(0, memcmp(whole.data(), again.data(), whole.size() * 4));
    std::vector<float> third = runChunks(two, tokens, {37});
    EXPECT_EQ(0, memcmp(whole.data(), third.data(), whole.size() * 4));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Compile,
    testing::Values(
        Case{"dense_f32", Precision::f32, "", 4, 2e-6},
        Case{"dense_bf16", Precision::bf16, "", 4, 1e-3},
        Case{"dense_q8_0", Precision::q8_0, "", 4, 2e-6},
        Case{"copy_f32", Precision::f32, "experts=5,top_k=3", 4, 2e-6},
        Case{"drop_f32", Precision::f32, "experts=5,top_k=2,init=drop", 4,
             2e-6},
        Case{"topk_softmax_f32", Precision::f32,
             "experts=4,top_k=2,init=drop,router=topk_softmax", 4, 2e-6},
        Case{"no_renorm_f32", Precision::f32,
             "experts=4,top_k=1,init=drop,router=softmax_topk", 4, 2e-6},
        Case{"copy_bf16", Precision::bf16, "experts=5,top_k=2", 4, 1e-3},
        Case{"drop_q8_0", Precision::q8_0, "experts=4,top_k=2,init=drop", 4,
             2e-6},
        Case{"one_layer_f32", Precision::f32,
             "experts=4,top_k=2,init=drop,layers=\"1\"", 4, 2e-6},
        Case{"virtual_group_f32", Precision::f32,
             "init=virtual_group,experts=8,granularity=4,top_k=4,"
             "router=topk_softmax,scaling=exact",
             4, 2e-6},
        Case{"slices_f32", Precision::f32,
             "init=split,experts=4,router=softmax_all,scaling=exact,"
             "split_by=random,weight_applied_to=hidden,attention=mixture",
             4, 2e-6},
        Case{"masked_slices_f32", Precision::f32,
             "init=split,experts=4,weight_applied_to=none", 4, 2e-6},
        Case{"qwen2_shared_f32", Precision::f32,
             "init=qwen2,experts=6,expert_width=10,router=softmax_topk,"
             "shared_experts=2,shared_gate=true",
             4, 2e-6},
        Case{"adapters_f32", Precision::f32,
             "init=low_rank,experts=4,rank=6,adapter_init=normal,init_std=0.3",
             4, 2e-6},
        Case{"capped_f32", Precision::f32, "", 4, 2e-6, Kind::capped},
        Case{"capped_bf16", Precision::bf16, "", 4, 1e-3, Kind::capped},
        Case{"post_norm_f32", Precision::f32, "", 4, 2e-6, Kind::postNorm},
        Case{"biased_f32", Precision::f32, "", 4, 2e-6, Kind::biased},
        Case{"biased_copy_f32", Precision::f32, "experts=4,top_k=2", 4, 2e-6,
             Kind::biased},
        Case{"latent_f32", Precision::f32, "", 4, 2e-6, Kind::latent},
        Case{"latent_bf16", Precision::bf16, "", 4, 1e-3, Kind::latent},
        Case{"capped_drop_f32", Precision::f32, "experts=4,top_k=2,init=drop",
             4, 2e-6, Kind::capped}),
    [](const auto &info) { return std::string(info.param.name); });

// Copies whose weights sum to one compute the dense function, whatever the
// router and k.
TEST(Upcycled, CopyEqualsDense) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2, 60, 7, 7, 41};
  std::vector<double> dense =
      interpret(*tinyModule(), Interpreter::Mode::f64, tokens);
  for (const char *options :
       {"experts=4,top_k=1", "experts=4,top_k=2", "experts=4,top_k=3",
        "experts=4,top_k=4", "experts=4,top_k=2,router=topk_softmax",
        "init=virtual_group,experts=8,granularity=4,top_k=4,scaling=exact",
        "init=low_rank,experts=4,rank=6",
        "experts=4,attention=mixture,router_init=zero,scaling=exact",
        "experts=4,permute=true,shared_experts=1,shared_gate=true,scaling="
        "down"}) {
    auto module = tinyModule();
    llvm::cantFail(upcycleModule(*module, options));
    std::vector<double> sparse =
        interpret(*module, Interpreter::Mode::f64, tokens);
    for (size_t i = 0; i < dense.size(); ++i)
      ASSERT_NEAR(sparse[i], dense[i], 1e-10) << options;
  }
}

TEST(Upcycled, CopyEqualsDenseInEveryKindOfLayer) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2, 60, 7, 7, 41};
  for (Kind kind : {Kind::capped, Kind::postNorm, Kind::biased, Kind::latent}) {
    std::vector<double> dense =
        interpret(*tinyModule(kind), Interpreter::Mode::f64, tokens);
    auto module = tinyModule(kind);
    llvm::cantFail(upcycleModule(*module, "experts=4,top_k=2"));
    std::vector<double> sparse =
        interpret(*module, Interpreter::Mode::f64, tokens);
    for (size_t i = 0; i < dense.size(); ++i)
      ASSERT_NEAR(sparse[i], dense[i], 1e-10) << int(kind);
  }
}

/// A decoder whose matrices have numbers of bf16. They are stored so, or, if
/// `computed`, come out of an expression that a compiler must take for
/// arithmetic.
static std::unique_ptr<Module> bf16Module(const char *upcycle, bool computed) {
  auto module = tinyModule();
  auto cast = [](ExprRef expr, ElementType element) {
    auto attrs = std::make_unique<ElementAttrs>();
    attrs->element = element;
    return llvm::cantFail(
        Expr::make(ExprKind::Cast, {std::move(expr)}, std::move(attrs)));
  };
  for (auto &weight : module->weights()) {
    if (weight->type().rank() < 2)
      continue;
    ExprRef expr = cast(weight->expr, ElementType::bf16);
    expr = computed
               ? llvm::cantFail(Expr::make(ExprKind::Scale, {expr},
                                           std::make_unique<FactorAttrs>()))
               : cast(expr, ElementType::f32);
    module->redefine(weight.get(), expr);
  }
  if (*upcycle)
    llvm::cantFail(upcycleModule(*module, upcycle));
  return module;
}

// An f32 program that keeps weights as they are stored computes what it would
// with widened ones, bit by bit.
TEST(NarrowWeights, KeepEveryBit) {
  std::vector<int32_t> tokens(37);
  std::mt19937 random(3);
  for (int32_t &token : tokens)
    token = random() % 70;
  for (const char *upcycle : {"", "experts=5,top_k=2,router_init=normal"}) {
    SCOPED_TRACE(upcycle);
    for (bool computed : {false, true}) {
      auto module = bf16Module(upcycle, computed);
      PassManager manager;
      manager.add(llvm::cantFail(parsePipeline(
          loweringPipeline(ElementType::f32, ElementType::f32), allPasses())));
      ASSERT_FALSE(bool(manager.run(*module)));
      for (auto &weight : module->weights())
        if (weight->type().rank() > 1 &&
            !llvm::StringRef(weight->name).ends_with("router"))
          EXPECT_EQ(weight->type().element(),
                    computed ? ElementType::f32 : ElementType::bf16)
              << weight->name;
    }
    for (cpu::CpuLevel level : hostLevels()) {
      SCOPED_TRACE(cpu::variantName(level).str());
      auto load = [&](bool computed) {
        return loadVariant(bf16Module(upcycle, computed), Precision::f32, level,
                           2);
      };
      auto narrow = load(false), wide = load(true);
      ASSERT_TRUE(narrow && wide);
      for (std::vector<size_t> chunks :
           {std::vector<size_t>{37}, {1, 1, 9, 8, 1, 17}})
        EXPECT_EQ(runChunks(narrow, tokens, chunks),
                  runChunks(wide, tokens, chunks));
    }
  }
}

// Kernels are the same program: the interpreter gives the same bits.
TEST(Lowering, KeepsTheMeaning) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2};
  auto before = tinyModule();
  llvm::cantFail(upcycleModule(*before, "experts=4,top_k=2,init=drop"));
  auto after = tinyModule();
  llvm::cantFail(upcycleModule(*after, "experts=4,top_k=2,init=drop"));
  PassManager manager;
  manager.add(llvm::cantFail(parsePipeline(
      "simplify,cse,dce,fuse-qkv,expand-ffn,form-kernels", allPasses())));
  ASSERT_FALSE(bool(manager.run(*after)));
  std::vector<double> a = interpret(*before, Interpreter::Mode::f64, tokens);
  std::vector<double> b = interpret(*after, Interpreter::Mode::f64, tokens);
  EXPECT_EQ(a, b);
}
