#include "ir/binary/Binary.h"
#include "ir/binary/ModuleFile.h"
#include "ir/binary/module_generated.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "ir/verify/Verifier.h"
#include "tests/ir/support/TemporaryFolder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cstring>

using namespace moec;
using ::testing::HasSubstr;

namespace {

constexpr llvm::StringLiteral kText = R"(module @small {
  dim tokens <= 512
  ragged pairs.0 <= 2*tokens
  file @src = "model.gguf" {bytes = 12}
  fact "context" = "2048"
  asset @tokenizer = base64 "AAECAw=="
  state @count : counter tensor<[4], i64>
  weight @w : tensor<[4, 8], f32> = scale(source(@src, {key = "w", shape = [4, 8]}), {factor = -0.0}) loc("blk.0")
  program @main(%x: tensor<[tokens, 8], f32>, %count: state @count) -> (y: tensor<[tokens+1], i32>, count: state @count) {
    %l = linear %x, @w : tensor<[tokens, 4], f32> loc("a.py":3:4)
    %0, %1, %2 = moe.route %l {k = 2} : tensor<[tokens+1], i32>, tensor<[pairs.0], i32>, tensor<[pairs.0], f32>
    %count_1 = kernel.route(%count, %1) {
      ^(%c: state @count, %e: tensor<[pairs.0], i32>):
      %0 = moe.count %c, %e : state @count
      yield %0
    } : state @count
    return %0, %count_1
  }
}
)";

std::string smallBinary() {
  auto module = llvm::cantFail(parseModule(kText, "small.moe"));
  return llvm::cantFail(writeBinary(*module));
}

/// The message of reading `bytes`; empty where they are read.
std::string problemOf(llvm::StringRef bytes) {
  auto module = readBinary(bytes, "m.moeg");
  if (!module)
    return toText(module.takeError());
  return toText(verify(**module));
}

TEST(BinaryTest, HoldsWhatTheTextHolds) {
  auto module = llvm::cantFail(readBinary(smallBinary(), "m.moeg"));
  EXPECT_EQ(printModule(*module), kText);
  EXPECT_EQ(module->assets["tokenizer"], std::string("\0\1\2\3", 4));
}

// The same module gives the same bytes.
TEST(BinaryTest, IsDeterministic) {
  EXPECT_EQ(smallBinary(), smallBinary());
  auto again = llvm::cantFail(readBinary(smallBinary(), "m.moeg"));
  EXPECT_EQ(llvm::cantFail(writeBinary(*again)), smallBinary());
}

TEST(BinaryTest, RefusesNewerMajorNamingBoth) {
  std::string bytes = smallBinary();
  auto *root = flatbuffers::GetMutableRoot<flatbuffers::Table>(bytes.data());
  ASSERT_TRUE(root->SetField<uint16_t>(fb::Module::VT_MAJOR, 2, 0));
  EXPECT_EQ(problemOf(bytes),
            "m.moeg: error: is a module of version 2.0, this program reads "
            "version 1.0");
}

TEST(BinaryTest, SaysWhatIsNoModule) {
  EXPECT_THAT(problemOf(""), HasSubstr("expects a binary module of 8 bytes"));
  EXPECT_THAT(problemOf("no flatbuffer at all"),
              HasSubstr("expects the identifier 'MOEG' at byte 4"));
}

// A prefix lacks nothing but padding, or is no module.
TEST(BinaryTest, RefusesEveryTruncation) {
  std::string bytes = smallBinary();
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto module = readBinary(llvm::StringRef(bytes).take_front(size), "m.moeg");
    if (!module) {
      EXPECT_NE(toText(module.takeError()), "");
      continue;
    }
    EXPECT_GT(size + 8, bytes.size());
    EXPECT_EQ(printModule(**module), kText);
  }
}

// Whatever one byte is changed to, the reader answers, and what it accepts
// still prints and reads back.
TEST(BinaryTest, SurvivesEveryChangedByte) {
  std::string bytes = smallBinary();
  for (size_t at = 0; at < bytes.size(); ++at)
    for (unsigned char flip : {0x01, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[at] ^= flip;
      auto module = readBinary(changed, "m.moeg");
      if (!module) {
        EXPECT_NE(toText(module.takeError()), "");
        continue;
      }
      if (llvm::Error err = verify(**module)) {
        EXPECT_NE(toText(std::move(err)), "");
        continue;
      }
      std::string text = printModule(**module);
      auto parsed = parseModule(text, "printed.moe");
      ASSERT_TRUE(bool(parsed)) << toText(parsed.takeError());
      EXPECT_EQ(printModule(**parsed), text);
    }
}

/// Writes modules that no writer of ours would.
struct HostileTest : ::testing::Test {
  fb::ModuleT module;
  HostileTest() {
    module.major = kModuleMajor;
    module.name = "m";
  }
  fb::ExprT &addExpr(std::string kind) {
    auto expr = std::make_unique<fb::ExprT>();
    expr->kind = std::move(kind);
    module.exprs.push_back(std::move(expr));
    return *module.exprs.back();
  }
  void addWeight(std::string name, uint32_t expr) {
    auto weight = std::make_unique<fb::WeightT>();
    weight->name = std::move(name);
    weight->expr = expr;
    module.weights.push_back(std::move(weight));
  }
  fb::AttrT &addAttr(fb::ExprT &expr, std::string name, fb::AttrKind kind) {
    auto attr = std::make_unique<fb::AttrT>();
    attr->name = std::move(name);
    attr->kind = kind;
    expr.attrs.push_back(std::move(attr));
    return *expr.attrs.back();
  }
  fb::ExprT &addFill(std::vector<int64_t> shape) {
    fb::ExprT &expr = addExpr("fill");
    addAttr(expr, "shape", fb::AttrKind::integers).integers = std::move(shape);
    return expr;
  }
  fb::OpT &addOp(std::string mnemonic) {
    if (module.programs.empty()) {
      auto program = std::make_unique<fb::ProgramT>();
      program->name = "p";
      program->block = std::make_unique<fb::BlockT>();
      module.programs.push_back(std::move(program));
    }
    auto op = std::make_unique<fb::OpT>();
    op->mnemonic = std::move(mnemonic);
    auto &ops = module.programs[0]->block->ops;
    ops.push_back(std::move(op));
    return *ops.back();
  }
  std::string problem() const {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(fb::CreateModule(builder, &module), fb::ModuleIdentifier());
    return problemOf(
        llvm::StringRef(reinterpret_cast<char *>(builder.GetBufferPointer()),
                        builder.GetSize()));
  }
};

TEST_F(HostileTest, UnknownExpression) {
  addExpr("foo");
  addWeight("w", 0);
  EXPECT_EQ(problem(), "m.moeg: w: error: unknown expression 'foo'");
}

TEST_F(HostileTest, ExpressionOutOfRange) {
  addWeight("w", 5);
  EXPECT_EQ(problem(), "m.moeg: w: error: is expression 5 of 0");
}

TEST_F(HostileTest, ExpressionThatReadsItself) {
  addExpr("scale").args = {0};
  addWeight("w", 0);
  EXPECT_THAT(problem(), HasSubstr("reads expression 0, but only 0 stand"));
}

TEST_F(HostileTest, WeightThatRefersToALaterOne) {
  addExpr("ref").weight = 1;
  addFill({4});
  addWeight("w", 0);
  addWeight("v", 1);
  EXPECT_THAT(problem(), HasSubstr("refers to weight 1, but only 0 stand"));
}

TEST_F(HostileTest, ShapesWhoseProductOverflows) {
  addFill({int64_t(1) << 40, int64_t(1) << 40});
  addWeight("w", 0);
  EXPECT_THAT(problem(), HasSubstr("'fill' has a shape whose size in bytes"));
}

TEST_F(HostileTest, UnknownAttribute) {
  addAttr(addFill({4}), "depth", fb::AttrKind::integer);
  addWeight("w", 0);
  EXPECT_EQ(problem(), "m.moeg: w: error: there is no attribute 'depth' here");
}

TEST_F(HostileTest, AttributeOfAnotherKind) {
  addAttr(addExpr("fill"), "shape", fb::AttrKind::integer);
  addWeight("w", 0);
  EXPECT_EQ(problem(), "m.moeg: w: error: attribute 'shape' is integers, "
                       "found 'integer'");
}

TEST_F(HostileTest, RealWithoutNumber) {
  addAttr(addFill({4}), "value", fb::AttrKind::real);
  addWeight("w", 0);
  EXPECT_THAT(problem(), HasSubstr("has 0 numbers, expects 1"));
}

TEST_F(HostileTest, UnknownOp) {
  addOp("foo");
  EXPECT_EQ(problem(), "m.moeg: program 'p', op 0: error: unknown op 'foo'");
}

TEST_F(HostileTest, OperandOutOfRange) {
  addOp("return").operands = {0};
  EXPECT_THAT(problem(), HasSubstr("op 0: error: reads value 0 of 0"));
}

TEST_F(HostileTest, WeightOperandOutOfRange) {
  addOp("return").operands = {INT32_MIN};
  EXPECT_THAT(problem(), HasSubstr("reads weight 2147483647 of 0"));
}

TEST_F(HostileTest, BodyOfAnOpThatHasNone) {
  addOp("return").body = std::make_unique<fb::BlockT>();
  EXPECT_THAT(problem(), HasSubstr("only kernel ops have a body"));
}

TEST_F(HostileTest, DeepBodies) {
  fb::OpT *op = &addOp("kernel.rowwise");
  for (int i = 0; i < 12; ++i) {
    op->body = std::make_unique<fb::BlockT>();
    auto inner = std::make_unique<fb::OpT>();
    inner->mnemonic = "kernel.rowwise";
    op->body->ops.push_back(std::move(inner));
    op = op->body->ops[0].get();
  }
  EXPECT_THAT(problem(), HasSubstr("bodies nest deeper than 8"));
}

TEST_F(HostileTest, ResultOfAnUnknownDimension) {
  auto value = std::make_unique<fb::ValueT>();
  value->type = std::make_unique<fb::TypeT>();
  value->type->element = "f32";
  value->type->dims.push_back(fb::Dim(3, 0));
  addOp("kernel.rowwise").results.push_back(std::move(value));
  EXPECT_THAT(problem(), HasSubstr("names dimension 3 of 0"));
}

TEST_F(HostileTest, ResultOfAnUnknownState) {
  auto value = std::make_unique<fb::ValueT>();
  value->state = 7;
  addOp("kernel.rowwise").results.push_back(std::move(value));
  EXPECT_THAT(problem(), HasSubstr("names state 7 of 0"));
}

TEST_F(HostileTest, ResultWithoutType) {
  addOp("kernel.rowwise").results.push_back(std::make_unique<fb::ValueT>());
  EXPECT_THAT(problem(), HasSubstr("a type is missing"));
}

TEST_F(HostileTest, RaggedDimensionBoundedByItself) {
  auto dim = std::make_unique<fb::DimSymbolT>();
  dim->name = "r";
  dim->ragged = true;
  dim->bound.push_back(std::make_unique<fb::TermT>());
  dim->bound[0]->coefficient = 1;
  dim->bound[0]->symbols = {0};
  module.dims.push_back(std::move(dim));
  EXPECT_THAT(problem(), HasSubstr("r: error: is bounded by dimension 0"));
}

TEST_F(HostileTest, RaggedDimensionBoundedByNothing) {
  auto dim = std::make_unique<fb::DimSymbolT>();
  dim->name = "r";
  dim->ragged = true;
  module.dims.push_back(std::move(dim));
  EXPECT_THAT(problem(), HasSubstr("r: error: the bound has no terms"));
}

TEST_F(HostileTest, RaggedDimensionOfLikeTerms) {
  auto dim = std::make_unique<fb::DimSymbolT>();
  dim->name = "r";
  dim->ragged = true;
  for (int i = 0; i < 2; ++i) {
    dim->bound.push_back(std::make_unique<fb::TermT>());
    dim->bound.back()->coefficient = int64_t(1) << 40;
  }
  module.dims.push_back(std::move(dim));
  EXPECT_THAT(problem(), HasSubstr("r: error: coefficient 2199023255552 is "
                                   "outside [1, 2^40]"));
}

// A list that many tables share must not be copied for each.
TEST(BinaryLimitsTest, SharedListsAreCharged) {
  flatbuffers::FlatBufferBuilder b;
  auto list = b.CreateVector(std::vector<double>(20000, 1));
  auto field = b.CreateSharedString("inverse_frequencies");
  auto mnemonic = b.CreateSharedString("rope");
  std::vector<flatbuffers::Offset<fb::Attr>> attr{
      fb::CreateAttr(b, field, fb::AttrKind::reals, 0, 0, 0, list)};
  auto attrs = b.CreateVector(attr);
  std::vector<flatbuffers::Offset<fb::Op>> ops;
  for (int i = 0; i < 20000; ++i)
    ops.push_back(fb::CreateOp(b, mnemonic, 0, 0, attrs));
  auto opList = b.CreateVector(ops);
  auto block = fb::CreateBlock(b, 0, opList);
  auto name = b.CreateSharedString("p");
  std::vector<flatbuffers::Offset<fb::Program>> programs{
      fb::CreateProgram(b, name, 0, block)};
  auto programList = b.CreateVector(programs);
  b.Finish(fb::CreateModule(b, kModuleMajor, 0, name, 0, 0, 0, 0, 0, 0, 0,
                            programList),
           fb::ModuleIdentifier());
  EXPECT_THAT(problemOf(llvm::StringRef(
                  reinterpret_cast<char *>(b.GetBufferPointer()), b.GetSize())),
              HasSubstr("shared more than 64 times over"));
}

struct ModuleFileTest : ::testing::Test {
  TemporaryFolder temporary;
  const std::string &folder = temporary.path();
};

TEST_F(ModuleFileTest, LoadsWhatItSavedInEitherForm) {
  auto module = llvm::cantFail(parseModule(kText, "small.moe"));
  for (ModuleForm form : {ModuleForm::text, ModuleForm::binary}) {
    std::string path = folder + "/m.moe";
    ASSERT_EQ(toText(saveModule(*module, path, form)), "");
    auto loaded = loadModule(path);
    ASSERT_TRUE(bool(loaded)) << toText(loaded.takeError());
    EXPECT_EQ(printModule(**loaded), kText);
    EXPECT_EQ((*loaded)->baseFolder, folder);
  }
}

// Paths of checkpoints mean the same file from the new folder.
TEST_F(ModuleFileTest, SavingElsewhereKeepsCheckpoints) {
  auto module = llvm::cantFail(parseModule(kText, "small.moe"));
  ASSERT_EQ(toText(saveModule(*module, folder + "/a.moe", ModuleForm::text)),
            "");
  EXPECT_EQ(module->findFile("src")->path, "model.gguf");
  ASSERT_FALSE(llvm::sys::fs::create_directory(folder + "/sub"));
  auto loaded = llvm::cantFail(loadModule(folder + "/a.moe"));
  ASSERT_EQ(
      toText(saveModule(*loaded, folder + "/sub/b.moe", ModuleForm::text)), "");
  auto moved = llvm::cantFail(loadModule(folder + "/sub/b.moe"));
  EXPECT_EQ(moved->findFile("src")->path, folder + "/model.gguf");
}

TEST_F(ModuleFileTest, SaysWhatCannotBeRead) {
  auto missing = loadModule(folder + "/none.moe");
  ASSERT_FALSE(bool(missing));
  EXPECT_EQ(toText(missing.takeError()),
            folder +
                "/none.moe: error: cannot be read: No such file or directory");
  auto directory = loadModule(folder);
  ASSERT_FALSE(bool(directory));
  EXPECT_THAT(toText(directory.takeError()), HasSubstr("cannot be read: "));
}

// What is loaded is verified; the message shows the line.
TEST_F(ModuleFileTest, VerifiesWhatItLoads) {
  std::string path = temporary.write(
      "bad.moe", "module @m {\n  program @p() -> () {\n  }\n}\n");
  auto bad = loadModule(path);
  ASSERT_FALSE(bool(bad));
  std::string text = toText(bad.takeError());
  EXPECT_THAT(text, HasSubstr(path + ":2:11: error: a program ends in"));
  EXPECT_THAT(text, HasSubstr(" 2 |   program @p() -> () {\n"));
}

TEST_F(ModuleFileTest, SaysWhatCannotBeWritten) {
  auto module = llvm::cantFail(parseModule(kText, "small.moe"));
  EXPECT_NE(toText(saveModule(*module, folder + "/no/such/folder.moe",
                              ModuleForm::text)),
            "");
}

} // namespace
