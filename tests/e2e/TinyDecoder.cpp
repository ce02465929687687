#include "tests/e2e/TinyDecoder.h"

#include "frontend/importer/Importer.h"
#include "frontend/layers/Decoder.h"
#include "ir/weights/Materialize.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/AnyModel.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace moec;

/// Shapes that are no multiples of any tile.
static ModelConfig tinyConfig() {
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

void test::addNormal(Module &module, const std::string &name,
                     std::vector<int64_t> shape, double mean,
                     double deviation) {
  auto attrs = std::make_unique<NormalAttrs>();
  attrs->shape = std::move(shape);
  attrs->mean = mean;
  attrs->deviation = deviation;
  attrs->seed = 5;
  attrs->weight = name;
  module.addWeight(
      name, llvm::cantFail(Expr::make(ExprKind::Normal, {}, std::move(attrs))));
}

std::unique_ptr<Module> test::tinyModule() {
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

static HostTensor weightOf(const Weight &weight) {
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
std::vector<double> test::interpret(const Module &module,
                                    Interpreter::Mode mode,
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

std::shared_ptr<const runtime::Model>
test::loadVariant(std::unique_ptr<Module> module, Precision precision,
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
std::vector<float> test::runChunks(std::shared_ptr<const runtime::Model> model,
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
