// What the parser cannot build, but a wrong pass can.

#include "ir/verify/Verifier.h"
#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"

#include "gtest/gtest.h"

using namespace moec;

namespace {

ExprRef fill(std::vector<int64_t> shape) {
  auto attrs = std::make_unique<FillAttrs>();
  attrs->shape = std::move(shape);
  return llvm::cantFail(Expr::make(ExprKind::Fill, {}, std::move(attrs)));
}

ExprRef refTo(Weight *weight) {
  return llvm::cantFail(Expr::make(ExprKind::Ref, {}, nullptr, weight));
}

struct VerifierTest : ::testing::Test {
  Module module{"m"}, other{"other"};
  Program *program = module.addProgram("p");
  TensorType type{{4}, ElementType::f32};
  Value x = program->body().addArgument(type, "x");
  Builder b{program->body()};

  VerifierTest() { b.setLoc(Location::ofObject("op")); }
  void end(Value value) {
    b.create(OpKind::Return, {value}, {});
    program->resultNames = {"y"};
  }
  std::string problem() const { return toText(verify(module)); }
};

TEST_F(VerifierTest, AcceptsWhatIsRight) {
  end(b.make(OpKind::Scale, {x}, type));
  EXPECT_EQ(problem(), "");
}

TEST_F(VerifierTest, UseBeforeDefinition) {
  Value first = b.make(OpKind::Scale, {x}, type);
  Value second = b.make(OpKind::Scale, {x}, type);
  first.definingOp()->setOperand(0, second);
  end(first);
  EXPECT_EQ(problem(),
            "op: error: 'scale' reads operand 0 before it is defined\n"
            "op: note: it is defined here");
}

TEST_F(VerifierTest, ValueOfAnotherProgram) {
  Program *second = module.addProgram("q");
  Value foreign = second->body().addArgument(type, "foreign");
  end(b.make(OpKind::Scale, {foreign}, type));
  EXPECT_EQ(problem(),
            "op: error: 'scale' reads operand 0 from outside of its block");
}

TEST_F(VerifierTest, WeightOfAnotherModule) {
  Weight *foreign = other.addWeight("w", fill({4}));
  end(b.make(OpKind::Add, {x, foreign->value()}, type));
  EXPECT_EQ(problem(),
            "op: error: 'add' reads a weight of another module as operand 1");
  program->body().terminator()->setOperand(0, x);
  program->body().ops().front().erase();
}

TEST_F(VerifierTest, DimensionOfAnotherModule) {
  DimSymbol *foreign = other.addDim("t", 4);
  program->body().addArgument(TensorType({foreign}, ElementType::f32), "z");
  end(x);
  EXPECT_EQ(problem(), "error: argument 1 has the bad type tensor<[t], f32>: "
                       "dimension 't' is not one of this module");
}

TEST_F(VerifierTest, StateOfAnotherModule) {
  State *foreign = other.addState("s", StateKind::kv, type);
  program->body().addArgument(type, "s", foreign);
  end(x);
  EXPECT_EQ(problem(), "error: argument 1 is a version of the state 's' of "
                       "another module");
}

TEST_F(VerifierTest, ArgumentThatIsNotTheStatesType) {
  State *state = module.addState("s", StateKind::kv, type);
  program->body().addArgument(TensorType({8}, ElementType::f32), "s", state);
  end(x);
  EXPECT_EQ(problem(), "error: argument 1 is tensor<[8], f32>, but the state "
                       "'s' is tensor<[4], f32>");
}

TEST_F(VerifierTest, BodyOfAnOpThatHasNone) {
  Operation *op = b.create(OpKind::Scale, {x}, {type});
  op->addBody();
  end(op->result());
  EXPECT_EQ(problem(), "op: error: 'scale' has a body, but is no kernel op");
}

TEST_F(VerifierTest, WeightThatRefersToALaterOne) {
  Weight *first = module.addWeight("first", fill({4}));
  Weight *second = module.addWeight("second", fill({4}));
  module.redefine(first, refTo(second));
  end(x);
  EXPECT_EQ(problem(), "error: weight 'first' refers to 'second', which is "
                       "not declared before it");
}

// A weight that changes its type leaves those who refer to it behind.
TEST_F(VerifierTest, ReferenceToAnOlderType) {
  Weight *first = module.addWeight("first", fill({4}));
  module.addWeight("second", refTo(first));
  module.redefine(first, fill({8}));
  end(x);
  EXPECT_EQ(problem(), "error: weight 'second' refers to 'first' as "
                       "tensor<[4], f32>, which has become tensor<[8], f32>");
}

TEST_F(VerifierTest, FileOfAnotherModule) {
  SourceFile *foreign = other.addFile("f", "path");
  auto attrs = std::make_unique<SourceAttrs>();
  attrs->shape = {4};
  module.addWeight(
      "w", llvm::cantFail(Expr::make(ExprKind::Source, {}, std::move(attrs),
                                     nullptr, foreign)));
  end(x);
  EXPECT_EQ(problem(), "error: weight 'w' reads a file of another module");
}

TEST_F(VerifierTest, NamesAndBoundsOfDimensions) {
  end(x);
  DimSymbol *tokens = module.addDim("tokens", 4);
  EXPECT_EQ(problem(), "");
  tokens->setMaximum(0);
  EXPECT_EQ(problem(), "error: dimension 'tokens' has the maximum 0, expects 1 "
                       "to 2^40");
  tokens->setMaximum(4);
  module.addRagged("r", Polynomial::of(tokens, -1));
  EXPECT_EQ(problem(), "error: dimension 'r' has the bound -1*tokens, expects "
                       "coefficients from 1 to 2^40");
}

TEST_F(VerifierTest, RaggedBoundOfARaggedDimension) {
  end(x);
  DimSymbol *ragged = module.addRagged("r", Polynomial(3));
  module.addRagged("q", Polynomial::of(ragged));
  EXPECT_EQ(problem(), "error: dimension 'q' is bounded by 'r', which no 'dim' "
                       "before it declares");
}

TEST_F(VerifierTest, NameThatTextCannotHold) {
  end(x);
  module.addDim("two words", 4);
  EXPECT_EQ(problem(), "error: 'two words' is no name of a dimension; expects "
                       "letters, digits, '_' and '.'");
}

TEST_F(VerifierTest, ArgumentsWithOneName) {
  program->body().addArgument(type, "x");
  end(x);
  EXPECT_EQ(problem(), "error: argument 1 of program 'p' needs a name of its "
                       "own, got 'x'");
}

TEST_F(VerifierTest, ResultTooLarge) {
  TensorType huge({int64_t(1) << 40, int64_t(1) << 40}, ElementType::f32);
  end(b.make(OpKind::Scale, {x}, huge));
  EXPECT_EQ(problem(),
            "op: error: 'scale' has the bad result type "
            "tensor<[1099511627776, 1099511627776], f32>: it is larger than "
            "2^62 bytes");
}

TEST_F(VerifierTest, BadTypeOfAState) {
  end(x);
  module.addState("s", StateKind::kv, TensorType({-1}, ElementType::f32));
  EXPECT_EQ(problem(), "error: state 's' has the bad type tensor<[-1], f32>: "
                       "a dimension is negative");
}

} // namespace
