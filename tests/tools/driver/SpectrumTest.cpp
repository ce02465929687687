#include "tools/driver/Spectrum.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace moec;

TEST(SpectrumTest, diagonalMatrixHasItsOwnValues) {
  std::vector<float> matrix{0, 3, 0, 0, 0, 2};
  auto values = singularValues(matrix, 2, 3);
  ASSERT_EQ(values.size(), 2u);
  EXPECT_NEAR(values[0], 3, 1e-12);
  EXPECT_NEAR(values[1], 2, 1e-12);
  EXPECT_EQ(numericalRank(values), 2);
}

// (1, 1; 1, -1; 1, 1) has columns of norm sqrt 3 and product 1: its squares are
// 3 + 1 and 3 - 1.
TEST(SpectrumTest, tallAndWideMatricesAgree) {
  std::vector<float> tall{1, 1, 1, -1, 1, 1}, wide{1, 1, 1, 1, -1, 1};
  for (auto values : {singularValues(tall, 3, 2), singularValues(wide, 2, 3)}) {
    ASSERT_EQ(values.size(), 2u);
    EXPECT_NEAR(values[0], 2, 1e-12);
    EXPECT_NEAR(values[1], std::sqrt(2.0), 1e-12);
  }
}

// Virtual groups repeat router rows: each copy takes away one of the rank.
TEST(SpectrumTest, repeatedRowsLackRank) {
  std::vector<float> matrix{1, 2, 3, 4, 1, 2, 3, 4, 4, -1, 0, 2};
  auto values = singularValues(matrix, 3, 4);
  EXPECT_EQ(numericalRank(values), 2);
  EXPECT_NEAR(values[2], 0, 1e-7);
}

TEST(SpectrumTest, zerosHaveNoRank) {
  EXPECT_EQ(numericalRank(singularValues(std::vector<float>(12), 3, 4)), 0);
}

TEST(SpectrumTest, nanEndsAndHasNoRank) {
  std::vector<float> matrix(16, NAN);
  EXPECT_EQ(numericalRank(singularValues(matrix, 4, 4)), 0);
}

// The sum of the eigenvalues is the trace, that of their squares the norm.
TEST(SpectrumTest, eigenvaluesKeepTraceAndNorm) {
  int64_t size = 24;
  std::vector<double> matrix(size * size);
  double trace = 0, norm = 0;
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double value = std::sin(1.7 * i + 0.3) * std::cos(2.1 * j);
      matrix[i * size + j] = matrix[j * size + i] = value;
      norm += (i == j ? 1 : 2) * value * value;
      trace += i == j ? value : 0;
    }
  double sum = 0, squares = 0;
  for (double value : symmetricEigenvalues(matrix, size)) {
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum, trace, 1e-11);
  EXPECT_NEAR(squares, norm, 1e-10);
}
