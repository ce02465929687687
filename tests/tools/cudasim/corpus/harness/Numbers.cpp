#include "tests/tools/cudasim/corpus/harness/Numbers.h"

#include <gtest/gtest.h>

namespace corpus {

void expectClose(const std::vector<double> &got,
                 const std::vector<double> &want, Tolerance tolerance,
                 const std::string &what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  size_t worst = 0, wrong = 0;
  double worstExcess = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])))
      continue;
    double allowed = tolerance.absolute + tolerance.relative * fabs(want[i]);
    double excess = fabs(got[i] - want[i]) - allowed;
    if (excess <= 0)
      continue;
    ++wrong;
    if (!(excess <= worstExcess)) { // Also where the excess is no number.
      worst = i;
      worstExcess = excess;
    }
  }
  EXPECT_EQ(wrong, 0u) << what << ": " << wrong << " of " << got.size()
                       << " are off, the worst at " << worst << ": got "
                       << got[worst] << ", expected " << want[worst];
}

} // namespace corpus
