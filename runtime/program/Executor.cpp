#include "runtime/program/Executor.h"

#include "ir/support/Diagnostic.h"
#include "runtime/program/Polynomial.h"
#include "runtime/program/WeightsToCome.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <chrono>
#include <cmath>
#include <cstring>

using namespace moec;
using namespace moec::runtime;

// Prefill buckets and decode alternate; a few suffice.
static constexpr size_t kMaxBindings = 16;

/// A launch with everything evaluated.
struct Executor::BoundLaunch {
  unsigned kernel;
  int64_t tasks;
  // Ranges of Binding::addresses and Binding::extents.
  unsigned firstBuffer, buffers;
  unsigned firstExtent, extents;
  /// What the next launch with a weight reads; see LaunchRequest.
  DevicePtr soon{};
  uint64_t soonBytes = 0;
};

/// A program at certain symbol values.
struct Executor::Binding {
  unsigned signature = 0;
  std::vector<int64_t> symbols;
  const plan::Program *program = nullptr;
  /// By the program's buffers.
  std::vector<DevicePtr> buffers;
  std::vector<uint64_t> bufferBytes;
  std::vector<uint64_t> inputBytes, outputBytes;
  std::vector<DevicePtr> addresses;
  std::vector<int64_t> extents;
  std::vector<BoundLaunch> launches;
};

struct Executor::ProfileTable {
  llvm::MapVector<std::pair<const plan::Program *, unsigned>, LaunchProfile>
      entries;
};

static uint64_t countOf(const auto *vector) {
  return vector ? vector->size() : 0;
}

Executor::Executor() = default;
Executor::~Executor() = default;

llvm::Expected<std::unique_ptr<Executor>>
Executor::create(std::shared_ptr<const LoadedPlan> loaded,
                 llvm::ArrayRef<int64_t> stateSymbols) {
  std::unique_ptr<Executor> executor(new Executor());
  const Plan &plan = loaded->plan();
  executor->shared = std::move(loaded);
  executor->stateSymbols.assign(stateSymbols.begin(), stateSymbols.end());
  if (stateSymbols.size() != plan.symbolMaxima().size())
    return error(plan.at(""))
           << "has " << plan.symbolMaxima().size()
           << " symbols, got values for " << stateSymbols.size();
  for (auto [i, value] : llvm::enumerate(stateSymbols))
    if (value < 0 || value > plan.symbolMaxima()[i])
      return error(plan.at("symbol '" +
                           plan->symbols()->Get(unsigned(i))->name()->str() +
                           "'"))
             << "expects a value in [0, " << plan.symbolMaxima()[i] << "], got "
             << value;
  Device &device = executor->shared->device();
  uint64_t stateEnd = 0;
  for (unsigned i = 0; i < countOf(plan->states()); ++i) {
    const plan::State &state = *plan->states()->Get(i);
    std::string object = "state '" + state.name()->str() + "'";
    std::optional<uint64_t> bytes = bytesOf(*state.type(), stateSymbols);
    if (!bytes)
      return error(plan.at(object)) << "has a size that is negative or "
                                       "exceeds 63 bits";
    std::optional<uint64_t> end = checkedAdd(stateEnd, *bytes);
    if (!end || *end > uint64_t(INT64_MAX))
      return error(plan.at(object))
             << "has a size that, with the states before it, exceeds 63 bits";
    executor->states.push_back({DevicePtr(stateEnd), *bytes});
    stateEnd = llvm::alignTo(*end, 256);
  }
  llvm::Expected<std::unique_ptr<Buffer>> memory = device.allocate(stateEnd);
  if (!memory)
    return withNote(memory.takeError(), plan.at(""), "has states to be made");
  executor->stateMemory = std::move(*memory);
  for (State &state : executor->states)
    state.address =
        advance(executor->stateMemory->address(), uint64_t(state.address));
  MOEC_ASSIGN(executor->stream, device.createStream());
  executor->staging.resize(countOf(plan->signatures()));
  for (unsigned i = 0; i < executor->staging.size(); ++i) {
    const plan::Signature &signature = *plan->signatures()->Get(i);
    executor->staging[i].resize(countOf(signature.inputs()) +
                                countOf(signature.outputs()));
  }
  return executor;
}

llvm::Expected<const plan::Program *>
Executor::chooseProgram(unsigned signature,
                        llvm::ArrayRef<int64_t> symbols) const {
  const plan::Variant &variant = shared->variant();
  for (unsigned i = 0; i < countOf(variant.programs()); ++i) {
    const plan::Program &program = *variant.programs()->Get(i);
    if (program.signature() != signature)
      continue;
    std::vector<int64_t> limits = plan().limitsOf(program);
    bool holds = true;
    for (size_t s = 0; s < symbols.size(); ++s)
      holds &= symbols[s] <= limits[s];
    if (holds)
      return &program;
  }
  std::string values;
  for (size_t s = 0; s < symbols.size(); ++s)
    values += (s ? ", " : "") +
              plan()->symbols()->Get(unsigned(s))->name()->str() + " = " +
              std::to_string(symbols[s]);
  return error(plan().at("variant '" + variant.name()->str() + "'"))
         << "has no program of signature '"
         << plan()->signatures()->Get(signature)->name()->str() << "' for "
         << values;
}

/// Makes `buffer` at least `bytes` large; its contents may be lost.
static llvm::Error grow(std::unique_ptr<Buffer> &buffer, uint64_t bytes,
                        Device &device) {
  if (buffer && buffer->bytes() >= bytes)
    return llvm::Error::success();
  buffer.reset();
  MOEC_ASSIGN(buffer, device.allocate(bytes));
  return llvm::Error::success();
}

/// Two arena ranges of one launch are apart, or begin together (a result in
/// the place of an operand); anything else is a plan that was made to confuse.
static llvm::Error checkOverlaps(const Plan &plan, const plan::Program &program,
                                 unsigned launchIndex,
                                 llvm::ArrayRef<int64_t> symbols) {
  const plan::Launch &launch = *program.launches()->Get(launchIndex);
  struct Range {
    int64_t begin, end;
    unsigned buffer;
  };
  llvm::SmallVector<Range, 16> ranges;
  for (unsigned i = 0; i < countOf(launch.buffers()); ++i) {
    unsigned index = launch.buffers()->Get(i);
    const plan::Buffer &buffer = *program.buffers()->Get(index);
    if (buffer.kind() != plan::BufferKind::arena)
      continue;
    int64_t begin = evaluate(buffer.offset(), symbols);
    int64_t end = begin + evaluate(buffer.bytes(), symbols);
    for (const Range &other : ranges)
      if (begin != other.begin && begin < other.end && other.begin < end)
        return error(plan.at(launchName(program, launchIndex)))
               << "binds buffers " << other.buffer << " and " << index
               << ", arena bytes [" << other.begin << ", " << other.end
               << ") and [" << begin << ", " << end
               << "), which overlap in part";
    ranges.push_back({begin, end, index});
  }
  return llvm::Error::success();
}

llvm::Error Executor::fillBinding(Binding &binding, const RunRequest &request) {
  MOEC_ASSIGN(const plan::Program *program,
              chooseProgram(request.signature, request.symbols));
  binding.signature = request.signature;
  binding.program = program;
  binding.symbols.assign(request.symbols.begin(), request.symbols.end());
  llvm::ArrayRef<int64_t> symbols = binding.symbols;
  const plan::Signature &signature =
      *plan()->signatures()->Get(request.signature);
  std::string object = "program '" + program->name()->str() + "'";
  Device &device = shared->device();

  // Staging holds each input and output at the largest size so far. A change
  // of address makes older bindings useless.
  auto place = [&](const plan::Value &value, unsigned slot,
                   std::vector<uint64_t> &sizes) -> llvm::Error {
    std::optional<uint64_t> bytes = bytesOf(*value.type(), symbols);
    if (!bytes)
      return error(plan().at(object)) << "has '" << value.name()->str()
                                      << "' of a size that is negative or "
                                         "exceeds 63 bits";
    sizes.push_back(*bytes);
    std::unique_ptr<Buffer> &buffer = staging[request.signature][slot];
    if (!buffer || buffer->bytes() < *bytes)
      bindings.clear();
    return grow(buffer, *bytes, device);
  };
  unsigned slot = 0;
  for (unsigned i = 0; i < countOf(signature.inputs()); ++i)
    MOEC_TRY(place(*signature.inputs()->Get(i), slot++, binding.inputBytes));
  for (unsigned i = 0; i < countOf(signature.outputs()); ++i)
    MOEC_TRY(place(*signature.outputs()->Get(i), slot++, binding.outputBytes));
  int64_t arenaNeeded = evaluate(program->arena_bytes(), symbols);
  if (arenaNeeded < 0)
    return error(plan().at(object))
           << "has an arena of " << arenaNeeded << " bytes";
  if (!arena || arena->bytes() < uint64_t(arenaNeeded))
    bindings.clear();
  MOEC_TRY(grow(arena, uint64_t(arenaNeeded), device));

  for (unsigned i = 0; i < countOf(program->buffers()); ++i) {
    const plan::Buffer &buffer = *program->buffers()->Get(i);
    int64_t offset = evaluate(buffer.offset(), symbols);
    int64_t bytes = evaluate(buffer.bytes(), symbols);
    DevicePtr base{};
    uint64_t available = 0;
    bool ranged = false;
    switch (buffer.kind()) {
    case plan::BufferKind::input:
      base = staging[request.signature][buffer.index()]->address();
      available = binding.inputBytes[buffer.index()];
      break;
    case plan::BufferKind::output:
      base = staging[request.signature]
                    [countOf(signature.inputs()) + buffer.index()]
                        ->address();
      available = binding.outputBytes[buffer.index()];
      break;
    case plan::BufferKind::state:
      // States were sized once; kernels rely on the size that a run states.
      if (bytesOf(*plan()->states()->Get(buffer.index())->type(), symbols) !=
          states[buffer.index()].bytes)
        return error(plan().at(object + ", buffer " + std::to_string(i)))
               << "is state '"
               << plan()->states()->Get(buffer.index())->name()->str()
               << "', which was made for other symbol values";
      base = states[buffer.index()].address;
      available = states[buffer.index()].bytes;
      break;
    case plan::BufferKind::weight:
      base = shared->weights()[buffer.index()]->address();
      available = shared->weights()[buffer.index()]->bytes();
      break;
    case plan::BufferKind::arena:
      base = arena->address();
      available = uint64_t(arenaNeeded);
      ranged = true;
      break;
    case plan::BufferKind::constant:
      base = shared->constants() ? shared->constants()->address() : base;
      available = shared->constants() ? shared->constants()->bytes() : 0;
      ranged = true;
      break;
    }
    if (!ranged)
      offset = 0;
    if (offset < 0 || bytes < 0 || offset % 64 != 0 ||
        uint64_t(bytes) > available ||
        uint64_t(offset) > available - uint64_t(bytes))
      return error(plan().at(object + ", buffer " + std::to_string(i)))
             << "has " << bytes << " bytes at offset " << offset
             << ", outside the " << available
             << " bytes that it lies in, or not at a multiple of 64";
    binding.buffers.push_back(advance(base, uint64_t(offset)));
    binding.bufferBytes.push_back(ranged ? uint64_t(bytes) : available);
  }

  std::vector<std::optional<unsigned>> toCome =
      weightsToCome(plan(), shared->variant(), *program);
  for (unsigned i = 0; i < countOf(program->launches()); ++i) {
    const plan::Launch &launch = *program->launches()->Get(i);
    MOEC_TRY(checkOverlaps(plan(), *program, i, symbols));
    std::optional<int64_t> tasks = tasksOf(launch.grid(), symbols);
    if (!tasks)
      return error(plan().at(launchName(*program, i)))
             << "has a grid whose number of tasks is negative or exceeds 63 "
                "bits";
    BoundLaunch bound;
    bound.kernel = launch.kernel();
    bound.tasks = *tasks;
    bound.firstBuffer = unsigned(binding.addresses.size());
    bound.buffers = unsigned(countOf(launch.buffers()));
    bound.firstExtent = unsigned(binding.extents.size());
    bound.extents = unsigned(countOf(launch.extents()));
    for (unsigned b = 0; b < bound.buffers; ++b)
      binding.addresses.push_back(binding.buffers[launch.buffers()->Get(b)]);
    for (unsigned e = 0; e < bound.extents; ++e)
      binding.extents.push_back(evaluate(launch.extents()->Get(e), symbols));
    if (std::optional<unsigned> next = toCome[i]) {
      bound.soon = binding.buffers[*next];
      bound.soonBytes = binding.bufferBytes[*next];
    }
    binding.launches.push_back(bound);
  }
  return llvm::Error::success();
}

llvm::Expected<Executor::Binding *> Executor::bind(const RunRequest &request) {
  for (auto it = bindings.begin(); it != bindings.end(); ++it)
    if ((*it)->signature == request.signature &&
        llvm::ArrayRef<int64_t>((*it)->symbols) == request.symbols) {
      bindings.splice(bindings.begin(), bindings, it);
      return bindings.front().get();
    }
  auto binding = std::make_unique<Binding>();
  MOEC_TRY(fillBinding(*binding, request));
  bindings.push_front(std::move(binding));
  if (bindings.size() > kMaxBindings)
    bindings.pop_back();
  return bindings.front().get();
}

llvm::Error Executor::run(const RunRequest &request) {
  assert(request.signature < countOf(plan()->signatures()));
  if (request.symbols.size() != plan().symbolMaxima().size())
    return error(plan().at(""))
           << "has " << plan().symbolMaxima().size()
           << " symbols, got values for " << request.symbols.size();
  for (int64_t value : request.symbols)
    if (value < 0)
      return error(plan().at(""))
             << "expects symbols of at least 0, got " << value;
  MOEC_ASSIGN(Binding * binding, bind(request));
  const plan::Signature &signature =
      *plan()->signatures()->Get(request.signature);
  auto checkSizes = [&](const auto *values, auto given,
                        llvm::ArrayRef<uint64_t> expected) -> llvm::Error {
    if (given.size() != expected.size())
      return error(plan().at("signature '" + signature.name()->str() + "'"))
             << "expects " << expected.size() << " arrays, got "
             << given.size();
    for (size_t i = 0; i < expected.size(); ++i)
      if (given[i].size() != expected[i])
        return error(plan().at("signature '" + signature.name()->str() + "'"))
               << "expects " << expected[i] << " bytes for '"
               << values->Get(unsigned(i))->name()->str() << "', got "
               << given[i].size();
    return llvm::Error::success();
  };
  MOEC_TRY(checkSizes(signature.inputs(), request.inputs, binding->inputBytes));
  MOEC_TRY(
      checkSizes(signature.outputs(), request.outputs, binding->outputBytes));

  std::vector<std::unique_ptr<Buffer>> &buffers = staging[request.signature];
  for (size_t i = 0; i < request.inputs.size(); ++i)
    MOEC_TRY(stream->copyToDevice(buffers[i]->address(), request.inputs[i]));
  MOEC_TRY(launchAll(*binding));
  for (size_t i = 0; i < request.outputs.size(); ++i)
    MOEC_TRY(stream->copyToHost(request.outputs[i],
                                buffers[request.inputs.size() + i]->address()));
  return stream->synchronize();
}

llvm::Error Executor::launchAll(Binding &binding) {
  for (unsigned i = 0; i < binding.launches.size(); ++i) {
    const BoundLaunch &bound = binding.launches[i];
    LaunchRequest request;
    request.kernel = bound.kernel;
    request.tasks = bound.tasks;
    request.buffers = llvm::ArrayRef<DevicePtr>(binding.addresses)
                          .slice(bound.firstBuffer, bound.buffers);
    request.extents = llvm::ArrayRef<int64_t>(binding.extents)
                          .slice(bound.firstExtent, bound.extents);
    request.soon = bound.soon;
    request.soonBytes = bound.soonBytes;
    if (!profileTable && !checkNan) {
      MOEC_TRY(stream->launch(shared->executable(), request));
      continue;
    }
    auto start = std::chrono::steady_clock::now();
    MOEC_TRY(stream->launch(shared->executable(), request));
    MOEC_TRY(stream->synchronize());
    if (profileTable) {
      LaunchProfile &entry = profileTable->entries[{binding.program, i}];
      entry.program = binding.program;
      entry.launch = i;
      double seconds = std::chrono::duration<double>(
                           std::chrono::steady_clock::now() - start)
                           .count();
      entry.least = entry.runs ? std::min(entry.least, seconds) : seconds;
      entry.seconds += seconds;
      ++entry.runs;
    }
    if (checkNan)
      MOEC_TRY(findNan(binding, i));
  }
  return llvm::Error::success();
}

/// The first NaN in `bytes`, or nothing.
static std::optional<uint64_t> findNanIn(llvm::ArrayRef<uint8_t> bytes,
                                         ElementType element) {
  unsigned size = blockBytes(element);
  for (uint64_t i = 0; i < bytes.size() / size; ++i) {
    uint16_t half;
    float number = 0;
    if (element == ElementType::f32)
      std::memcpy(&number, bytes.data() + i * size, sizeof(number));
    else
      std::memcpy(&half, bytes.data() + i * size, sizeof(half));
    if (element == ElementType::bf16)
      number = bf16ToF32(half);
    if (element == ElementType::f16)
      number = f16ToF32(half);
    if (std::isnan(number))
      return i;
  }
  return std::nullopt;
}

llvm::Error Executor::findNan(const Binding &binding, unsigned index) {
  const plan::Launch &launch = *binding.program->launches()->Get(index);
  const plan::Signature &signature =
      *plan()->signatures()->Get(binding.signature);
  for (unsigned b = 0; b < countOf(launch.buffers()); ++b) {
    unsigned bufferIndex = launch.buffers()->Get(b);
    const plan::Buffer &buffer = *binding.program->buffers()->Get(bufferIndex);
    ElementType element = ElementType::u8;
    if (buffer.kind() == plan::BufferKind::arena)
      element = ElementType(buffer.element());
    if (buffer.kind() == plan::BufferKind::output)
      element = ElementType(
          signature.outputs()->Get(buffer.index())->type()->element());
    if (element != ElementType::f32 && element != ElementType::bf16 &&
        element != ElementType::f16)
      continue;
    std::vector<uint8_t> bytes(binding.bufferBytes[bufferIndex]);
    MOEC_TRY(stream->copyToHost(bytes, binding.buffers[bufferIndex]));
    MOEC_TRY(stream->synchronize());
    if (std::optional<uint64_t> position = findNanIn(bytes, element))
      return error(plan().at(launchName(*binding.program, index)))
             << "leaves NaN in buffer " << bufferIndex << ", element "
             << *position;
  }
  return llvm::Error::success();
}

uint64_t Executor::stateBytes() const {
  uint64_t total = 0;
  for (const State &state : states)
    total += state.bytes;
  return total;
}

llvm::Error Executor::readState(unsigned state,
                                llvm::MutableArrayRef<uint8_t> out) {
  assert(state < states.size() && out.size() == states[state].bytes);
  MOEC_TRY(stream->copyToHost(out, states[state].address));
  return stream->synchronize();
}

llvm::Error Executor::zeroState(unsigned state) {
  assert(state < states.size());
  MOEC_TRY(stream->fillZero(states[state].address, states[state].bytes));
  return stream->synchronize();
}

void Executor::setProfile(bool on) {
  profileTable = on ? std::make_unique<ProfileTable>() : nullptr;
}

std::vector<LaunchProfile> Executor::profile() const {
  std::vector<LaunchProfile> entries;
  if (profileTable)
    for (const auto &entry : profileTable->entries)
      entries.push_back(entry.second);
  return entries;
}
