#include "tools/driver/Receipt.h"

#include "ir/text/Parser.h"
#include "passes/upcycle/UpcycleOptions.h"
#include "tests/ir/weights/NoFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>

using namespace moec;
using testing::HasSubstr;
using testing::Not;

static const char kDense[] = R"(module @m {
  dim tokens <= 64
  fact "model.layers" = "2"
  weight @embed : tensor<[16, 8], f32> = normal({shape = [16, 8], deviation = 1.0, weight = "embed"})
  weight @layers.0.ffn.gate : tensor<[12, 8], f32> = normal({shape = [12, 8], deviation = 0.5, weight = "g0"})
  weight @layers.0.ffn.up : tensor<[12, 8], f32> = normal({shape = [12, 8], deviation = 0.5, weight = "u0"})
  weight @layers.0.ffn.down : tensor<[8, 12], f32> = normal({shape = [8, 12], deviation = 0.5, weight = "d0"})
  weight @layers.1.ffn.gate : tensor<[12, 8], f32> = normal({shape = [12, 8], deviation = 0.5, weight = "g1"})
  weight @layers.1.ffn.up : tensor<[12, 8], f32> = normal({shape = [12, 8], deviation = 0.5, weight = "u1"})
  weight @layers.1.ffn.down : tensor<[8, 12], f32> = normal({shape = [8, 12], deviation = 0.5, weight = "d1"})
  program @step(%tokens: tensor<[tokens], i32>) -> (y: tensor<[tokens, 8], f32>) {
    %0 = embedding @embed, %tokens : tensor<[tokens, 8], f32>
    %1 = ffn %0, @layers.0.ffn.gate, @layers.0.ffn.up, @layers.0.ffn.down : tensor<[tokens, 8], f32>
    %2 = add %0, %1 : tensor<[tokens, 8], f32>
    %3 = ffn %2, @layers.1.ffn.gate, @layers.1.ffn.up, @layers.1.ffn.down : tensor<[tokens, 8], f32>
    %4 = add %2, %3 : tensor<[tokens, 8], f32>
    return %4
  }
})";

static std::unique_ptr<Module> parse(llvm::StringRef text) {
  auto module = parseModule(text, "test.moe");
  if (!module) {
    ADD_FAILURE() << llvm::toString(module.takeError());
    return nullptr;
  }
  return std::move(*module);
}

/// What upcycling the module by these options measures.
static UpcycleReceipt measure(llvm::StringRef options) {
  UpcycleReceipt receipt;
  auto dense = parse(kDense), sparse = parse(kDense);
  if (!dense || !sparse)
    return receipt;
  EXPECT_EQ(llvm::toString(upcycleModule(*sparse, options)), "");
  ProbeOptions probe;
  probe.tokens = {1, 5, 2, 9, 14};
  NoFiles reader;
  EXPECT_EQ(llvm::toString(probeLayers(*dense, *sparse, probe, reader, receipt,
                                       [](uint64_t, uint64_t) {})),
            "");
  return receipt;
}

TEST(ReceiptTest, copiesAreTheDenseModel) {
  UpcycleReceipt receipt = measure("experts=4,top_k=2");
  ASSERT_EQ(receipt.layers.size(), 2u);
  EXPECT_TRUE(receipt.equalsDense);
  for (const LayerReceipt &layer : receipt.layers) {
    EXPECT_LE(layer.outputError, 1e-6);
    EXPECT_GT(layer.errorFloor, 0);
    EXPECT_EQ(layer.experts, 4);
    EXPECT_EQ(layer.topk, 2);
    EXPECT_EQ(std::accumulate(layer.load.begin(), layer.load.end(), 0), 10);
    ASSERT_TRUE(layer.cosine);
    EXPECT_EQ(layer.cosine->min, 1);
    ASSERT_TRUE(layer.router);
    EXPECT_EQ(layer.router->rank, 4);
    EXPECT_GE(layer.router->condition, 1);
    ASSERT_EQ(layer.matrices.size(), 3u);
    for (const MatrixReceipt &matrix : layer.matrices)
      for (double after : matrix.after)
        EXPECT_DOUBLE_EQ(after, matrix.before.value_or(0));
  }
}

TEST(ReceiptTest, redrawnExpertsDiffer) {
  UpcycleReceipt receipt = measure("experts=4,init=drop");
  EXPECT_FALSE(receipt.equalsDense);
  for (const LayerReceipt &layer : receipt.layers) {
    EXPECT_EQ(layer.measured, "differs");
    EXPECT_LT(layer.cosine->max, 0.99);
  }
}

// A router of zeros: every choice is a tie, and the matrix has no rank.
TEST(ReceiptTest, tiesAreCounted) {
  UpcycleReceipt receipt = measure("experts=4,router_init=zero");
  for (const LayerReceipt &layer : receipt.layers) {
    EXPECT_EQ(layer.ties, 5);
    EXPECT_EQ(layer.router->rank, 0);
    EXPECT_TRUE(std::isinf(layer.router->condition));
  }
}

// Copies of one group tie with each other, but never decide what is chosen.
TEST(ReceiptTest, wholeGroupsAreNoTies) {
  UpcycleReceipt receipt =
      measure("experts=8,top_k=4,init=virtual_group,granularity=4,"
              "scaling=exact,router=topk_softmax");
  EXPECT_TRUE(receipt.equalsDense);
  for (const LayerReceipt &layer : receipt.layers) {
    EXPECT_EQ(layer.ties, 0);
    EXPECT_EQ(layer.router->rank, 2);
    EXPECT_TRUE(std::isinf(layer.router->condition));
    EXPECT_TRUE(std::isfinite(layer.router->conditionOfRank));
    // Norms of slices are those of parts of the matrix, scaled.
    for (const MatrixReceipt &matrix : layer.matrices)
      EXPECT_EQ(matrix.after.size(), 8u);
  }
}

TEST(ReceiptTest, sharedExpertsArePartOfTheBlock) {
  UpcycleReceipt receipt =
      measure("experts=4,shared_experts=1,shared_init=copy");
  for (const LayerReceipt &layer : receipt.layers) {
    // Twice the dense output.
    EXPECT_NEAR(layer.outputError, 1, 1e-5);
    EXPECT_EQ(layer.matrices.size(), 6u);
  }
}

TEST(ReceiptTest, onlyUpcycledLayersAreMeasured) {
  UpcycleReceipt receipt = measure("experts=4,layers=\"1\"");
  ASSERT_EQ(receipt.layers.size(), 1u);
  EXPECT_EQ(receipt.layers[0].layer, 1);
}

TEST(ReceiptTest, keptPromisesAreNoError) {
  UpcycleReceipt receipt = measure("experts=4");
  UpcycleOptions options;
  options.experts = 4;
  receipt.promise = promiseOf(*parse(kDense), options);
  EXPECT_EQ(receipt.promise.exactness, "exact");
  ASSERT_TRUE(receipt.promise.bound);
  EXPECT_EQ(llvm::toString(checkPromise(receipt)), "");
}

// The options promise copies, but the model was made by others.
TEST(ReceiptTest, brokenPromiseNamesLayerBoundAndValue) {
  UpcycleReceipt receipt = measure("experts=4,init=drop,layers=\"1\"");
  UpcycleOptions options;
  options.experts = 4;
  receipt.promise = promiseOf(*parse(kDense), options);
  std::string text = llvm::toString(checkPromise(receipt));
  EXPECT_THAT(text, HasSubstr("layer 1"));
  EXPECT_THAT(text, HasSubstr("'exact'"));
  EXPECT_THAT(text, HasSubstr("within 1.00e-06"));
  EXPECT_THAT(text, HasSubstr("was measured"));
  std::string page;
  llvm::raw_string_ostream os(page);
  writeReceiptPage(receipt, os);
  EXPECT_THAT(page, HasSubstr("The promise is broken"));
}

// A comparison with NaN must not pass as small.
TEST(ReceiptTest, nanBreaksAPromise) {
  UpcycleReceipt receipt;
  receipt.promise = {"exact", 1e-6, {}, ""};
  receipt.layers.emplace_back();
  receipt.layers[0].outputError = NAN;
  EXPECT_NE(llvm::toString(checkPromise(receipt)), "");
}

TEST(ReceiptTest, nothingIsPromisedWithoutABound) {
  UpcycleReceipt receipt;
  receipt.promise.exactness = "none";
  receipt.layers.emplace_back();
  receipt.layers[0].outputError = 0.5;
  EXPECT_EQ(llvm::toString(checkPromise(receipt)), "");
}

TEST(ReceiptTest, pagesEscapeNamesAndShowCharts) {
  UpcycleReceipt receipt = measure("experts=4,init=drop");
  receipt.output = receipt.source = receipt.options = receipt.recipe =
      "<img src=x onerror=alert(1)>";
  receipt.sources = {{"<a&b>", "00"}, {"\xff", "11"}};
  std::string page;
  llvm::raw_string_ostream os(page);
  writeReceiptPage(receipt, os);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;a&amp;b&gt;"));
  for (const char *part : {"<svg", "Output error by layer", "Expert load",
                           "Likeness of experts", "Weight norms"})
    EXPECT_THAT(page, HasSubstr(part));
}

TEST(ReceiptTest, jsonHasNoInfinity) {
  UpcycleReceipt receipt = measure("experts=4,router_init=zero");
  std::string text;
  llvm::raw_string_ostream(text) << toJson(receipt);
  EXPECT_THAT(text, Not(HasSubstr("inf")));
  EXPECT_THAT(text, HasSubstr("\"condition\":null"));
}
