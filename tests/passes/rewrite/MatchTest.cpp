#include "passes/rewrite/Match.h"
#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/ops/TensorOps.h"
#include "passes/rewrite/Rewrite.h"

#include "gtest/gtest.h"

using namespace moec;

namespace {

struct MatchTest : ::testing::Test {
  Module module{"m"};
  Program *program = module.addProgram("p");
  TensorType type{{4, 4}, ElementType::f32};
  Value x = program->body().addArgument(type, "x");
  Value y = program->body().addArgument(type, "y");
  Builder b{program->body()};

  Value add(Value left, Value right) {
    return b.make(OpKind::Add, {left, right}, type);
  }
  Value scale(Value value, double factor = 1) {
    ScaleAttrs attrs;
    attrs.factor = factor;
    return b.make(OpKind::Scale, {value}, type, attrs);
  }
};

TEST_F(MatchTest, BindsOperands) {
  Value left, right;
  Value sum = add(x, scale(y));
  ASSERT_TRUE(match(sum, m_Op<OpKind::Add>(m_Bind(left), m_Op<OpKind::Scale>(
                                                             m_Bind(right)))));
  EXPECT_EQ(left, x);
  EXPECT_EQ(right, y);
}

TEST_F(MatchTest, TellsKindsAndNumbersOfOperands) {
  EXPECT_FALSE(match(x, m_Op<OpKind::Scale>(m_Any())));
  EXPECT_FALSE(match(scale(x), m_Op<OpKind::Cast>(m_Any())));
  EXPECT_FALSE(match(add(x, y), m_Op<OpKind::Add>(m_Any())));
  EXPECT_TRUE(match(add(x, y), m_Op<OpKind::Add>(m_Any(), m_Any())));
}

// m_Same sees what a matcher to its left has bound.
TEST_F(MatchTest, SameIsTheSameValue) {
  Value bound;
  auto doubled = m_Op<OpKind::Add>(m_Bind(bound), m_Same(bound));
  EXPECT_TRUE(match(add(x, x), doubled));
  EXPECT_FALSE(match(add(x, y), doubled));
}

TEST_F(MatchTest, OneUseCountsReaders) {
  Value once = scale(x), twice = scale(y);
  add(once, twice);
  add(twice, x);
  auto scaled = m_OneUse(m_Op<OpKind::Scale>(m_Any()));
  EXPECT_TRUE(match(once, scaled));
  EXPECT_FALSE(match(twice, scaled));
}

// Erasing a reader erases what only it read, however long the chain; a deep
// one must not exhaust the stack.
TEST_F(MatchTest, RewritingALongChainEndsInNothing) {
  Value value = x;
  for (int i = 0; i < 100000; ++i)
    value = scale(value);
  b.create(OpKind::Return, {value}, {});
  static constexpr RewriteRule rules[] = {
      {OpKind::Scale, "forward", [](Operation &op, Rewriter &rewriter) {
         rewriter.replace(op, op.operand(0));
         return true;
       }}};
  unsigned fired = 0;
  rewrite(*program, rules, [&](llvm::StringRef) { ++fired; });
  EXPECT_EQ(fired, 100000u);
  EXPECT_EQ(program->body().ops().size(), 1u);
  EXPECT_EQ(program->body().terminator()->operand(0), x);
}

// The replacement of a root takes the dead part of its tree along, but not
// what others read.
TEST_F(MatchTest, ReplaceErasesDeadOperandsOnly) {
  Value shared = scale(x, 2), alone = scale(y, 3);
  Value sum = add(shared, alone);
  Value other = add(shared, sum);
  b.create(OpKind::Return, {other}, {});
  static constexpr RewriteRule rules[] = {
      {OpKind::Add, "second operand of a sum of scales",
       [](Operation &op, Rewriter &rewriter) {
         Value left;
         if (!match(op.operand(1), m_Op<OpKind::Add>(m_Bind(left), m_Any())))
           return false;
         rewriter.replace(op, left);
         return true;
       }}};
  unsigned fired = 0;
  rewrite(*program, rules, [&](llvm::StringRef) { ++fired; });
  EXPECT_EQ(fired, 1u);
  ASSERT_EQ(program->body().ops().size(), 2u);
  EXPECT_EQ(program->body().terminator()->operand(0), shared);
}

} // namespace
