#include "tools/driver/DenseTaps.h"

#include "ir/ops/OpInfo.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/program/Polynomial.h"
#include "runtime/schema/Facts.h"
#include "runtime/schema/plan_generated.h"
#include "tools/driver/AnyModel.h"
#include "tools/driver/Upcycler.h"
#include "llvm/ADT/STLExtras.h"

#include <cstring>

using namespace moec;
using namespace moec::runtime;

/// Longer texts are cut in pieces of this length.
static constexpr int64_t kPieceTokens = 512;
/// Models above this many weights run in their own precision.
static constexpr uint64_t kMaxF32Weights = 3'000'000'000;

static Value tapOf(const Operation &ffn, TokenState state) {
  Value x = ffn.operand(0);
  const Operation *norm = x.definingOp();
  bool isNorm =
      norm && (norm->is(OpKind::RmsNorm) || norm->is(OpKind::LayerNorm));
  return state == TokenState::residual && isNorm ? norm->operand(0) : x;
}

/// Lets `step` return taps in the place of logits, and says which layer reads
/// which.
static llvm::Expected<std::vector<unsigned>> tap(Module &module,
                                                 TokenState state) {
  Program *step = module.findProgram(facts::kStep);
  if (!step)
    return error() << "module '" << module.name()
                   << "' has no program 'step' to calibrate with";
  std::vector<unsigned> outputs;
  llvm::SmallVector<Value> results;
  std::vector<std::string> names;
  Value embedded;
  for (Operation &op : step->body().ops()) {
    if (op.is(OpKind::Embedding) && !embedded)
      embedded = op.result();
    if (!op.is(OpKind::Ffn))
      continue;
    Value value = state == TokenState::embedding ? embedded : tapOf(op, state);
    auto known = llvm::find(results, value);
    outputs.push_back(known - results.begin());
    if (known != results.end())
      continue;
    names.push_back("tap." + std::to_string(results.size()));
    results.push_back(value);
  }
  if (outputs.empty())
    return error() << "module '" << module.name()
                   << "' has no dense FFN to calibrate";
  Operation *end = step->body().terminator();
  for (unsigned i = 0; i < end->numOperands(); ++i) {
    if (!end->operand(i).state())
      continue;
    results.push_back(end->operand(i));
    names.push_back(step->resultNames[i]);
  }
  end->erase();
  step->body().append(Operation::create(
      OpKind::Return, results, {}, std::make_unique<NoAttrs>(), Location()));
  step->resultNames = std::move(names);
  return outputs;
}

llvm::Expected<std::unique_ptr<DenseTaps>>
DenseTaps::create(Module &dense, TokenState state, unsigned threads) {
  std::unique_ptr<DenseTaps> taps(new DenseTaps());
  MOEC_ASSIGN(std::unique_ptr<Module> copy, copyGraph(dense));
  MOEC_ASSIGN(taps->outputs, tap(*copy, state));
  taps->layerCount = taps->outputs.size();
  uint64_t weights = 0;
  for (auto &weight : copy->weights())
    weights += weight->type().staticElements().value_or(0);
  CompileRequest request;
  request.precision =
      weights <= kMaxF32Weights ? Precision::f32 : Precision::automatic;
  request.maxTokens = kPieceTokens;
  ModelOptions options;
  options.cpu.threads = threads;
  AnyModel any;
  any.module = std::move(copy);
  MOEC_ASSIGN(taps->model,
              loadForRunning(std::move(any), request, std::move(options)));
  const Plan &plan = taps->model->plan();
  const Model &model = *taps->model;
  taps->limit = std::min<int64_t>(model.context(), kPieceTokens);
  taps->symbols.assign(plan.symbolMaxima().size(), 0);
  int64_t blocks = (taps->limit + model.blockSize() - 1) / model.blockSize();
  for (auto [name, value] :
       {std::pair(facts::kTokens, taps->limit), std::pair(facts::kSeqs, 1l),
        std::pair(facts::kTable, blocks), std::pair(facts::kRows, 1l),
        std::pair(facts::kBlocks, blocks)})
    if (auto symbol = plan.findSymbol(name))
      taps->symbols[*symbol] = value;
  MOEC_ASSIGN(taps->executor,
              Executor::create(model.loadedPlan(), taps->symbols));
  return std::move(taps);
}

std::string DenseTaps::variant() const {
  return model->loadedPlan()->variant().name()->str();
}

llvm::Expected<std::vector<std::vector<float>>>
DenseTaps::run(llvm::ArrayRef<int32_t> tokens) {
  const Plan &plan = model->plan();
  auto signature = plan.findSignature(facts::kStep);
  auto tokensSymbol = plan.findSymbol(facts::kTokens);
  if (!signature || !tokensSymbol)
    return error(plan.at("")) << "lacks the signature 'step'";
  if (tokens.empty() || int64_t(tokens.size()) > limit)
    return error() << "a piece of " << tokens.size() << " tokens, expects 1 to "
                   << limit;
  for (int32_t token : tokens)
    if (token < 0 || token >= model->vocabulary())
      return error() << "token " << token << " is outside the vocabulary of "
                     << model->vocabulary();
  symbols[*tokensSymbol] = tokens.size();
  std::vector<int32_t> positions(tokens.size());
  std::vector<int32_t> table(
      size_t((limit + model->blockSize() - 1) / model->blockSize()));
  for (size_t i = 0; i < positions.size(); ++i)
    positions[i] = int32_t(i);
  for (size_t i = 0; i < table.size(); ++i)
    table[i] = int32_t(i);
  std::vector<int32_t> offsets{0, int32_t(tokens.size())};
  std::vector<int32_t> rows{int32_t(tokens.size()) - 1};
  const plan::Signature &step = *plan->signatures()->Get(*signature);
  std::vector<llvm::ArrayRef<uint8_t>> inputs;
  for (const plan::Value *input : *step.inputs()) {
    llvm::StringRef name = input->name()->string_view();
    llvm::ArrayRef<int32_t> numbers =
        name == facts::kInputTokens       ? tokens
        : name == facts::kInputPositions  ? llvm::ArrayRef(positions)
        : name == facts::kInputSeqOffsets ? llvm::ArrayRef(offsets)
        : name == facts::kInputBlockTable ? llvm::ArrayRef(table)
                                          : llvm::ArrayRef(rows);
    inputs.emplace_back(reinterpret_cast<const uint8_t *>(numbers.data()),
                        numbers.size() * 4);
  }
  std::vector<std::vector<uint8_t>> bytes;
  for (const plan::Value *output : *step.outputs())
    bytes.emplace_back(bytesOf(*output->type(), symbols).value_or(0));
  std::vector<llvm::MutableArrayRef<uint8_t>> results(bytes.begin(),
                                                      bytes.end());
  RunRequest request;
  request.signature = *signature;
  request.symbols = symbols;
  request.inputs = inputs;
  request.outputs = results;
  MOEC_TRY(executor->run(request));
  std::vector<std::vector<float>> taps;
  for (unsigned output : outputs) {
    auto element = ElementType(step.outputs()->Get(output)->type()->element());
    uint64_t elements = bytes[output].size() / *byteSize(element, 1);
    std::vector<float> numbers(elements);
    decodeToF32(element, bytes[output], numbers);
    taps.push_back(std::move(numbers));
  }
  return taps;
}
