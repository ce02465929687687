//===- RowsTest.cpp - every row of OpForms.def has a numeric test ---------===//
//
// OpFormsTest compares the rows that compute one value from others; all other
// rows have a check by their op. A row with neither fails here.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

namespace cudasim::test {
namespace {

using ptx::Op;

FormCheck checkOf(Op op) {
  switch (op) {
  case Op::Ld:
    return checkLoad;
  case Op::St:
    return checkStore;
  case Op::Cvta:
  case Op::CvtaTo:
  case Op::Isspacep:
    return checkWindow;
  case Op::Prefetch:
    return checkPrefetch;
  case Op::CpAsync:
    return checkAsyncCopy;
  case Op::CpAsyncCommit:
  case Op::CpAsyncWait:
    return checkAsyncWait;
  case Op::Atom:
  case Op::Red:
    return checkAtomic;
  case Op::Ldmatrix:
  case Op::Stmatrix:
    return checkMatrixAccess;
  case Op::Movmatrix:
    return checkMatrixMove;
  case Op::Mma:
    return checkMatrixMultiply;
  case Op::Shfl:
    return checkShuffle;
  case Op::Vote:
    return checkVote;
  case Op::Match:
    return checkMatch;
  case Op::Redux:
    return checkRedux;
  case Op::Activemask:
  case Op::Elect:
    return checkLanes;
  case Op::BarSync:
  case Op::BarArrive:
  case Op::BarRed:
  case Op::BarWarp:
    return checkBarrier;
  case Op::Membar:
  case Op::Fence:
  case Op::FenceProxy:
    return checkFence;
  case Op::Bra:
  case Op::Call:
  case Op::Ret:
  case Op::Exit:
  case Op::Trap:
  case Op::Brkpt:
  case Op::Nanosleep:
  case Op::GridDep:
    return checkControl;
  case Op::Mov:
    return checkMove;
  case Op::AddCc:
  case Op::Addc:
  case Op::SubCc:
  case Op::Subc:
  case Op::MadCc:
  case Op::Madc:
    return checkCarry;
  case Op::Min3:
  case Op::Max3:
    return checkThree;
  case Op::Setp:
  case Op::Set:
    return checkPairs;
  case Op::CvtFp8:
    return checkFp8;
  default:
    return nullptr;
  }
}

/// Comparisons of pairs are spellings of rows that OpFormsTest also looks at.
bool isForCheck(const ptx::FormRow &row, const std::string &spelling) {
  bool compares = row.op == Op::Setp || row.op == Op::Set;
  return !compares || llvm::StringRef(spelling).ends_with("x2");
}

class Rows : public ::testing::TestWithParam<size_t> {};

TEST_P(Rows, agrees_with_the_reference) {
  const ptx::FormRow &row = ptx::formRows()[GetParam()];
  size_t checked = 0;
  for (const std::string &spelling : chosenSpellings(row.pattern)) {
    if (!isForCheck(row, spelling))
      continue;
    checkOf(row.op)(Spelling(spelling));
    ++checked;
    if (HasFailure())
      return;
  }
  // Only a row of comparisons may have nothing for the check of pairs.
  EXPECT_TRUE(checked > 0 || isTestedByValue(row)) << row.pattern.str();
}

std::vector<size_t> rowsWithChecks() {
  std::vector<size_t> rows;
  for (size_t i = 0; i < ptx::formRows().size(); ++i) {
    const ptx::FormRow &row = ptx::formRows()[i];
    bool pairs = row.pattern.contains("x2");
    if (checkOf(row.op) && (!isTestedByValue(row) || pairs))
      rows.push_back(i);
  }
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Forms, Rows, ::testing::ValuesIn(rowsWithChecks()),
                         [](const ::testing::TestParamInfo<size_t> &info) {
                           const ptx::FormRow &row =
                               ptx::formRows()[info.param];
                           return ptx::nameOf(row.op).str() +
                                  std::to_string(info.param);
                         });

TEST(FormCoverage, every_row_has_a_test) {
  ASSERT_FALSE(ptx::formRows().empty());
  for (const ptx::FormRow &row : ptx::formRows())
    EXPECT_TRUE(isTestedByValue(row) || checkOf(row.op))
        << "no test for " << row.pattern.str();
}

TEST(FormCoverage, every_spelling_is_the_table_s) {
  // What chosenSpellings makes of a pattern, the table reads as that row or
  // one with the same op, and every alternative occurs.
  for (const ptx::FormRow &row : ptx::formRows()) {
    if (isTestedByValue(row))
      continue; // all of their spellings are tested
    std::string all;
    for (const std::string &spelling : chosenSpellings(row.pattern))
      all += "." + spelling + ".";
    llvm::StringRef rest = row.pattern;
    while (rest.contains('{')) {
      auto [group, after] = rest.split('{').second.split('}');
      rest = after;
      llvm::SmallVector<llvm::StringRef> choices;
      group.split(choices, '|');
      for (llvm::StringRef choice : choices) {
        choice.consume_front(".");
        EXPECT_TRUE(choice.empty() ||
                    llvm::StringRef(all).contains("." + choice.str() + "."))
            << choice.str() << " of " << row.pattern.str();
      }
    }
  }
}

TEST(FormCoverage, what_nvrtc_emits_is_tested) {
  const char *const emitted[] = {
#define EMITTED(FORM) FORM,
#include "tests/tools/cudasim/machine/NvrtcForms.def"
  };
  for (const char *text : emitted) {
    Spelling form(text);
    llvm::SmallVector<llvm::StringRef> words;
    llvm::StringRef(text).split(words, '.');
    const ptx::FormRow *row = nullptr;
    for (size_t operands = 0; operands < 8 && !row; ++operands)
      row = ptx::findForm(words, operands).row;
    if (!row) {
      ADD_FAILURE() << "no row for " << text;
      continue;
    }
    // All spellings of rows that are tested by value are; of others this one.
    if (isTestedByValue(*row))
      continue;
    FormCheck check = checkOf(row->op);
    ASSERT_TRUE(check) << "no test for " << text;
    check(form);
  }
}

} // namespace
} // namespace cudasim::test
