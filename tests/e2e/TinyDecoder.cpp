#include "tests/e2e/TinyDecoder.h"

#include "frontend/importer/Importer.h"
#include "frontend/layers/Decoder.h"
#include "ir/weights/Materialize.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/AnyModel.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using namespace moec::test;

/// Shapes that are no multiples of any tile.
static ModelConfig tinyConfig(Kind kind) {
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
  switch (kind) {
  case Kind::llama:
    break;
  case Kind::capped:
    config.normPlace = NormPlace::both;
    config.attentionSoftcap = 1.5;
    config.logitSoftcap = 4;
    config.embeddingScale = std::sqrt(40.0);
    config.windows = {9, 0};
    config.activation = Activation::geluTanh;
    break;
  case Kind::postNorm:
    config.normPlace = NormPlace::after;
    config.qkNorm = QkNorm::row;
    config.clipQkv = 1.25;
    config.residualScale = 0.75;
    config.logitScale = 0.5;
    break;
  case Kind::biased:
    config.norm = NormKind::layer;
    config.activation = Activation::squaredRelu;
    config.gatedFfn = false;
    config.ffnBias = config.qkvBias = config.outBias = true;
    config.rope.dims = 4;
    break;
  case Kind::latent:
    config.mla.emplace();
    config.mla->qRank = 18;
    config.mla->kvRank = 14;
    config.kvHeads = config.heads;
    config.valueDim = 7;
    config.rope.dims = 4;
    config.rope.magnitude = 1.25;
    break;
  }
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

namespace {
/// Normal numbers for every weight that a config needs.
class TinyWeights {
public:
  TinyWeights(Module &module, const ModelConfig &config)
      : module(module), config(config) {}

  void add() {
    addNormal(module, "embed", {config.vocab, config.hidden}, 0, 0.5);
    addNorm("final_norm");
    for (int64_t layer = 0; layer < config.layers; ++layer)
      addLayer("layers." + std::to_string(layer) + ".");
  }

private:
  void addGain(const std::string &name, int64_t width) {
    addNormal(module, name, {width}, 1, 0.1);
  }
  void addNorm(const std::string &name) {
    addGain(name, config.hidden);
    if (config.norm == NormKind::layer)
      addNormal(module, name + ".bias", {config.hidden}, 0, 0.1);
  }
  void addLinear(const std::string &name, int64_t out, int64_t in,
                 bool biased = false) {
    addNormal(module, name, {out, in}, 0, 0.15);
    if (biased)
      addNormal(module, name + ".bias", {out}, 0, 0.1);
  }
  void addLayer(const std::string &base) {
    for (std::string part : {"attn", "ffn"}) {
      if (config.normPlace != NormPlace::after)
        addNorm(base + part + "_norm");
      if (config.normPlace != NormPlace::before)
        addNorm(base + part + "_post_norm");
    }
    if (config.mla)
      addLatents(base + "attn.");
    else
      addHeads(base + "attn.");
    addLinear(base + "attn.o", config.hidden,
              config.heads * config.valueWidth(), config.outBias);
    if (config.gatedFfn)
      addLinear(base + "ffn.gate", config.ffn, config.hidden, config.ffnBias);
    addLinear(base + "ffn.up", config.ffn, config.hidden, config.ffnBias);
    addLinear(base + "ffn.down", config.hidden, config.ffn, config.ffnBias);
  }
  void addHeads(const std::string &base) {
    int64_t q = config.heads * config.headDim;
    int64_t kv = config.kvHeads * config.headDim;
    addLinear(base + "q", q, config.hidden, config.qkvBias);
    addLinear(base + "k", kv, config.hidden, config.qkvBias);
    addLinear(base + "v", kv, config.hidden, config.qkvBias);
    if (config.qkNorm == QkNorm::row) {
      addGain(base + "q_norm", q);
      addGain(base + "k_norm", kv);
    }
  }
  void addLatents(const std::string &base) {
    const MlaConfig &mla = *config.mla;
    int64_t turned = config.rope.dims, plain = config.headDim - turned;
    addLinear(base + "q_a", mla.qRank, config.hidden);
    addGain(base + "q_a_norm", mla.qRank);
    addLinear(base + "q_nope", config.heads * plain, mla.qRank);
    addLinear(base + "q_rope", config.heads * turned, mla.qRank);
    addLinear(base + "kv_a", mla.kvRank, config.hidden);
    addGain(base + "kv_a_norm", mla.kvRank);
    addLinear(base + "k_rope", turned, config.hidden);
    addLinear(base + "k_nope", config.heads * plain, mla.kvRank);
    addLinear(base + "v", config.heads * config.valueWidth(), mla.kvRank);
  }

  Module &module;
  const ModelConfig &config;
};

} // namespace

std::unique_ptr<Module> test::tinyModule(Kind kind) {
  ModelConfig config = tinyConfig(kind);
  auto module = std::make_unique<Module>("tiny");
  TinyWeights(*module, config).add();
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
