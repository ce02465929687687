//===- CompileTest.cpp - compiled models against the interpreter ----------===//
//
// A decoder of two layers with random weights, dense and upcycled, goes the
// whole way to machine code for every variant that this machine runs, and its
// logits are compared with the interpreter's: the error against the f64 mode is
// at most c times that of the typed mode plus a floor (design.md, 2.2).
//
//===----------------------------------------------------------------------===//

#include "frontend/importer/Importer.h"
#include "frontend/layers/Decoder.h"
#include "ir/interp/Interpreter.h"
#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"
#include "runtime/generate/Session.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/AnyModel.h"
#include "tools/driver/Compiler.h"
#include "tools/driver/Upcycler.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace moec;

namespace {
/// Shapes that are no multiples of any tile.
ModelConfig tinyConfig() {
  ModelConfig config;
  config.name = "tiny";
  config.layers = 2;
  config.hidden = 40;
  config.heads = 4;
  config.kvHeads = 2;
  config.headDim = 10;
  config.ffn = 52;
  config.vocab = 70;
  config.context = 128;
  config.tiedEmbeddings = true;
  config.attentionScale = 1 / std::sqrt(10.0);
  config.rope.dims = 10;
  return config;
}

void addNormal(Module &module, const std::string &name,
               std::vector<int64_t> shape, double mean, double deviation) {
  auto attrs = std::make_unique<NormalAttrs>();
  attrs->shape = std::move(shape);
  attrs->mean = mean;
  attrs->deviation = deviation;
  attrs->seed = 5;
  attrs->weight = name;
  module.addWeight(
      name, llvm::cantFail(Expr::make(ExprKind::Normal, {}, std::move(attrs))));
}

std::unique_ptr<Module> tinyModule() {
  ModelConfig config = tinyConfig();
  auto module = std::make_unique<Module>("tiny");
  addNormal(*module, "embed", {config.vocab, config.hidden}, 0, 0.5);
  addNormal(*module, "final_norm", {config.hidden}, 1, 0.1);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::string base = "layers." + std::to_string(layer) + ".";
    addNormal(*module, base + "attn_norm", {config.hidden}, 1, 0.1);
    addNormal(*module, base + "ffn_norm", {config.hidden}, 1, 0.1);
    int64_t q = config.heads * config.headDim,
            kv = config.kvHeads * config.headDim;
    addNormal(*module, base + "attn.q", {q, config.hidden}, 0, 0.15);
    addNormal(*module, base + "attn.k", {kv, config.hidden}, 0, 0.15);
    addNormal(*module, base + "attn.v", {kv, config.hidden}, 0, 0.15);
    addNormal(*module, base + "attn.o", {config.hidden, q}, 0, 0.15);
    addNormal(*module, base + "ffn.gate", {config.ffn, config.hidden}, 0, 0.15);
    addNormal(*module, base + "ffn.up", {config.ffn, config.hidden}, 0, 0.15);
    addNormal(*module, base + "ffn.down", {config.hidden, config.ffn}, 0, 0.15);
  }
  DecoderOptions options;
  options.blockSize = 16;
  llvm::cantFail(buildDecoder(*module, config, options));
  return module;
}

HostTensor weightOf(const Weight &weight) {
  CheckpointReader reader;
  std::vector<float> numbers =
      llvm::cantFail(materialize(*weight.expr, reader));
  std::vector<int64_t> shape;
  for (const Dim &dim : weight.type().shape())
    shape.push_back(dim.constant());
  HostTensor tensor = HostTensor::ofFloats(weight.type().element(), shape);
  std::copy(numbers.begin(), numbers.end(), tensor.floats.begin());
  return tensor;
}

/// Logits of every token, by the interpreter.
std::vector<double> interpret(const Module &module, Interpreter::Mode mode,
                              llvm::ArrayRef<int32_t> tokens) {
  const Program &step = *module.findProgram(facts::kStep);
  int64_t count = tokens.size();
  std::vector<int64_t> all(count);
  for (int64_t i = 0; i < count; ++i)
    all[i] = i;
  std::vector<HostTensor> arguments;
  for (unsigned i = 0; i < step.body().numArguments(); ++i) {
    Value argument = step.body().argument(i);
    if (argument.state()) {
      std::vector<int64_t> shape;
      for (const Dim &dim : argument.type().shape())
        shape.push_back(dim.isConstant() ? dim.constant() : 8);
      arguments.push_back(
          isFloat(argument.type().element())
              ? HostTensor::ofFloats(argument.type().element(), shape)
              : HostTensor::ofInts(argument.type().element(), shape));
    } else if (argument.hint() == facts::kInputTokens) {
      arguments.push_back(HostTensor::ofInts({tokens.begin(), tokens.end()}));
    } else if (argument.hint() == facts::kInputSeqOffsets) {
      arguments.push_back(HostTensor::ofInts(std::vector<int64_t>{0, count}));
    } else if (argument.hint() == facts::kInputBlockTable) {
      HostTensor table =
          HostTensor::ofInts(std::vector<int64_t>{3, 1, 4, 0, 5, 2, 7, 6});
      table.shape = {1, 8};
      arguments.push_back(std::move(table));
    } else {
      arguments.push_back(HostTensor::ofInts(all)); // positions, logit rows
    }
  }
  Interpreter interpreter(mode, [](const Weight &weight) {
    return llvm::Expected<HostTensor>(weightOf(weight));
  });
  auto results = interpreter.run(step, std::move(arguments));
  EXPECT_TRUE(bool(results)) << (results ? "" : toText(results.takeError()));
  return results ? (*results)[0].floats : std::vector<double>();
}

struct Case {
  const char *name;
  Precision precision;
  /// Options of upcycle; empty stays dense.
  const char *upcycle;
  /// The bound: c times the typed mode's error plus a floor, both relative to
  /// the largest logit. c: kernels sum in f32 where the typed mode sums in f64
  /// and rounds once, over chains of at most 52 products and 10 ops a layer.
  /// q8_0 computes from the same quantised weights, in f32.
  double c, floor;
};
std::ostream &operator<<(std::ostream &os, const Case &c) {
  return os << c.name;
}

class Compile : public testing::TestWithParam<Case> {};
} // namespace

static std::shared_ptr<const runtime::Model>
loadVariant(std::unique_ptr<Module> module, Precision precision,
            cpu::CpuLevel level, unsigned threads) {
  CompileRequest request;
  request.precision = precision;
  request.levels = {level};
  AnyModel model;
  model.module = std::move(module);
  runtime::ModelOptions options;
  options.variant = cpu::variantName(level).str();
  options.cpu.threads = threads;
  auto loaded = loadForRunning(std::move(model), request, std::move(options));
  EXPECT_TRUE(bool(loaded)) << (loaded ? "" : toText(loaded.takeError()));
  return loaded ? *loaded : nullptr;
}

/// Logits of every token, in chunks of the given sizes.
static std::vector<float> runChunks(std::shared_ptr<const runtime::Model> model,
                                    llvm::ArrayRef<int32_t> tokens,
                                    llvm::ArrayRef<size_t> chunks) {
  auto session = llvm::cantFail(runtime::Session::create(model));
  auto sequence = session->beginSequence();
  std::vector<float> logits;
  for (size_t size : chunks) {
    runtime::SequenceChunk chunk{sequence, tokens.take_front(size),
                                 runtime::WantedLogits::all};
    auto rows = session->forward(chunk);
    EXPECT_TRUE(bool(rows)) << (rows ? "" : toText(rows.takeError()));
    if (!rows)
      return logits;
    logits.insert(logits.end(), rows->begin(), rows->end());
    tokens = tokens.drop_front(size);
  }
  return logits;
}

TEST_P(Compile, AgreesWithTheInterpreter) {
  const Case &test = GetParam();
  std::vector<int32_t> tokens(37);
  std::mt19937 random(1);
  for (int32_t &token : tokens)
    token = random() % 70;

  auto make = [&] {
    auto module = tinyModule();
    if (*test.upcycle)
      llvm::cantFail(upcycleModule(*module, test.upcycle));
    return module;
  };
  // The interpreter runs what the compiler saw after types were converted.
  auto converted = make();
  {
    PassManager manager;
    std::string types = test.precision == Precision::bf16
                            ? "convert-types{weights=bf16,activations=bf16}"
                        : test.precision == Precision::q8_0
                            ? "convert-types{weights=q8_0,activations=f32}"
                            : "convert-types";
    manager.add(llvm::cantFail(parsePipeline(types, allPasses())));
    ASSERT_FALSE(bool(manager.run(*converted)));
  }
  std::vector<double> exact =
      interpret(*converted, Interpreter::Mode::f64, tokens);
  std::vector<double> typed =
      interpret(*converted, Interpreter::Mode::typed, tokens);
  ASSERT_EQ(exact.size(), tokens.size() * 70);
  double largest = 0, typedError = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::abs(exact[i]));
    typedError = std::max(typedError, std::abs(typed[i] - exact[i]));
  }
  for (cpu::CpuLevel level : hostLevels()) {
    SCOPED_TRACE(cpu::variantName(level).str());
    auto one = loadVariant(make(), test.precision, level, 1);
    ASSERT_TRUE(one);
    std::vector<float> whole = runChunks(one, tokens, {37});
    ASSERT_EQ(whole.size(), exact.size());
    double worst = 0;
    for (size_t i = 0; i < exact.size(); ++i)
      worst = std::max(worst, std::abs(whole[i] - exact[i]));
    EXPECT_LE(worst, test.c * typedError + test.floor * largest);
    // Another split into steps takes other programs (small batches sort
    // nothing) and other tiles; sums keep their order.
    std::vector<float> parts = runChunks(one, tokens, {1, 1, 9, 8, 1, 17});
    double apart = 0;
    for (size_t i = 0; i < whole.size(); ++i)
      apart = std::max<double>(apart, std::abs(whole[i] - parts[i]));
    EXPECT_LE(apart, test.c * typedError + test.floor * largest);
    // Threads and runs never change a bit.
    auto two = loadVariant(make(), test.precision, level, 2);
    ASSERT_TRUE(two);
    std::vector<float> again = runChunks(two, tokens, {37});
    EXPECT_EQ(0, memcmp(whole.data(), again.data(), whole.size() * 4));
    std::vector<float> third = runChunks(two, tokens, {37});
    EXPECT_EQ(0, memcmp(whole.data(), third.data(), whole.size() * 4));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Compile,
    testing::Values(
        Case{"dense_f32", Precision::f32, "", 4, 2e-6},
        Case{"dense_bf16", Precision::bf16, "", 4, 1e-3},
        Case{"dense_q8_0", Precision::q8_0, "", 4, 2e-6},
        Case{"copy_f32", Precision::f32, "experts=5,top_k=3", 4, 2e-6},
        Case{"drop_f32", Precision::f32, "experts=5,top_k=2,init=drop", 4,
             2e-6},
        Case{"topk_softmax_f32", Precision::f32,
             "experts=4,top_k=2,init=drop,router=topk_softmax", 4, 2e-6},
        Case{"no_renorm_f32", Precision::f32,
             "experts=4,top_k=1,init=drop,router=softmax_topk", 4, 2e-6},
        Case{"copy_bf16", Precision::bf16, "experts=5,top_k=2", 4, 1e-3},
        Case{"drop_q8_0", Precision::q8_0, "experts=4,top_k=2,init=drop", 4,
             2e-6},
        Case{"one_layer_f32", Precision::f32,
             "experts=4,top_k=2,init=drop,layers=\"1\"", 4, 2e-6}),
    [](const auto &info) { return std::string(info.param.name); });

// Copies whose weights sum to one compute the dense function, whatever the
// router and k.
TEST(Upcycled, CopyEqualsDense) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2, 60, 7, 7, 41};
  std::vector<double> dense =
      interpret(*tinyModule(), Interpreter::Mode::f64, tokens);
  for (const char *options :
       {"experts=4,top_k=1", "experts=4,top_k=2", "experts=4,top_k=3",
        "experts=4,top_k=4", "experts=4,top_k=2,router=topk_softmax"}) {
    auto module = tinyModule();
    llvm::cantFail(upcycleModule(*module, options));
    std::vector<double> sparse =
        interpret(*module, Interpreter::Mode::f64, tokens);
    for (size_t i = 0; i < dense.size(); ++i)
      ASSERT_NEAR(sparse[i], dense[i], 1e-10) << options;
  }
}

// Kernels are the same program: the interpreter gives the same bits.
TEST(Lowering, KeepsTheMeaning) {
  std::vector<int32_t> tokens{1, 5, 9, 33, 2};
  auto before = tinyModule();
  llvm::cantFail(upcycleModule(*before, "experts=4,top_k=2,init=drop"));
  auto after = tinyModule();
  llvm::cantFail(upcycleModule(*after, "experts=4,top_k=2,init=drop"));
  PassManager manager;
  manager.add(llvm::cantFail(parsePipeline(
      "simplify,cse,dce,fuse-qkv,expand-ffn,form-kernels", allPasses())));
  ASSERT_FALSE(bool(manager.run(*after)));
  std::vector<double> a = interpret(*before, Interpreter::Mode::f64, tokens);
  std::vector<double> b = interpret(*after, Interpreter::Mode::f64, tokens);
  EXPECT_EQ(a, b);
}
