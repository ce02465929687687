#include "ir/core/Module.h"
#include "ir/core/Builder.h"

#include "gtest/gtest.h"

using namespace moec;

namespace {

ExprRef fill(std::vector<int64_t> shape) {
  auto attrs = std::make_unique<FillAttrs>();
  attrs->shape = std::move(shape);
  return llvm::cantFail(Expr::make(ExprKind::Fill, {}, std::move(attrs)));
}

struct ModuleTest : ::testing::Test {
  Module module{"m"};
  Program *program = module.addProgram("p");
  TensorType type{{4}, ElementType::f32};
  Value x = program->body().addArgument(type, "x");
  Builder b{program->body()};
};

TEST_F(ModuleTest, UsersFollowOperands) {
  Value a = b.make(OpKind::Scale, {x}, type);
  Operation *sum = b.create(OpKind::Add, {a, a}, {type});
  EXPECT_EQ(a.users().size(), 2u);
  sum->setOperand(1, x);
  EXPECT_TRUE(a.hasOneUse());
  EXPECT_EQ(x.users().size(), 2u);
  a.replaceAllUsesWith(x);
  EXPECT_TRUE(a.isUnused());
  EXPECT_EQ(sum->operand(0), x);
  a.definingOp()->erase();
  EXPECT_EQ(x.users().size(), 2u);
}

TEST_F(ModuleTest, OpsHaveNeighbours) {
  Operation *first = b.create(OpKind::Scale, {x}, {type});
  Operation *last = b.create(OpKind::Scale, {x}, {type});
  EXPECT_EQ(first->previous(), nullptr);
  EXPECT_EQ(first->next(), last);
  last->moveBefore(first);
  EXPECT_EQ(last->next(), first);
  EXPECT_EQ(program->body().terminator(), first);
}

TEST_F(ModuleTest, NamesAreUniquePerKind) {
  EXPECT_EQ(module.addProgram("p"), nullptr);
  Weight *weight = module.addWeight("p", fill({4}));
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(module.addWeight("p", fill({4})), nullptr);
  EXPECT_EQ(module.findWeight("p"), weight);
  EXPECT_NE(module.addState("p", StateKind::kv, type), nullptr);
  EXPECT_EQ(module.addState("p", StateKind::kv, type), nullptr);
  EXPECT_NE(module.addFile("p", "a"), nullptr);
  EXPECT_EQ(module.addFile("p", "b"), nullptr);
}

// What is erased is forgotten by name, too.
TEST_F(ModuleTest, WeightsStatesAndFilesAreErased) {
  Weight *weight = module.addWeight("w", fill({4}));
  State *state = module.addState("s", StateKind::kv, type);
  module.eraseWeight(weight);
  module.eraseState(state);
  module.eraseFile(module.addFile("f", "a"));
  EXPECT_EQ(module.findFile("f"), nullptr);
  EXPECT_EQ(module.findWeight("w"), nullptr);
  EXPECT_EQ(module.findState("s"), nullptr);
  EXPECT_NE(module.addWeight("w", fill({4})), nullptr);
}

TEST_F(ModuleTest, RedefinedWeightsChangeTheirType) {
  Weight *weight = module.addWeight("w", fill({4}));
  Value user = b.make(OpKind::Add, {x, weight->value()}, type);
  module.redefine(weight, fill({8}));
  EXPECT_EQ(user.definingOp()->operand(1).type(),
            TensorType({8}, ElementType::f32));
}

// The depth of an expression counts the weights that it refers to.
TEST_F(ModuleTest, DepthOfExpressionsIsBounded) {
  auto scaled = [](ExprRef arg) {
    return Expr::make(ExprKind::Scale, {std::move(arg)}, nullptr);
  };
  ExprRef expr = fill({4});
  EXPECT_EQ(expr->depth, 1u);
  while (expr->depth < kMaxExprDepth - 1)
    expr = llvm::cantFail(scaled(expr));
  Weight *weight = module.addWeight("deep", expr);
  ExprRef ref = llvm::cantFail(Expr::make(ExprKind::Ref, {}, nullptr, weight));
  EXPECT_EQ(ref->depth, kMaxExprDepth);
  auto deeper = scaled(ref);
  ASSERT_FALSE(bool(deeper));
  EXPECT_EQ(llvm::toString(deeper.takeError()),
            "error: 'scale' nests deeper than 200 expressions");
}

// So is what an expression comes to where shared parts are written out: each
// level doubles it.
TEST_F(ModuleTest, SizeOfExpressionsIsBounded) {
  auto doubled = [](ExprRef arg) {
    return Expr::make(ExprKind::Add, {arg, arg}, nullptr);
  };
  ExprRef expr = fill({4});
  EXPECT_EQ(expr->nodes, 1u);
  for (unsigned level = 1; level < 20; ++level) {
    expr = llvm::cantFail(doubled(expr));
    EXPECT_EQ(expr->nodes, (2u << level) - 1);
  }
  Weight *weight = module.addWeight("wide", expr);
  ExprRef ref = llvm::cantFail(Expr::make(ExprKind::Ref, {}, nullptr, weight));
  EXPECT_EQ(ref->nodes, expr->nodes + 1);
  auto wider = doubled(ref);
  ASSERT_FALSE(bool(wider));
  EXPECT_EQ(llvm::toString(wider.takeError()),
            "error: 'add' is more than 1048576 expressions, shared ones "
            "counted each time");
}

struct AllKinds final : AttrsOf<AllKinds> {
  int64_t integer = 1;
  double real = 0.5;
  std::vector<int64_t> list;
  std::string text;
  template <typename V> void fields(V &v) {
    v.field("integer", integer);
    v.field("real", real);
    v.field("list", list);
    v.field("text", text);
  }
};

TEST(AttributesTest, DefaultsAreNotPrinted) {
  AllKinds attrs;
  EXPECT_EQ(attrs.str(), "");
  attrs.real = 1;
  attrs.text = "a\"b\x01";
  EXPECT_EQ(attrs.str(), "{real = 1.0, text = \"a\\\"b\\x01\"}");
  attrs.list = {1, 2, 3};
  EXPECT_EQ(attrs.str(2),
            "{real = 1.0, list = [1, 2, ...], text = \"a\\\"b\\x01\"}");
  EXPECT_EQ(attrs.clone()->str(), attrs.str());
  EXPECT_EQ(attrs.makeDefault()->str(), "");
}

TEST(AttributesTest, DoublesReadBack) {
  for (double value : {0.1, 1e-300, 123456789.0, 1e22, -0.0, 5e-324, 1.0 / 3})
    EXPECT_EQ(std::strtod(formatDouble(value).c_str(), nullptr), value)
        << formatDouble(value);
  EXPECT_EQ(formatDouble(-0.0), "-0.0");
  EXPECT_EQ(formatDouble(1e22), "1e+22");
  EXPECT_EQ(formatDouble(-std::numeric_limits<double>::infinity()), "-inf");
}

} // namespace
