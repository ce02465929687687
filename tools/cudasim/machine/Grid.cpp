//===- Grid.cpp - blocks of a launch and their turns ----------------------===//
//
// Long because: it is one state machine: blocks, clusters, turns.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Machine.h"

#include "tools/cudasim/machine/Checkers.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <functional>
#include <set>

using namespace cudasim;

namespace {

// Turns, in warp instructions. A block that writes is left alone for long, one
// that only reads may be waiting for another block.
constexpr uint64_t kBlockTurn = 200'000, kIdleTurn = 20'000;
constexpr uint64_t kWarpTurn = 4096;
constexpr uint32_t kRecursionDepth = 32;
constexpr uint32_t kRedzone = 32;

Dim3 unflatten(uint64_t linear, Dim3 shape) {
  return {uint32_t(linear % shape.x), uint32_t(linear / shape.x % shape.y),
          uint32_t(linear / shape.x / shape.y)};
}

std::string dims(Dim3 d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," +
         std::to_string(d.z) + ")";
}

} // namespace

std::string Fault::str() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "error " << int(code) << " in kernel '" << kernel << "'";
  if (hasThread)
    os << " block " << dims(block) << " thread " << dims(thread);
  os << ": " << message << "\n";
  if (ptxLine) {
    os << "  at PTX line " << ptxLine << ": " << ptxText << "\n";
    if (sourceLine)
      os << "  from " << sourceFile << ":" << sourceLine << "\n";
  }
  llvm::StringRef rest = details;
  while (!rest.empty()) {
    auto [line, tail] = rest.split('\n');
    os << "  " << line << "\n";
    rest = tail;
  }
  return text;
}

Grid::Impl::~Impl() {
  if (workspace)
    memory->free(workspace);
}
Grid::Grid() = default;
Grid::~Grid() = default;

//===--- places -------------------------------------------------------------//

Dim3 Grid::Impl::threadIndex(uint32_t warp, uint32_t lane) const {
  return unflatten(uint64_t(warp) * 32 + lane, config.block);
}

void Grid::Impl::fillPlace(Fault &into, uint32_t pc) const {
  const PcInfo &info = code->info[pc];
  const ptx::Function &function = program->module->functions[info.function];
  if (info.instruction >= function.body.size())
    return;
  const ptx::Instruction &instruction = function.body[info.instruction];
  into.ptxLine = instruction.line;
  // One line, whatever the spacing.
  std::string text;
  bool space = false;
  for (char c : instruction.text) {
    if (llvm::isSpace(c)) {
      space = !text.empty();
      continue;
    }
    if (space)
      text += ' ';
    space = false;
    text += c;
  }
  into.ptxText = text;
  if (instruction.loc.line) {
    into.sourceLine = instruction.loc.line;
    if (instruction.loc.file < program->module->files.size())
      into.sourceFile = program->module->files[instruction.loc.file];
  }
}

std::string Grid::Impl::placeOf(uint32_t pc) const {
  Fault place;
  fillPlace(place, pc);
  std::string text =
      "PTX line " + std::to_string(place.ptxLine) + ": " + place.ptxText;
  if (place.sourceLine)
    text +=
        " (" + place.sourceFile + ":" + std::to_string(place.sourceLine) + ")";
  return text;
}

void Grid::Impl::raise(const WarpState *warp, uint32_t lane, uint32_t pc,
                       ErrorCode error, std::string message,
                       std::string details) {
  if (fault)
    return;
  Fault made;
  made.code = error;
  made.kernel = kernel->name;
  if (warp) {
    made.hasThread = true;
    made.block = warp->block->index;
    made.thread = threadIndex(warp->index, lane);
  }
  if (pc != ~0u)
    fillPlace(made, pc);
  made.message = std::move(message);
  made.details = std::move(details);
  fault = std::move(made);
  state = State::Faulted;
}

std::string Grid::Impl::whereWarpsStand() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << finishedBlocks << " of " << blockCount << " blocks are done, "
     << resident.size() << " are resident\n";
  size_t shown = 0;
  for (const auto &block : resident)
    for (const WarpState &warp : block->warps)
      for (const Fragment &fragment : warp.fragments) {
        if (++shown > 64) {
          os << "...\n";
          return text;
        }
        os << "block " << dims(block->index) << " warp " << warp.index
           << " lanes 0x" << llvm::utohexstr(fragment.mask, true, 8)
           << (fragment.state == Fragment::Barrier  ? " waits at a barrier, "
               : fragment.state == Fragment::Parked ? " waits for lanes, "
                                                    : " runs at ")
           << placeOf(fragment.pc) << "\n";
      }
  return text;
}

//===--- start --------------------------------------------------------------//

std::optional<Fault> Grid::Impl::prepare() {
  auto refuse = [&](ErrorCode error, std::string message) {
    Fault refused;
    refused.code = error;
    refused.kernel = kernel->name;
    refused.message = std::move(message);
    return refused;
  };
  const Dim3 &grid = config.grid, &block = config.block;
  uint64_t threads = block.count();
  if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z)
    return refuse(ErrorCode::InvalidValue, "a grid or block size of 0");
  if (grid.x > uint32_t(kMaxGridX) || grid.y > uint32_t(kMaxGridYZ) ||
      grid.z > uint32_t(kMaxGridYZ))
    return refuse(ErrorCode::InvalidValue,
                  "grid " + dims(grid) + " is beyond (2147483647,65535,65535)");
  if (block.x > uint32_t(kMaxBlockXY) || block.y > uint32_t(kMaxBlockXY) ||
      block.z > uint32_t(kMaxBlockZ) ||
      threads > uint64_t(model->maxThreadsPerBlock))
    return refuse(ErrorCode::InvalidValue,
                  "block " + dims(block) + " of " + std::to_string(threads) +
                      " threads is beyond (1024,1024,64) or 1024 threads");
  if (kernel->requiredBlock[0] && (block.x != kernel->requiredBlock[0] ||
                                   block.y != kernel->requiredBlock[1] ||
                                   block.z != kernel->requiredBlock[2]))
    return refuse(ErrorCode::InvalidValue,
                  "block " + dims(block) + ", but the kernel requires " +
                      dims({kernel->requiredBlock[0], kernel->requiredBlock[1],
                            kernel->requiredBlock[2]}));
  if (kernel->maxThreads && threads > kernel->maxThreads)
    return refuse(ErrorCode::InvalidValue,
                  std::to_string(threads) +
                      " threads, but the kernel's launch bounds allow " +
                      std::to_string(kernel->maxThreads));
  if (parameters.size() < kernel->parameterBytes)
    return refuse(ErrorCode::InvalidValue,
                  std::to_string(parameters.size()) +
                      " parameter bytes, the kernel takes " +
                      std::to_string(kernel->parameterBytes));
  uint64_t shared =
      uint64_t(kernel->staticSharedBytes) + config.dynamicSharedBytes;
  uint64_t optin = std::min<uint64_t>(uint64_t(kernel->staticSharedBytes) +
                                          config.maxDynamicSharedBytes,
                                      uint64_t(model->sharedPerBlockOptin));
  uint64_t limit = std::max<uint64_t>(uint64_t(model->sharedPerBlock), optin);
  if (shared > limit)
    return refuse(ErrorCode::InvalidValue,
                  std::to_string(shared) + " bytes of shared memory, " +
                      std::to_string(limit) +
                      " are allowed (more dynamic memory needs the opt-in "
                      "attribute; the part has " +
                      std::to_string(model->sharedPerBlockOptin) + ")");
  Occupancy occupancy =
      occupancyOf(*model, int(threads), int(kernel->registers), shared);
  if (occupancy.blocksPerMultiprocessor == 0) {
    // The estimate of registers must not refuse what ptxas would fit.
    if (kernel->maxThreads == 0 &&
        int64_t(kernel->registers) * int64_t(threads) >
            model->registersPerMultiprocessor &&
        kernel->registers > 64)
      return refuse(ErrorCode::LaunchOutOfResources,
                    "about " + std::to_string(kernel->registers) +
                        " registers for each of " + std::to_string(threads) +
                        " threads are more than a multiprocessor has");
    occupancy = occupancyOf(*model, int(threads), 0, shared);
  }
  maxResident = std::max<uint64_t>(
      1, uint64_t(occupancy.blocksPerMultiprocessor) * model->multiprocessors);
  blockCount = grid.count();
  if (config.cooperative && blockCount > maxResident)
    return refuse(ErrorCode::CooperativeLaunchTooLarge,
                  std::to_string(blockCount) +
                      " blocks in a cooperative launch, " +
                      std::to_string(maxResident) + " can be resident");
  if (config.cooperative) {
    // A size and the word that cooperative_groups counts arrivals in.
    std::optional<DevicePtr> place =
        memory->allocate(device, 8, "workspace of a cooperative launch");
    if (!place || memory->fill(*place, 0, 4, 2))
      return refuse(ErrorCode::OutOfMemory,
                    "no memory for the workspace of a cooperative launch");
    workspace = *place;
  }

  threadsPerBlock = uint32_t(threads);
  warpsPerBlock = (threadsPerBlock + 31) / 32;
  counters.kernel = kernel->name;
  counters.occupancy = occupancy.fraction;
  counters.registersPerThread = kernel->registers;
  counters.sharedBytesPerBlock = shared;

  // Frames of all functions but the kernel's own, one behind the other.
  size_t functions = code->functions.size();
  frameOffset.resize(functions);
  localOffset.resize(functions);
  std::set<uint32_t> reached;
  bool recursive = false;
  std::vector<uint32_t> path;
  std::function<uint32_t(uint32_t)> depthOf = [&](uint32_t at) -> uint32_t {
    if (llvm::is_contained(path, at)) {
      recursive = true;
      return 0;
    }
    if (path.size() > 256) {
      recursive = true;
      return 0;
    }
    path.push_back(at);
    uint32_t most = 0;
    for (uint32_t callee : code->functions[at].callees) {
      bool fresh = reached.insert(callee).second;
      // A function seen before is walked again only for its depth.
      if (fresh || path.size() < 16)
        most = std::max(most, 1 + depthOf(callee));
    }
    path.pop_back();
    return most;
  };
  maxDepth = depthOf(kernelFunction);
  if (recursive)
    maxDepth = kRecursionDepth;
  for (uint32_t each : reached) {
    frameOffset[each] = calleeFrames;
    localOffset[each] = calleeLocals;
    calleeFrames += code->functions[each].frameBytes;
    calleeLocals += program->layout.frames[each].localBytes;
  }
  uint64_t local = uint64_t(program->layout.frames[kernelFunction].localBytes) +
                   uint64_t(maxDepth) * calleeLocals;
  if (local > 512 << 10)
    return refuse(ErrorCode::LaunchOutOfResources,
                  std::to_string(local) +
                      " bytes of local memory for a thread, at most 524288 "
                      "are there");
  localStride = uint32_t(llvm::alignTo(local, 16));

  // Shared variables; every one of the module's has a place, but only the
  // kernel's own count, so that two kernels do not pay for each other.
  sharedOffset.assign(program->layout.shared.size(), 0);
  std::set<uint32_t> used;
  reached.insert(kernelFunction);
  for (uint32_t each : reached) {
    const ptx::Function &body = program->module->functions[each];
    for (uint32_t i = 0; i < body.variables.size(); ++i)
      if (body.variables[i].space == ptx::Space::Shared)
        used.insert(program->layout.frames[each].place[i]);
    for (const ptx::Instruction &instruction : body.body)
      for (const ptx::Operand &operand : instruction.operands)
        if ((operand.kind == ptx::OperandKind::Symbol ||
             (operand.kind == ptx::OperandKind::Address &&
              operand.base == ptx::OperandKind::Symbol)) &&
            operand.moduleScope &&
            program->layout.moduleShared[operand.index] != ptx::kNone)
          used.insert(program->layout.moduleShared[operand.index]);
  }
  uint32_t redzone = config.checks.sharedRedzones ? kRedzone : 0;
  uint64_t at = 0;
  uint32_t dynamicAlign = 16;
  for (uint32_t id : used) {
    const SharedVariable &variable = program->layout.shared[id];
    if (variable.isDynamic) {
      dynamicAlign = std::max(dynamicAlign, variable.align);
      continue;
    }
    at = llvm::alignTo(at + (at ? redzone : 0), variable.align);
    sharedOffset[id] = uint32_t(at);
    sharedRanges.push_back(
        {uint32_t(at), uint32_t(at + variable.bytes), variable.name});
    at += variable.bytes;
  }
  if (config.dynamicSharedBytes && at)
    at += redzone;
  at = llvm::alignTo(at, dynamicAlign);
  dynamicSharedAt = uint32_t(at);
  for (uint32_t id : used)
    if (program->layout.shared[id].isDynamic)
      sharedOffset[id] = dynamicSharedAt;
  if (config.dynamicSharedBytes)
    sharedRanges.push_back({uint32_t(at),
                            uint32_t(at + config.dynamicSharedBytes),
                            "dynamic shared memory"});
  at += config.dynamicSharedBytes;
  sharedTotal = uint32_t(at);

  fillConstants();
  windows.resize(code->instrs.size());
  context.windows = windows.data();
  context.parameters = parameters.data();
  context.parameterBytes = uint32_t(parameters.size());
  context.extra = code->extra.data();
  context.checkSync = config.checks.sync;
  context.perturb = config.perturbSeed;
  const Checks &checks = config.checks;
  context.observed = checks.uninitialized || checks.sharedRaces ||
                     checks.globalRaces || checks.sharedRedzones ||
                     config.countersWanted;
  if (config.countersWanted) {
    pcCount.resize(code->instrs.size());
    pcLanes.resize(code->instrs.size());
    tally = std::make_unique<TrafficTally>();
  }
  if (checks.globalRaces)
    globalShadow = std::make_unique<GlobalShadow>();

  random = Random(config.scheduleSeed);
  seeded = config.scheduleSeed != 0;
  return std::nullopt;
}

void Grid::Impl::fillConstants() {
  constants.resize(std::max<uint32_t>(code->constantBytes, 64));
  for (const Constant &constant : code->constants) {
    uint64_t value = constant.bits;
    if (constant.kind == Constant::ModuleVariable)
      value += instance->addressOf(program->variableIndex[constant.index]);
    else if (constant.kind == Constant::SharedVariable)
      value += sharedOffset[constant.index];
    uint8_t *at = constants.data() + constant.offset;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (constant.wide)
        memcpy(at + 8 * lane, &value, 8);
      else
        memcpy(at + 4 * lane, &value, 4);
    }
  }
}

//===--- blocks -------------------------------------------------------------//

void Grid::Impl::startBlock() {
  std::unique_ptr<Block> block;
  if (!spare.empty()) {
    block = std::move(spare.back());
    spare.pop_back();
  } else {
    block = std::make_unique<Block>();
    block->grid = this;
    block->warps.resize(warpsPerBlock);
    block->shared.resize(std::max<uint32_t>(sharedTotal, 64));
  }
  uint64_t linear = nextBlock++;
  // A window of blocks in random order, as blocks land on multiprocessors.
  if (seeded) {
    if (blockOrder.empty()) {
      uint64_t count = std::min<uint64_t>(blockCount - linear, uint64_t(4096));
      for (uint64_t i = 0; i < count; ++i)
        blockOrder.push_back(linear + i);
      for (uint64_t i = count; i > 1; --i)
        std::swap(blockOrder[i - 1], blockOrder[random.below(i)]);
    }
    linear = blockOrder.back();
    blockOrder.pop_back();
  }
  block->linear = linear;
  block->index = unflatten(linear, config.grid);
  block->liveWarps = warpsPerBlock;
  // What an earlier block left there is no value to rely on.
  memset(block->shared.data(), 0xFB, sharedTotal);
  for (BarrierState &barrier : block->barriers)
    barrier = BarrierState();
  const FunctionCode &function = code->functions[kernelFunction];
  for (uint32_t i = 0; i < warpsPerBlock; ++i) {
    WarpState &warp = block->warps[i];
    warp.block = block.get();
    warp.index = i;
    warp.frames.resize(std::max<uint32_t>(function.frameBytes, 512));
    // Lanes are read before they are written only by broken programs; they
    // shall see the same bytes each time.
    memset(warp.frames.data(), 0, function.frameBytes);
    auto *predicates = reinterpret_cast<uint32_t *>(warp.frames.data());
    predicates[0] = 0;
    predicates[1] = kAllLanes;
    if (localStride) {
      warp.localMemory.resize(size_t(localStride) * kLanes);
      memset(warp.localMemory.data(), 0xFB, size_t(localStride) * kLanes);
    }
    warp.local = warp.localMemory.data();
    warp.localStride = localStride;
    warp.bases[0] = warp.frames.data();
    warp.bases[1] = constants.data();
    warp.launch = &context;
    warp.shared = block->shared.data();
    warp.sharedBytes = sharedTotal;
    uint32_t lanes = std::min<uint32_t>(32, threadsPerBlock - i * 32);
    warp.exists = warp.live =
        lanes == 32 ? kAllLanes : (uint32_t(1) << lanes) - 1;
    warp.carry = 0;
    warp.faulted = false;
    warp.fragments.clear();
    Fragment start;
    start.pc = function.entry;
    start.mask = warp.live;
    warp.fragments.push_back(start);
    warp.returns.clear();
    warp.copies.clear();
    memset(warp.commits, 0, sizeof(warp.commits));
    warp.asleep = false;
    warp.syncEpoch = 0;
    if (config.checks.uninitialized) {
      warp.written.assign(function.frameBytes / 128 + 1, 0);
      warp.writtenPredicates.clear();
    }
  }
  startChecking(*this, *block);
  resident.push_back(std::move(block));
}

/// Warps take turns until the block is done, all wait, or the turn is over.
RunResult Grid::Impl::runBlock(Block &block, uint64_t quantum, uint64_t &used) {
  uint64_t start = executed;
  std::vector<uint32_t> order(block.warps.size());
  for (uint32_t i = 0; i < order.size(); ++i)
    order[i] = i;
  while (true) {
    if (seeded)
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[random.below(i)]);
    bool ran = false, awake = false, done = true;
    for (uint32_t index : order) {
      WarpState &warp = block.warps[index];
      if (warp.done())
        continue;
      done = false;
      uint64_t before = executed;
      uint64_t turn = seeded ? 1 + random.below(256) : kWarpTurn;
      RunResult result = runWarp(warp, turn);
      if (result == RunResult::Faulted) {
        used = executed - start;
        return RunResult::Faulted;
      }
      ran |= executed != before || result == RunResult::Done;
      awake |= result == RunResult::Quantum || result == RunResult::Done;
    }
    used = executed - start;
    if (done)
      return RunResult::Done;
    if (!ran) {
      // Nobody moved. A barrier may have opened in this pass for a warp that
      // had its turn already.
      bool ready = false;
      for (const WarpState &warp : block.warps)
        for (const Fragment &fragment : warp.fragments)
          ready |= fragment.state == Fragment::Ready;
      if (ready)
        continue;
      const WarpState *stuck = nullptr;
      for (const WarpState &warp : block.warps)
        if (!warp.done() && !stuck)
          stuck = &warp;
      raise(stuck, uint32_t(__builtin_ctz(stuck->fragments[0].mask)),
            stuck->fragments[0].pc, ErrorCode::LaunchTimeout,
            "deadlock: every warp of the block waits", whereWarpsStand());
      return RunResult::Faulted;
    }
    if (used >= quantum)
      return RunResult::Quantum;
    if (!awake && used > kWarpTurn)
      return RunResult::Slept;
  }
}

void Grid::Impl::finish() {
  state = State::Done;
  if (config.countersWanted)
    finishCounters(*this);
}

void Grid::Impl::step(uint64_t budget) {
  uint64_t end = executed + budget;
  uint64_t progressBefore = progress, finishedBefore = finishedBlocks;
  while (state == State::Running && executed < end) {
    if (memory->generation() != windowGeneration) {
      windowGeneration = memory->generation();
      std::fill(windows.begin(), windows.end(), AddressWindow());
    }
    if (turn >= resident.size()) {
      turn = 0;
      if (resident.empty()) {
        if (nextBlock == blockCount) {
          finish();
          return;
        }
        startBlock();
      }
    }
    Block &block = *resident[turn];
    uint64_t used = 0, before = progress;
    uint64_t quantum = kIdleTurn;
    RunResult result;
    uint64_t total = 0;
    do {
      before = progress;
      result =
          runBlock(block, seeded ? 1 + random.below(kIdleTurn) : quantum, used);
      total += used;
    } while (!seeded && result == RunResult::Quantum && progress != before &&
             total < kBlockTurn && executed < end);
    if (result == RunResult::Faulted)
      return;
    if (executed > config.instructionBudget) {
      const WarpState *running = nullptr;
      for (const WarpState &warp : block.warps)
        if (!warp.done() && !running)
          running = &warp;
      std::string standing = whereWarpsStand();
      if (running)
        raise(running, uint32_t(__builtin_ctz(running->fragments[0].mask)),
              running->fragments[0].pc, ErrorCode::LaunchTimeout,
              "the launch ran for " + std::to_string(executed) +
                  " warp instructions, its budget is " +
                  std::to_string(config.instructionBudget),
              standing);
      else
        raise(nullptr, 0, ~0u, ErrorCode::LaunchTimeout,
              "the launch's budget of " +
                  std::to_string(config.instructionBudget) +
                  " warp instructions is used up",
              standing);
      return;
    }
    if (result == RunResult::Done) {
      ++finishedBlocks;
      ++progress;
      finishBlock(*this, block);
      if (state == State::Faulted)
        return;
      spare.push_back(std::move(resident[turn]));
      resident.erase(resident.begin() + long(turn));
      continue;
    }
    // Not done: others get their turn, new blocks too while there is room.
    ++turn;
    if (turn >= resident.size() && nextBlock < blockCount &&
        resident.size() < maxResident)
      startBlock();
  }
  stalled = progress == progressBefore && finishedBlocks == finishedBefore;
}

//===--- the interface ------------------------------------------------------//

std::unique_ptr<Grid>
Grid::start(const Instance &instance, const KernelInfo &kernel,
            const LaunchConfig &config, llvm::ArrayRef<std::byte> parameters,
            std::optional<Fault> &refused, PrintSink print) {
  std::unique_ptr<Grid> grid(new Grid());
  grid->body = std::make_unique<Impl>();
  Impl &impl = *grid->body;
  impl.instance = &instance;
  impl.program = &instance.program().impl();
  impl.kernel = &kernel;
  impl.kernelFunction = impl.program->kernelFunctions[kernel.index];
  impl.config = config;
  impl.model = config.model ? config.model : &defaultDeviceModel();
  impl.memory = &instance.memory();
  impl.device = instance.device();
  impl.print = std::move(print);
  // Vector loads of the last parameter may be read as a whole.
  impl.parameters.assign(reinterpret_cast<const uint8_t *>(parameters.data()),
                         reinterpret_cast<const uint8_t *>(parameters.data()) +
                             parameters.size());
  CodeOptions options;
  options.separateRegisters = config.checks.uninitialized;
  options.contract = config.fma == FmaMode::Contract;
  impl.code = &impl.program->code(options);
  refused = impl.prepare();
  if (refused)
    return nullptr;
  return grid;
}

Grid::State Grid::step(uint64_t warpInstructions) {
  if (body->state == State::Running)
    body->step(warpInstructions);
  return body->state;
}
Grid::State Grid::state() const { return body->state; }
bool Grid::isStalled() const { return body->stalled; }
const std::optional<Fault> &Grid::fault() const { return body->fault; }
const Counters &Grid::counters() const { return body->counters; }
std::string Grid::whereWarpsStand() const { return body->whereWarpsStand(); }

std::optional<Fault> cudasim::launch(const Instance &instance,
                                     const KernelInfo &kernel,
                                     const LaunchConfig &config,
                                     llvm::ArrayRef<std::byte> parameters,
                                     Counters *counters, PrintSink print) {
  std::optional<Fault> refused;
  LaunchConfig wanted = config;
  wanted.countersWanted |= counters != nullptr;
  std::unique_ptr<Grid> grid = Grid::start(instance, kernel, wanted, parameters,
                                           refused, std::move(print));
  if (!grid)
    return refused;
  while (grid->step(1'000'000) == Grid::State::Running) {
  }
  if (counters)
    *counters = grid->counters();
  return grid->fault();
}
