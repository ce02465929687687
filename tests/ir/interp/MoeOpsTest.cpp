//===- MoeOpsTest.cpp - experts, combine and gated heads ------------------===//

#include "ir/core/Module.h"
#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeBlock.h"
#include "ir/text/Parser.h"
#include "ir/verify/Verifier.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using testing::ElementsAre;

namespace {

/// Weights are fills, which the interpreter asks for.
llvm::Expected<HostTensor> filled(const Weight &weight) {
  std::vector<int64_t> shape;
  for (const Dim &dim : weight.type().shape())
    shape.push_back(dim.constant());
  HostTensor tensor = HostTensor::ofFloats(ElementType::f32, shape);
  std::fill(tensor.floats.begin(), tensor.floats.end(),
            weight.expr->attrs<FillAttrs>().value);
  return tensor;
}

HostTensor matrix(int64_t columns, std::vector<double> numbers) {
  HostTensor tensor = HostTensor::ofFloats(
      ElementType::f32, {int64_t(numbers.size()) / columns, columns});
  tensor.floats = std::move(numbers);
  return tensor;
}

/// The first result of the only program of a module.
std::vector<double> run(llvm::StringRef text,
                        std::vector<HostTensor> arguments) {
  auto module = llvm::cantFail(parseModule(text, "test.moe"));
  EXPECT_EQ(toText(verify(*module)), "");
  Interpreter interpreter(Interpreter::Mode::f64, filled);
  auto results = llvm::cantFail(
      interpreter.run(*module->programs().front(), std::move(arguments)));
  return results[0].floats;
}

} // namespace

// Token 1 has no pairs and gets zeros; experts 1 and 3 have none either.
TEST(MoeOps, TokenWithoutPairsGetsZeros) {
  std::vector<double> y =
      run(R"(
    module @m {
      dim t <= 4
      ragged pairs <= 4*t
      weight @up : tensor<[4, 2, 2], f32> = fill({shape = [4, 2, 2], value = 1.0})
      weight @down : tensor<[4, 2, 2], f32> = fill({shape = [4, 2, 2], value = 0.5})
      program @p(%x: tensor<[t, 2], f32>, %l: tensor<[t, 4], f32>) -> (y: tensor<[t, 2], f32>) {
        %o, %e, %w = moe.route %l {k = 4, score = relu, select = threshold} : tensor<[t+1], i32>, tensor<[pairs], i32>, tensor<[pairs], f32>
        %h = moe.experts %x, %o, %e, @up, @down {fn = relu, gated = false} : tensor<[pairs, 2], f32>
        %y = moe.combine %h, %o, %w : tensor<[t, 2], f32>
        return %y
      }
    })",
          {matrix(2, {1, 2, 3, 4, 5, 6}),
           matrix(4, {2, -1, 1, 0, -1, -1, -1, -1, 0, 0, 4, -1})});
  // relu(1 + 2) summed over two hidden numbers, halved, is 3.
  EXPECT_THAT(y, ElementsAre(9, 9, 0, 0, 44, 44));
}

// down (w h) + bias: the weight is in front of the bias.
TEST(MoeOps, WeightAppliesToTheHiddenBlock) {
  std::vector<double> y = run(R"(
    module @m {
      dim t <= 4
      ragged pairs <= t
      weight @up : tensor<[2, 2, 2], f32> = fill({shape = [2, 2, 2], value = 1.0})
      weight @down : tensor<[2, 2, 2], f32> = fill({shape = [2, 2, 2], value = 0.5})
      weight @bias : tensor<[2, 2], f32> = fill({shape = [2, 2], value = 10.0})
      program @p(%x: tensor<[t, 2], f32>, %l: tensor<[t, 2], f32>) -> (y: tensor<[t, 2], f32>) {
        %o, %e, %w = moe.route %l {score = identity} : tensor<[t+1], i32>, tensor<[pairs], i32>, tensor<[pairs], f32>
        %h = moe.experts %x, %o, %e, @up, @down, @bias, @bias, %w {fn = relu, gated = false, biased = true, weighted_hidden = true} : tensor<[pairs, 2], f32>
        %y = moe.combine %h, %o : tensor<[t, 2], f32>
        return %y
      }
    })",
                              {matrix(2, {1, 2}), matrix(2, {3, 1})});
  EXPECT_THAT(y, ElementsAre(3 * 13 + 10, 3 * 13 + 10));
}

TEST(MoeOps, WeighMultipliesRows) {
  HostTensor weight = HostTensor::ofFloats(ElementType::f32, {2});
  weight.floats = {3, -1};
  EXPECT_THAT(run(R"(
    module @m {
      dim t <= 4
      program @p(%x: tensor<[t, 2], f32>, %w: tensor<[t], f32>) -> (y: tensor<[t, 2], f32>) {
        %y = moe.weigh %x, %w : tensor<[t, 2], f32>
        return %y
      }
    })",
                  {matrix(2, {1, 2, 3, 4}), weight}),
              ElementsAre(3, 6, -3, -4));
}

TEST(MoeOps, ColumnOnTheRightRepeatsAlongRows) {
  EXPECT_THAT(run(R"(
    module @m {
      dim t <= 4
      program @p(%x: tensor<[t, 2], f32>, %c: tensor<[t, 1], f32>) -> (y: tensor<[t, 2], f32>) {
        %0 = mul %x, %c : tensor<[t, 2], f32>
        %1 = add %0, %c : tensor<[t, 2], f32>
        %y = sub %1, %c : tensor<[t, 2], f32>
        return %y
      }
    })",
                  {matrix(2, {1, 2, 3, 4}), matrix(1, {5, -1})}),
              ElementsAre(5, 10, -3, -4));
}

// Four heads of one column and two experts: heads 0 and 2 are of expert 0. NaN
// of a head that is not chosen does not come through.
TEST(MoeOps, GateHeadsTakesHeadsOfChosenExperts) {
  EXPECT_THAT(
      run(R"(
    module @m {
      dim t <= 4
      ragged pairs <= t
      program @p(%x: tensor<[t, 4], f32>, %l: tensor<[t, 2], f32>) -> (y: tensor<[t, 4], f32>) {
        %o, %e, %w = moe.route %l {score = identity} : tensor<[t+1], i32>, tensor<[pairs], i32>, tensor<[pairs], f32>
        %y = moe.gate_heads %x, %o, %e, %w {heads = 4, experts = 2} : tensor<[t, 4], f32>
        return %y
      }
    })",
          {matrix(4, {1, NAN, 3, 4, 5, 6, 7, 8}), matrix(2, {2, 1, 1, 3})}),
      ElementsAre(2, 0, 6, 0, 0, 18, 0, 24));
}
