#include "codegen/package/PlanWriter.h"

#include "codegen/package/BindKernel.h"
#include "ir/ops/OpInfo.h"
#include "ir/support/Hash.h"
#include "passes/memory/PlanBuffers.h"
#include "runtime/schema/PlanDigest.h"
#include "runtime/schema/PlanVersion.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

namespace {
/// One launch before a target is chosen.
struct BoundLaunch {
  const Operation *op;
  BoundKernel kernel;
};

class PlanBuilder {
public:
  PlanBuilder(const Module &module, const PlanOptions &options,
              PlanReport *report)
      : module(module), options(options), report(report) {}

  llvm::Expected<std::string> run();

private:
  plan::PolynomialT polynomial(const Polynomial &poly) const;
  std::unique_ptr<plan::PolynomialT> polynomialPtr(const Polynomial &p) const {
    return std::make_unique<plan::PolynomialT>(polynomial(p));
  }
  std::unique_ptr<plan::TensorTypeT> type(const TensorType &type) const;
  void addSymbols();
  void addStates();
  llvm::Error addSignature();
  uint16_t weightIndex(Weight *weight);
  llvm::Error addVariant(cpu::CpuLevel level);
  llvm::Error addProgram(plan::VariantT &variant, cpu::CpuLevel level,
                         unsigned number);

  // Within one variant.
  uint16_t packedIndex(plan::VariantT &variant, llvm::ArrayRef<Value> values,
                       const cpu::WeightLayout *layout, ElementType element);
  llvm::Expected<uint16_t> kernelIndex(plan::VariantT &variant,
                                       cpu::CpuLevel level,
                                       const BoundLaunch &launch);

  const Module &module;
  const PlanOptions &options;
  PlanReport *report;
  plan::PlanT out;
  std::vector<std::vector<BoundLaunch>> launches;
  llvm::DenseMap<const DimSymbol *, uint16_t> symbols;
  llvm::DenseMap<const State *, uint16_t> states;
  llvm::MapVector<Weight *, uint16_t> weights;
  llvm::StringMap<uint16_t> kernels;
  std::vector<cpu::CpuKernel> emitted;
};
} // namespace

plan::PolynomialT PlanBuilder::polynomial(const Polynomial &poly) const {
  plan::PolynomialT result;
  Polynomial bound = poly.hostBound();
  for (const Polynomial::Term &term : bound.terms()) {
    auto t = std::make_unique<plan::TermT>();
    t->coefficient = term.coefficient;
    for (const DimSymbol *symbol : term.symbols)
      t->symbols.push_back(symbols.lookup(symbol));
    result.terms.push_back(std::move(t));
  }
  return result;
}

std::unique_ptr<plan::TensorTypeT>
PlanBuilder::type(const TensorType &from) const {
  auto result = std::make_unique<plan::TensorTypeT>();
  result->element = plan::ElementType(from.element());
  for (const Dim &dim : from.shape())
    result->shape.push_back(polynomialPtr(dim.polynomial()));
  return result;
}

void PlanBuilder::addSymbols() {
  for (auto &dim : module.dims()) {
    if (dim->isRagged())
      continue;
    symbols[dim.get()] = out.symbols.size();
    auto symbol = std::make_unique<plan::SymbolT>();
    symbol->name = dim->name();
    symbol->maximum = dim->maximum();
    out.symbols.push_back(std::move(symbol));
  }
}

void PlanBuilder::addStates() {
  for (auto &state : module.states()) {
    states[state.get()] = out.states.size();
    auto s = std::make_unique<plan::StateT>();
    s->name = state->name;
    s->kind = plan::StateKind(state->kind);
    s->type = type(state->type);
    out.states.push_back(std::move(s));
  }
}

llvm::Error PlanBuilder::addSignature() {
  const Program &program = *options.programs.front().program;
  auto signature = std::make_unique<plan::SignatureT>();
  signature->name = "step";
  for (unsigned i = 0; i < program.body().numArguments(); ++i) {
    Value argument = program.body().argument(i);
    if (argument.state()) {
      signature->states.push_back(states.lookup(argument.state()));
      continue;
    }
    auto input = std::make_unique<plan::ValueT>();
    input->name = argument.hint();
    input->type = type(argument.type());
    signature->inputs.push_back(std::move(input));
  }
  const Operation *end = program.body().terminator();
  for (unsigned i = 0; i < end->numOperands(); ++i) {
    if (end->operand(i).state())
      continue;
    auto output = std::make_unique<plan::ValueT>();
    output->name = program.resultNames[i];
    output->type = type(end->operand(i).type());
    signature->outputs.push_back(std::move(output));
  }
  out.signatures.push_back(std::move(signature));
  return llvm::Error::success();
}

uint16_t PlanBuilder::weightIndex(Weight *weight) {
  auto [at, isNew] = weights.insert({weight, uint16_t(out.weights.size())});
  if (!isNew)
    return at->second;
  auto w = std::make_unique<plan::WeightT>();
  w->name = weight->name;
  w->type = type(weight->type());
  if (options.stored)
    for (const StoredWeight &part : options.stored(*weight)) {
      auto source = std::make_unique<plan::WeightSourceT>();
      source->file = part.file;
      source->offset = part.offset;
      source->bytes = part.bytes;
      source->encoding = plan::ElementType(part.encoding);
      source->rotary_heads = part.rotaryHeads;
      source->file_bytes = part.fileBytes;
      if (part.digest)
        source->sha256.assign(part.digest->begin(), part.digest->end());
      w->sources.push_back(std::move(source));
    }
  out.weights.push_back(std::move(w));
  return at->second;
}

uint16_t PlanBuilder::packedIndex(plan::VariantT &variant,
                                  llvm::ArrayRef<Value> values,
                                  const cpu::WeightLayout *layout,
                                  ElementType element) {
  auto packed = std::make_unique<plan::PackedWeightT>();
  for (Value value : values)
    packed->weights.push_back(weightIndex(value.weight()));
  packed->element = plan::ElementType(element);
  if (layout) {
    packed->layout = layout->gated ? plan::LayoutKind::gated_panels
                                   : plan::LayoutKind::panels;
    packed->element = plan::ElementType(layout->element);
    packed->panel = layout->panel;
    packed->group = layout->group;
  }
  for (size_t i = 0; i < variant.weights.size(); ++i) {
    const plan::PackedWeightT &known = *variant.weights[i];
    if (known.weights == packed->weights && known.layout == packed->layout &&
        known.element == packed->element && known.panel == packed->panel &&
        known.group == packed->group)
      return i;
  }
  variant.weights.push_back(std::move(packed));
  return variant.weights.size() - 1;
}

llvm::Expected<uint16_t> PlanBuilder::kernelIndex(plan::VariantT &variant,
                                                  cpu::CpuLevel level,
                                                  const BoundLaunch &launch) {
  std::string key = kernel::describe(launch.kernel.spec);
  auto at = kernels.find(key);
  if (at != kernels.end())
    return at->second;
  if (auto reason = cpu::supports(launch.kernel.spec, level))
    return opError(*launch.op) << "cannot be compiled for "
                               << cpu::variantName(level) << ": " << *reason;
  cpu::CpuKernel code = cpu::emitCpu(launch.kernel.spec, level);
  auto blob = std::make_unique<plan::CodeBlobT>();
  blob->kind = plan::CodeKind::llvm_bitcode;
  Digest digest = sha256(llvm::arrayRefFromStringRef(code.bitcode));
  blob->sha256.assign(digest.begin(), digest.end());
  blob->code.assign(code.bitcode.begin(), code.bitcode.end());
  auto k = std::make_unique<plan::KernelT>();
  k->name = code.symbol;
  k->code = variant.code.size();
  k->buffers = code.buffers;
  k->extents = code.extents;
  k->scratch_bytes = code.scratchBytes;
  variant.code.push_back(std::move(blob));
  variant.kernels.push_back(std::move(k));
  emitted.push_back(std::move(code));
  return kernels[key] = variant.kernels.size() - 1;
}

llvm::Error PlanBuilder::addProgram(plan::VariantT &variant,
                                    cpu::CpuLevel level, unsigned number) {
  const LoweredProgram &lowered = options.programs[number];
  const Block &body = lowered.program->body();
  auto program = std::make_unique<plan::ProgramT>();
  program->name = lowered.program->name;
  program->symbol_limits.resize(out.symbols.size());
  for (auto [symbol, limit] : lowered.limits)
    program->symbol_limits[symbols.lookup(symbol)] = limit;

  // Arena buffers: results of kernels that a launch binds.
  llvm::DenseMap<Value, uint16_t> fixed;
  auto addBuffer = [&](plan::BufferKind kind, unsigned index) {
    auto buffer = std::make_unique<plan::BufferT>();
    buffer->kind = kind;
    buffer->index = index;
    program->buffers.push_back(std::move(buffer));
    return uint16_t(program->buffers.size() - 1);
  };
  unsigned inputs = 0, outputs = 0;
  for (unsigned i = 0; i < body.numArguments(); ++i)
    if (!body.argument(i).state())
      fixed[body.argument(i)] = addBuffer(plan::BufferKind::input, inputs++);
  for (Value result : body.terminator()->operands())
    if (!result.state())
      fixed[result] = addBuffer(plan::BufferKind::output, outputs++);

  llvm::MapVector<Value, LiveBuffer> arena;
  for (auto [i, launch] : llvm::enumerate(launches[number]))
    for (auto &values : launch.kernel.buffers) {
      Value value = values[0];
      if (value.weight() || value.state() || fixed.count(value))
        continue;
      auto [at, isNew] = arena.insert({value, LiveBuffer()});
      if (isNew) {
        uint64_t element = blockBytes(value.type().element());
        at->second.bytes =
            value.type().elements().hostBound() * Polynomial(element);
        at->second.first = i;
      }
      at->second.last = i;
    }
  llvm::SmallVector<LiveBuffer> lives;
  for (auto &[value, live] : arena)
    lives.push_back(live);
  BufferPlan placed = planBuffers(lives);
  for (auto [i, entry] : llvm::enumerate(arena)) {
    uint16_t index = addBuffer(plan::BufferKind::arena, 0);
    plan::BufferT &buffer = *program->buffers[index];
    buffer.offset = polynomialPtr(placed.offsets[i]);
    buffer.bytes = polynomialPtr(entry.second.bytes);
    buffer.element = plan::ElementType(entry.first.type().element());
    fixed[entry.first] = index;
  }
  program->arena_bytes = polynomialPtr(placed.arenaBytes);

  llvm::DenseMap<const State *, uint16_t> stateBuffers;
  std::map<uint16_t, uint16_t> weightBuffers;
  for (const BoundLaunch &bound : launches[number]) {
    MOEC_ASSIGN(uint16_t kernel, kernelIndex(variant, level, bound));
    const cpu::CpuKernel &code = emitted[kernel];
    auto launch = std::make_unique<plan::LaunchT>();
    launch->kernel = kernel;
    launch->location = bound.op->loc().object;
    for (auto [i, values] : llvm::enumerate(bound.kernel.buffers)) {
      Value value = values[0];
      if (value.weight()) {
        const cpu::WeightLayout *layout =
            bound.kernel.weightBuffer == i && code.weight ? &*code.weight
                                                          : nullptr;
        uint16_t packed =
            packedIndex(variant, values, layout, bound.kernel.elements[i]);
        auto [at, isNew] = weightBuffers.try_emplace(packed, 0);
        if (isNew)
          at->second = addBuffer(plan::BufferKind::weight, packed);
        launch->buffers.push_back(at->second);
      } else if (value.state()) {
        auto [at, isNew] = stateBuffers.try_emplace(value.state(), 0);
        if (isNew)
          at->second =
              addBuffer(plan::BufferKind::state, states.lookup(value.state()));
        launch->buffers.push_back(at->second);
      } else {
        launch->buffers.push_back(fixed.lookup(value));
      }
    }
    for (const Polynomial &extent : bound.kernel.extents)
      launch->extents.push_back(polynomialPtr(extent));
    for (const cpu::GridFactor &factor : code.grid) {
      auto g = std::make_unique<plan::GridFactorT>();
      g->extent = polynomialPtr(factor.extent < 0
                                    ? Polynomial(factor.constant)
                                    : bound.kernel.extents[factor.extent]);
      g->divisor = factor.divisor;
      launch->grid.push_back(std::move(g));
    }
    program->launches.push_back(std::move(launch));
  }
  if (report && variant.programs.size() == report->arenas.size()) {
    auto atMaximum = [](const DimSymbol *symbol) { return symbol->maximum(); };
    report->arenas.push_back(
        {program->name, unsigned(program->launches.size()),
         placed.arenaBytes.evaluate(atMaximum).value_or(-1),
         placed.unsharedBytes.evaluate(atMaximum).value_or(-1)});
  }
  variant.programs.push_back(std::move(program));
  return llvm::Error::success();
}

llvm::Error PlanBuilder::addVariant(cpu::CpuLevel level) {
  kernels.clear();
  emitted.clear();
  auto variant = std::make_unique<plan::VariantT>();
  variant->name = cpu::variantName(level).str();
  for (llvm::StringRef feature : cpu::requiredFeatures(level))
    variant->features.push_back(feature.str());
  for (unsigned i = 0; i < options.programs.size(); ++i)
    MOEC_TRY(addProgram(*variant, level, i));
  if (report) {
    uint64_t bytes = 0;
    for (auto &blob : variant->code)
      bytes += blob->code.size();
    report->variants.push_back(
        {variant->name, unsigned(variant->kernels.size()), bytes});
  }
  out.variants.push_back(std::move(variant));
  return llvm::Error::success();
}

llvm::Expected<std::string> PlanBuilder::run() {
  out.major = plan::kMajor;
  out.minor = plan::kMinor;
  out.producer = options.producer;
  for (auto &[key, value] : module.facts) {
    auto fact = std::make_unique<plan::FactT>();
    fact->key = key;
    fact->value = value;
    out.facts.push_back(std::move(fact));
  }
  addSymbols();
  addStates();
  MOEC_TRY(addSignature());
  for (const LoweredProgram &lowered : options.programs) {
    launches.emplace_back();
    for (const Operation &op : lowered.program->body().ops()) {
      if (op.is(OpKind::Return))
        continue;
      MOEC_ASSIGN(BoundKernel bound, bindKernel(op));
      launches.back().push_back({&op, std::move(bound)});
    }
  }
  for (cpu::CpuLevel level : options.levels)
    MOEC_TRY(addVariant(level));
  out.tokenizer.assign(options.tokenizer.begin(), options.tokenizer.end());
  out.module_.assign(options.module.begin(), options.module.end());
  return plan::serialize(out);
}

llvm::Expected<std::string> moec::writePlan(const Module &module,
                                            const PlanOptions &options,
                                            PlanReport *report) {
  return PlanBuilder(module, options, report).run();
}
