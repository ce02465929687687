#include "ir/core/Module.h"

#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace moec;

namespace {

template <typename T> std::string str(const T &value) {
  std::string text;
  llvm::raw_string_ostream os(text);
  value.print(os);
  return text;
}

struct DimTest : ::testing::Test {
  Module module{"m"};
  DimSymbol *tokens = module.addDim("tokens", 512);
  DimSymbol *seqs = module.addDim("seqs", 8);
  DimSymbol *pairs =
      module.addRagged("pairs", Polynomial::of(tokens, 2) + Polynomial(3));
};

// One polynomial has one form, however it was built.
TEST_F(DimTest, PolynomialsAreCanonical) {
  Polynomial a = (Polynomial::of(seqs) + Polynomial(1)) *
                 (Polynomial::of(tokens) + Polynomial(2));
  Polynomial b = Polynomial::of(tokens) + Polynomial(2);
  b += Polynomial::of(tokens) * Polynomial::of(seqs);
  b += Polynomial::of(seqs, 2);
  EXPECT_EQ(a, b);
  EXPECT_EQ(str(a), "2 + tokens + tokens*seqs + 2*seqs");
}

TEST_F(DimTest, TermsThatCancelGoAway) {
  Polynomial a = Polynomial::of(tokens, 3) + Polynomial::of(tokens, -3);
  EXPECT_EQ(a, Polynomial());
  EXPECT_EQ(a.constant(), 0);
  EXPECT_EQ(str(a), "0");
}

TEST_F(DimTest, HostBoundReplacesRaggedSymbols) {
  Polynomial rows = Polynomial::of(pairs) * Polynomial::of(pairs);
  EXPECT_EQ(str(rows.hostBound()), "9 + 12*tokens + 4*tokens*tokens");
}

TEST_F(DimTest, EvaluateRefusesOverflow) {
  Polynomial cube =
      Polynomial::of(tokens) * Polynomial::of(tokens) * Polynomial::of(tokens);
  EXPECT_EQ(cube.evaluate([](const DimSymbol *) { return 100; }), 1000000);
  EXPECT_EQ(cube.evaluate([](const DimSymbol *) { return int64_t(1) << 31; }),
            std::nullopt);
  Polynomial sum(INT64_MAX);
  sum += Polynomial::of(tokens);
  EXPECT_EQ(sum.evaluate([](const DimSymbol *) { return 1; }), std::nullopt);
}

// Symbols are compared by identity, not by what they may be.
TEST_F(DimTest, DimensionsCompareByIdentity) {
  EXPECT_EQ(Dim(tokens, 1), Dim(tokens, 1));
  EXPECT_NE(Dim(tokens, 1), Dim(tokens));
  EXPECT_NE(Dim(tokens), Dim(seqs));
  EXPECT_EQ(str(Dim(tokens, 1)), "tokens+1");
}

TEST_F(DimTest, NamesAreUnique) {
  EXPECT_EQ(module.addDim("tokens", 3), nullptr);
  EXPECT_EQ(module.addRagged("seqs", Polynomial(3)), nullptr);
  EXPECT_EQ(module.findDim("pairs"), pairs);
}

// The limit is 2^62 bytes, at the maxima of symbols and bounds.
TEST_F(DimTest, SizeProblemsAreFound) {
  auto problem = [](std::initializer_list<Dim> dims, ElementType element) {
    return TensorType(llvm::ArrayRef<Dim>(dims), element).sizeProblem();
  };
  constexpr int64_t k2To60 = int64_t(1) << 60;
  EXPECT_EQ(problem({k2To60}, ElementType::f32), "");
  EXPECT_NE(problem({k2To60, 2}, ElementType::f32), "");
  EXPECT_EQ(problem({k2To60, 2}, ElementType::bf16), "");
  EXPECT_NE(problem({k2To60 / 256, tokens}, ElementType::f32), "");
  EXPECT_EQ(problem({k2To60 / 512, tokens}, ElementType::f32), "");
  EXPECT_NE(problem({k2To60 / 512, pairs}, ElementType::f32), "");
  // A zero hides nothing.
  EXPECT_NE(problem({Dim(int64_t(0)), k2To60, 2}, ElementType::f32), "");
  EXPECT_EQ(problem({Dim(int64_t(0)), 4}, ElementType::f32), "");
  EXPECT_NE(problem({-1}, ElementType::f32), "");
  EXPECT_NE(problem({Dim(tokens, -1)}, ElementType::f32), "");
  EXPECT_NE(problem({INT64_MAX, INT64_MAX}, ElementType::i8), "");
  EXPECT_NE(problem({Dim(tokens, INT64_MAX)}, ElementType::i8), "");
  EXPECT_EQ(
      TensorType(std::vector<Dim>(16, Dim(1)), ElementType::i8).sizeProblem(),
      "");
  EXPECT_NE(
      TensorType(std::vector<Dim>(17, Dim(1)), ElementType::i8).sizeProblem(),
      "");
  // Rows are whole blocks.
  EXPECT_EQ(problem({3, 64}, ElementType::q8_0), "");
  EXPECT_NE(problem({64, 3}, ElementType::q8_0), "");
  EXPECT_NE(problem({}, ElementType::q8_0), "");
  EXPECT_NE(problem({32, tokens}, ElementType::q8_0), "");
  EXPECT_NE(problem({128}, ElementType::q4_k), "");
}

} // namespace
