#include "tests/runtime/toy/ToyPlan.h"

#include "ir/support/Hash.h"
#include "runtime/schema/Facts.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cstring>

using namespace moec;
using namespace moec::plan;

std::unique_ptr<PolynomialT> toy::polynomial(const Terms &terms) {
  auto result = std::make_unique<PolynomialT>();
  for (const auto &[coefficient, symbols] : terms) {
    auto term = std::make_unique<TermT>();
    term->coefficient = coefficient;
    term->symbols = symbols;
    result->terms.push_back(std::move(term));
  }
  return result;
}

std::unique_ptr<TensorTypeT> toy::type(plan::ElementType element,
                                       const std::vector<Terms> &shape) {
  auto result = std::make_unique<TensorTypeT>();
  result->element = element;
  for (const Terms &dim : shape)
    result->shape.push_back(polynomial(dim));
  return result;
}

static std::unique_ptr<ValueT> value(const char *name,
                                     plan::ElementType element,
                                     const std::vector<toy::Terms> &shape) {
  auto result = std::make_unique<ValueT>();
  result->name = name;
  result->type = toy::type(element, shape);
  return result;
}

static std::unique_ptr<BufferT> buffer(BufferKind kind, uint16_t index,
                                       const toy::Terms &offset = {},
                                       const toy::Terms &bytes = {}) {
  auto result = std::make_unique<BufferT>();
  result->kind = kind;
  result->index = index;
  result->offset = toy::polynomial(offset);
  result->bytes = toy::polynomial(bytes);
  return result;
}

static std::unique_ptr<LaunchT> launch(uint16_t kernel,
                                       std::vector<uint16_t> buffers,
                                       const std::vector<toy::Terms> &extents,
                                       int64_t divisor, const char *location) {
  auto result = std::make_unique<LaunchT>();
  result->kernel = kernel;
  result->buffers = std::move(buffers);
  for (const toy::Terms &extent : extents)
    result->extents.push_back(toy::polynomial(extent));
  auto factor = std::make_unique<GridFactorT>();
  factor->extent = toy::polynomial(extents[0]);
  factor->divisor = divisor;
  result->grid.push_back(std::move(factor));
  result->location = location;
  return result;
}

static std::unique_ptr<KernelT> kernel(const char *name, uint16_t buffers,
                                       uint16_t extents,
                                       uint64_t scratchBytes = 0) {
  auto result = std::make_unique<KernelT>();
  result->name = name;
  result->buffers = buffers;
  result->extents = extents;
  result->scratch_bytes = scratchBytes;
  return result;
}

std::vector<uint8_t> toy::bitcode() {
  auto file = llvm::MemoryBuffer::getFile(MOEC_TOY_BITCODE);
  if (!file)
    return {};
  llvm::StringRef bytes = (*file)->getBuffer();
  return {bytes.bytes_begin(), bytes.bytes_end()};
}

void toy::sign(CodeBlobT &blob) {
  Digest digest = sha256(llvm::ArrayRef<uint8_t>(blob.code));
  blob.sha256.assign(digest.begin(), digest.end());
}

static std::unique_ptr<VariantT> makeVariant() {
  using toy::kBlocks, toy::kRows, toy::kSeqs, toy::kTable, toy::kTokens;
  auto variant = std::make_unique<VariantT>();
  variant->name = "cpu-generic";
  auto packed = std::make_unique<PackedWeightT>();
  packed->weights = {0};
  variant->weights.push_back(std::move(packed));
  // One f32 at offset 64.
  variant->constants.resize(128);
  float one = 1;
  std::memcpy(variant->constants.data() + 64, &one, sizeof(one));
  auto blob = std::make_unique<CodeBlobT>();
  blob->kind = CodeKind::llvm_bitcode;
  blob->code = toy::bitcode();
  toy::sign(*blob);
  variant->code.push_back(std::move(blob));
  variant->kernels.push_back(kernel("toy_affine", 4, 1));
  variant->kernels.push_back(kernel("toy_double", 2, 1, 64));
  variant->kernels.push_back(kernel("toy_append", 6, 3));
  variant->kernels.push_back(kernel("toy_logits", 6, 3));

  auto affine = std::make_unique<ProgramT>();
  affine->name = "affine";
  affine->signature = 1;
  affine->buffers.push_back(buffer(BufferKind::input, 0));
  affine->buffers.push_back(buffer(BufferKind::weight, 0));
  affine->buffers.push_back(
      buffer(BufferKind::constant, 0, {{64, {}}}, {{4, {}}}));
  affine->buffers.push_back(
      buffer(BufferKind::arena, 0, {{64, {}}}, {{64, {kTokens}}}));
  affine->buffers.back()->element = plan::ElementType::f32;
  affine->buffers.push_back(buffer(BufferKind::output, 0));
  affine->launches.push_back(
      launch(0, {0, 1, 2, 3}, {{{1, {kTokens}}}}, 16, "layers.0.affine"));
  affine->launches.push_back(
      launch(1, {3, 4}, {{{1, {kTokens}}}}, 16, "layers.0.double"));
  affine->arena_bytes = toy::polynomial({{64, {}}, {64, {kTokens}}});
  variant->programs.push_back(std::move(affine));

  auto step = std::make_unique<ProgramT>();
  step->name = "step";
  step->signature = 0;
  for (uint16_t input = 0; input < 5; ++input)
    step->buffers.push_back(buffer(BufferKind::input, input));
  step->buffers.push_back(buffer(BufferKind::state, 0));
  step->buffers.push_back(buffer(BufferKind::state, 1));
  step->buffers.push_back(buffer(BufferKind::output, 0));
  step->launches.push_back(
      launch(2, {5, 0, 1, 2, 3, 6},
             {{{1, {kTokens}}}, {{1, {kSeqs}}}, {{1, {kTable}}}}, 1, "append"));
  step->launches.push_back(
      launch(3, {5, 1, 2, 3, 4, 7},
             {{{1, {kRows}}}, {{1, {kSeqs}}}, {{1, {kTable}}}}, 1, "logits"));
  variant->programs.push_back(std::move(step));
  return variant;
}

PlanT toy::makePlan() {
  PlanT plan;
  plan.major = 1;
  plan.producer = "test";
  auto fact = [&](const char *key, const std::string &text) {
    auto entry = std::make_unique<FactT>();
    entry->key = key;
    entry->value = text;
    plan.facts.push_back(std::move(entry));
  };
  fact(facts::kContext, std::to_string(kContext));
  fact(facts::kVocabulary, std::to_string(kVocabulary));
  fact(facts::kBlockSize, std::to_string(kBlockSize));
  auto symbol = [&](const char *name, int64_t maximum) {
    auto entry = std::make_unique<SymbolT>();
    entry->name = name;
    entry->maximum = maximum;
    plan.symbols.push_back(std::move(entry));
  };
  symbol(facts::kTokens, 16);
  symbol(facts::kSeqs, 8);
  symbol(facts::kTable, kContext / kBlockSize);
  symbol(facts::kRows, 16);
  symbol(facts::kBlocks, 1024);

  auto state = [&](const char *name, StateKind kind,
                   std::unique_ptr<TensorTypeT> type) {
    auto entry = std::make_unique<StateT>();
    entry->name = name;
    entry->kind = kind;
    entry->type = std::move(type);
    plan.states.push_back(std::move(entry));
  };
  using E = plan::ElementType;
  state("layers.0.cache", StateKind::kv,
        type(E::i32, {{{1, {kBlocks}}}, {{kBlockSize, {}}}}));
  state("layers.0.experts", StateKind::counter, type(E::i64, {{{4, {}}}}));

  auto step = std::make_unique<SignatureT>();
  step->name = facts::kStep;
  step->inputs.push_back(
      value(facts::kInputTokens, E::i32, {{{1, {kTokens}}}}));
  step->inputs.push_back(
      value(facts::kInputPositions, E::i32, {{{1, {kTokens}}}}));
  step->inputs.push_back(
      value(facts::kInputSeqOffsets, E::i32, {{{1, {kSeqs}}, {1, {}}}}));
  step->inputs.push_back(value(facts::kInputBlockTable, E::i32,
                               {{{1, {kSeqs}}}, {{1, {kTable}}}}));
  step->inputs.push_back(
      value(facts::kInputLogitRows, E::i32, {{{1, {kRows}}}}));
  step->outputs.push_back(value(facts::kOutputLogits, E::f32,
                                {{{1, {kRows}}}, {{kVocabulary, {}}}}));
  step->states = {0, 1};
  plan.signatures.push_back(std::move(step));
  auto affine = std::make_unique<SignatureT>();
  affine->name = "affine";
  affine->inputs.push_back(value("x", E::f32, {{{1, {kTokens}}}}));
  affine->outputs.push_back(value("y", E::f32, {{{1, {kTokens}}}}));
  plan.signatures.push_back(std::move(affine));

  auto weight = std::make_unique<WeightT>();
  weight->name = "scale";
  weight->type = type(E::f32, {{{1, {}}}});
  auto source = std::make_unique<WeightSourceT>();
  source->file = "toy.bin";
  source->offset = 64;
  source->bytes = 4;
  source->encoding = E::f32;
  weight->sources.push_back(std::move(source));
  plan.weights.push_back(std::move(weight));
  plan.variants.push_back(makeVariant());
  return plan;
}

std::vector<uint8_t> toy::serialize(const PlanT &plan) {
  flatbuffers::FlatBufferBuilder builder;
  FinishPlanBuffer(builder, Plan::Pack(builder, &plan));
  return {builder.GetBufferPointer(),
          builder.GetBufferPointer() + builder.GetSize()};
}

std::string toy::weightFile() {
  std::string bytes(64, 'x');
  float scale = 3;
  bytes.append(reinterpret_cast<const char *>(&scale), sizeof(scale));
  return bytes;
}

int32_t toy::nextToken(const std::vector<int32_t> &tokens) {
  int64_t sum = int64_t(tokens.size()) - 1;
  for (int32_t token : tokens)
    sum += token;
  return int32_t(sum % kVocabulary);
}
