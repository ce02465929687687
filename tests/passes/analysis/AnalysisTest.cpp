#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "ir/text/Parser.h"
#include "ir/verify/Verifier.h"
#include "passes/analysis/Flops.h"

#include "gtest/gtest.h"

#include <map>

using namespace moec;

namespace {

std::unique_ptr<Module> parse(llvm::StringRef text) {
  auto module = parseModule(text, "test.moe");
  if (!module) {
    ADD_FAILURE() << toText(module.takeError());
    return nullptr;
  }
  if (llvm::Error err = verify(**module)) {
    ADD_FAILURE() << toText(std::move(err));
    return nullptr;
  }
  return std::move(*module);
}

// 2 layers of work by hand: a linear of 8x16 counts 2*8*16 operations.
TEST(FlopsTest, CountsProductsAndAttention) {
  auto module = parse(R"(module @m {
    dim t <= 64
    dim s <= 2
    dim n <= 8
    dim c <= 8
    state @k : kv tensor<[n, 1, 4, 32], f32>
    state @v : kv tensor<[n, 1, 32, 4], f32>
    weight @table : tensor<[100, 8], f32> = fill({shape = [100, 8]})
    weight @q : tensor<[16, 8], f32> = fill({shape = [16, 8]})
    program @p(%i: tensor<[t], i32>, %p: tensor<[t], i32>,
               %o: tensor<[s+1], i32>, %b: tensor<[s, c], i32>,
               %k: state @k, %v: state @v) -> (y: tensor<[t, 16], f32>) {
      %x = embedding @table, %i : tensor<[t, 8], f32>
      %q = linear %x, @q : tensor<[t, 16], f32>
      %y = attention %q, %k, %v, %p, %o, %b {heads = 4} : tensor<[t, 16], f32>
      return %y
    }
  })");
  ASSERT_TRUE(module);
  ModelCost cost = costOf(*module->findProgram("p"), /*context=*/100);
  EXPECT_EQ(cost.flopsPerToken, 2 * 8 * 16 + 2 * 2 * 16 * 100);
  EXPECT_EQ(cost.parameters, 100u * 8 + 16 * 8);
  EXPECT_EQ(cost.activeParameters, cost.parameters);
  EXPECT_EQ(cost.weightBytes, cost.parameters * 4);
}

// A token works for 2 of 8 experts, and reads a quarter of their weights.
TEST(FlopsTest, CountsChosenExpertsOnly) {
  auto module = parse(R"(module @m {
    dim t <= 64
    ragged pairs <= 2*t
    weight @r : tensor<[8, 32], f32> = fill({shape = [8, 32]})
    weight @w : tensor<[8, 64, 32], bf16> = cast(fill({shape = [8, 64, 32]}), {element = bf16})
    weight @d : tensor<[8, 32, 64], bf16> = cast(fill({shape = [8, 32, 64]}), {element = bf16})
    program @p(%x: tensor<[t, 32], f32>) -> (y: tensor<[pairs, 32], f32>) {
      %l = linear %x, @r : tensor<[t, 8], f32>
      %o, %e, %p = moe.route %l {k = 2} : tensor<[t+1], i32>, tensor<[pairs], i32>, tensor<[pairs], f32>
      %y = moe.experts %x, %o, %e, @w, @w, @d : tensor<[pairs, 32], f32>
      return %y
    }
  })");
  ASSERT_TRUE(module);
  ModelCost cost = costOf(*module->findProgram("p"), /*context=*/1);
  EXPECT_EQ(cost.flopsPerToken, 2 * 8 * 32 + 2 * 3 * (2 * 64 * 32));
  EXPECT_EQ(cost.parameters, 8u * 32 + 2 * (8 * 64 * 32));
  EXPECT_EQ(cost.activeParameters, 8u * 32 + 2 * (2 * 64 * 32));
  EXPECT_EQ(cost.weightBytes, 4u * 8 * 32 + 2 * 2 * (8 * 64 * 32));
  EXPECT_EQ(cost.activeWeightBytes, 4u * 8 * 32 + 2 * 2 * (2 * 64 * 32));
}

// Kernels cost what their bodies cost.
TEST(FlopsTest, LooksIntoKernels) {
  auto module = parse(R"(module @m {
    dim t <= 64
    ragged pairs <= 2*t
    weight @w : tensor<[8, 16, 32], f32> = fill({shape = [8, 16, 32]})
    program @p(%x: tensor<[t, 32], f32>, %l: tensor<[t, 8], f32>) -> (y: tensor<[pairs, 16], f32>) {
      %o, %e, %p = moe.route %l {k = 2} : tensor<[t+1], i32>, tensor<[pairs], i32>, tensor<[pairs], f32>
      %y = kernel.ragged_gemm(%x, %o, %e, @w) {form = direct} {
        ^(%x: tensor<[t, 32], f32>, %o: tensor<[t+1], i32>, %e: tensor<[pairs], i32>, %w: tensor<[8, 16, 32], f32>):
        %y = moe.grouped_linear %x, %o, %e, %w {gather = true} : tensor<[pairs, 16], f32>
        yield %y
      } : tensor<[pairs, 16], f32>
      return %y
    }
  })");
  ASSERT_TRUE(module);
  ModelCost cost = costOf(*module->findProgram("p"), /*context=*/1);
  EXPECT_EQ(cost.flopsPerToken, 2 * 2 * 16 * 32);
  EXPECT_EQ(cost.parameters, 8u * 16 * 32);
  EXPECT_EQ(cost.activeParameters, 2u * 16 * 32);
}

} // namespace
