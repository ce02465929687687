// What each kind of work does when its turn comes.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Foreign.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdio>
#include <cstring>

using namespace llvm;

namespace cudasim::driver {

/// A kernel gives others a turn after this many warp instructions, if it is
/// only spinning.
static constexpr uint64_t kQuantum = 1 << 20;
/// What a launch costs whatever it does, in the estimate.
static constexpr double kLaunchMicros = 2.0;
static constexpr double kCopyMicros = 1.0;

static std::string hex(uint64_t address) {
  return "0x" + utohexstr(address, /*LowerCase=*/true);
}

static std::string sideText(const Side &side) {
  return (side.host ? "host " : "device ") + hex(side.address);
}

std::string describe(const Work &work) {
  struct Words {
    std::string operator()(const EmptyWork &) { return "an empty node"; }
    std::string operator()(const KernelWork &w) {
      std::string text;
      raw_string_ostream(text)
          << "kernel '" << w.function->info->name << "' <<<(" << w.grid.x << ","
          << w.grid.y << "," << w.grid.z << "), (" << w.block.x << ","
          << w.block.y << "," << w.block.z << "), " << w.dynamicShared << ">>>";
      return text;
    }
    std::string operator()(const CopyWork &w) {
      return "copy of " + std::to_string(w.width * w.rows * w.slices) +
             " bytes from " + sideText(w.src) + " to " + sideText(w.dst);
    }
    std::string operator()(const SetWork &w) {
      return "memset of " + std::to_string(w.width * w.rows * w.elementBytes) +
             " bytes at " + hex(w.dst);
    }
    std::string operator()(const HostWork &) { return "a host function"; }
    std::string operator()(const CallbackWork &) { return "a stream callback"; }
    std::string operator()(const ChildWork &) { return "a child graph"; }
    std::string operator()(const RecordWork &) { return "an event record"; }
    std::string operator()(const WaitWork &) { return "an event wait"; }
    std::string operator()(const AllocWork &w) {
      return "allocation of " + std::to_string(w.bytes) + " bytes at " +
             hex(w.address);
    }
    std::string operator()(const FreeWork &w) {
      return "free of " + hex(w.address);
    }
    std::string operator()(const ValueWork &w) {
      return (w.wait ? "wait for a value at " : "write of a value at ") +
             hex(w.address);
    }
    std::string operator()(const ForeignWork &w) { return labelOf(*w.op); }
  };
  return std::visit(Words(), work);
}

GraphMemory::~GraphMemory() {
  Driver &self = driver();
  std::optional<Allocation> found = self.memory->find(address);
  if (!found || found->freed || found->id != id)
    return;
  self.holdings.erase(address);
  self.memory->free(address);
}

namespace {

/// Reports a fault and says what it comes to.
Outcome fail(const std::string &where, const MemoryFault &fault) {
  driver().report("fault in " + where + ": " + fault.message);
  return {CUresult(fault.code), 0};
}

LaunchConfig configOf(const CUctx_st &ctx, const KernelWork &work) {
  const Options &options = driver().options;
  LaunchConfig config;
  config.grid = {work.grid.x, work.grid.y, work.grid.z};
  config.block = {work.block.x, work.block.y, work.block.z};
  config.dynamicSharedBytes = work.dynamicShared;
  config.maxDynamicSharedBytes = work.function->maxDynamicShared;
  config.cooperative = work.cooperative;
  config.model = ctx.device->model;
  config.checks.uninitialized = options.hasCheck("init");
  config.checks.sharedRaces = options.hasCheck("race");
  config.checks.globalRaces = options.hasCheck("global");
  config.checks.sync = options.hasCheck("sync");
  config.checks.sharedRedzones = options.hasCheck("redzones");
  config.countersWanted = !options.counters.empty();
  config.fma = options.contract ? FmaMode::Contract : FmaMode::Never;
  config.scheduleSeed = options.seed;
  config.perturbSeed = options.perturb ? options.seed + 1 : 0;
  if (options.budget != 0)
    config.instructionBudget = options.budget;
  return config;
}

// Without counters, the estimate knows the threads and nothing of the bytes.
double kernelMicros(const CUctx_st &ctx, const KernelWork &work,
                    const Counters &counted) {
  if (counted.estimatedSeconds > 0)
    return kLaunchMicros + counted.estimatedSeconds * 1e6;
  double threads = double(work.grid.count()) * double(work.block.count());
  // Each thread moves a word and does as much arithmetic as hides behind it.
  return kLaunchMicros +
         threads * 4 / ctx.device->model->memoryBytesPerSecond * 1e6;
}

/// A kernel that is running: kept between its turns.
class KernelRun {
public:
  KernelRun(CUctx_st &ctx, KernelWork work) : ctx(ctx), work(std::move(work)) {}

  Outcome operator()() {
    if (!grid) {
      ArrayRef<uint8_t> bytes(work.params);
      std::optional<Fault> refused;
      grid = cudasim::Grid::start(
          *work.function->module->instance, *work.function->info,
          configOf(ctx, work),
          ArrayRef(reinterpret_cast<const std::byte *>(bytes.data()),
                   bytes.size()),
          refused, [](StringRef text) {
            std::fwrite(text.data(), 1, text.size(), stdout);
          });
      if (refused)
        return fault(*refused);
    }
    while (true) {
      switch (grid->step(kQuantum)) {
      case cudasim::Grid::State::Running:
        if (!grid->isStalled())
          continue;
        return {CUDA_SUCCESS, 0, /*again=*/true};
      case cudasim::Grid::State::Faulted:
        return fault(*grid->fault());
      case cudasim::Grid::State::Done:
        std::fflush(stdout);
        Outcome outcome = {CUDA_SUCCESS,
                           kernelMicros(ctx, work, grid->counters())};
        if (!driver().options.counters.empty())
          driver().addCounters(grid->counters());
        return outcome;
      }
    }
  }

private:
  Outcome fault(const Fault &found) {
    std::fflush(stdout);
    driver().report("fault on device " + std::to_string(ctx.device->ordinal) +
                    ": " + found.str());
    return {CUresult(found.code), 0};
  }

  CUctx_st &ctx;
  KernelWork work;
  std::unique_ptr<cudasim::Grid> grid;
};

double copyMicros(const CUctx_st &ctx, const CopyWork &work) {
  const DeviceModel &model = *ctx.device->model;
  const PartFacts &facts = factsOf(model);
  double bytes = double(work.width) * work.rows * work.slices;
  bool crosses = work.src.host || work.dst.host;
  bool peers = !crosses && driver().memory->deviceOf(work.src.address) !=
                               driver().memory->deviceOf(work.dst.address);
  // On one device every byte is read and written.
  double rate = crosses ? facts.hostBandwidth
                : peers ? facts.peerBandwidth
                        : model.memoryBytesPerSecond / 2;
  return kCopyMicros + bytes / rate * 1e6;
}

/// A result that no kernel wrote is copied to the host: said, not refused.
void checkWritten(const CopyWork &work) {
  Driver &self = driver();
  if (!work.dst.host || work.src.host || !self.options.hasCheck("init"))
    return;
  for (size_t slice = 0; slice != work.slices; ++slice)
    for (size_t row = 0; row != work.rows; ++row) {
      uint64_t from = work.src.rowAt(slice, row);
      std::optional<DevicePtr> hole =
          self.memory->firstUninitialized(from, work.width);
      if (!hole)
        continue;
      std::optional<Allocation> found = self.memory->find(*hole);
      self.report("uninitialised read by " + describe(work) +
                  ": nobody wrote the byte at " + hex(*hole) +
                  (found ? ", " + std::to_string(*hole - found->base) +
                               " bytes into the " +
                               std::to_string(found->bytes) + " bytes at " +
                               hex(found->base) + " (" + found->label + ")"
                         : std::string()));
      return;
    }
}

Outcome runCopy(const CUctx_st &ctx, const CopyWork &work) {
  GlobalMemory &memory = *driver().memory;
  if (work.width == 0 || work.rows == 0 || work.slices == 0)
    return {CUDA_SUCCESS, 0};
  checkWritten(work);
  auto move = [&](uint64_t to, uint64_t from, uint64_t bytes) {
    return memory.copy(to, from, bytes);
  };
  bool solid = work.slices == 1 &&
               (work.rows == 1 ||
                (work.src.pitch == work.width && work.dst.pitch == work.width));
  if (solid) {
    uint64_t from = work.staged
                        ? reinterpret_cast<uint64_t>(work.staged->data())
                        : work.src.address;
    if (auto bad = move(work.dst.address, from, work.width * work.rows))
      return fail(describe(work), *bad);
    return {CUDA_SUCCESS, copyMicros(ctx, work)};
  }
  for (size_t slice = 0; slice != work.slices; ++slice)
    for (size_t row = 0; row != work.rows; ++row) {
      uint64_t from = work.staged
                          ? reinterpret_cast<uint64_t>(work.staged->data()) +
                                (slice * work.rows + row) * work.width
                          : work.src.rowAt(slice, row);
      if (auto bad = move(work.dst.rowAt(slice, row), from, work.width))
        return fail(describe(work), *bad);
    }
  return {CUDA_SUCCESS, copyMicros(ctx, work)};
}

Outcome runSet(const CUctx_st &ctx, const SetWork &work) {
  GlobalMemory &memory = *driver().memory;
  for (size_t row = 0; row != work.rows && work.width != 0; ++row)
    if (auto bad = memory.fill(work.dst + row * work.pitch, work.value,
                               work.elementBytes, work.width))
      return fail(describe(work), *bad);
  double bytes = double(work.width) * work.rows * work.elementBytes;
  return {CUDA_SUCCESS,
          kCopyMicros + bytes / ctx.device->model->memoryBytesPerSecond * 1e6};
}

Outcome runFree(const FreeWork &work) {
  Driver &self = driver();
  auto at = self.holdings.find(work.address);
  if (at == self.holdings.end())
    return {CUDA_ERROR_INVALID_VALUE, 0};
  // A graph keeps its memory for its next launch.
  if (at->second.kind == Holding::Kind::Graph)
    return {CUDA_SUCCESS, 0};
  if (CUmemoryPool pool = at->second.pool)
    if (self.pools.has(pool)) {
      pool->used -= at->second.bytes;
      if (pool->reserved > pool->releaseThreshold)
        pool->reserved = std::max(pool->used, pool->releaseThreshold);
    }
  self.holdings.erase(at);
  if (auto bad = self.memory->free(work.address))
    return fail(describe(work), *bad);
  return {CUDA_SUCCESS, 0};
}

uint64_t loadValue(const ValueWork &work) {
  uint64_t now = 0;
  std::memcpy(&now, driver().memory->hostView(work.address), work.bytes);
  return now;
}

bool valueHolds(const ValueWork &work) {
  if (driver().memory->check(-1, work.address, work.bytes, false))
    return true; // freed meanwhile: running it reports that
  uint64_t now = loadValue(work);
  uint64_t mask = work.bytes == 8 ? ~uint64_t(0) : 0xffffffffu;
  switch (work.flags & 0x3) {
  case CU_STREAM_WAIT_VALUE_GEQ:
    return work.bytes == 8 ? int64_t(now - work.value) >= 0
                           : int32_t(uint32_t(now) - uint32_t(work.value)) >= 0;
  case CU_STREAM_WAIT_VALUE_EQ:
    return now == (work.value & mask);
  case CU_STREAM_WAIT_VALUE_AND:
    return (now & work.value & mask) != 0;
  default:
    return (~(now | work.value) & mask) != 0;
  }
}

Outcome runValue(const ValueWork &work) {
  GlobalMemory &memory = *driver().memory;
  if (auto bad = memory.check(-1, work.address, work.bytes, !work.wait))
    return fail(describe(work), *bad);
  if (!work.wait) {
    std::memcpy(memory.hostView(work.address), &work.value, work.bytes);
    memory.markInitialized(work.address, work.bytes);
  }
  return {CUDA_SUCCESS, 0};
}

/// Marks the thread while the program's own function runs.
class HostScope {
public:
  HostScope() { thisThread().inHostFunction = true; }
  ~HostScope() { thisThread().inHostFunction = false; }
};

} // namespace

OpRef makeOp(CUctx_st &ctx, Work work, CUstream stream) {
  auto op = std::make_shared<Op>();
  op->ctx = &ctx;
  op->label = describe(work);
  if (stream)
    op->label += " in stream " + std::to_string(stream->id);
  CUctx_st *owner = &ctx;
  if (auto *kernel = std::get_if<KernelWork>(&work)) {
    // A function's own context, where the graph holds several.
    owner = kernel->function->module->ctx;
    op->ctx = owner;
    op->run = KernelRun(*owner, std::move(*kernel));
  } else if (auto *copy = std::get_if<CopyWork>(&work)) {
    op->run = [owner, copy = std::move(*copy)] {
      return runCopy(*owner, copy);
    };
  } else if (auto *set = std::get_if<SetWork>(&work)) {
    op->run = [owner, set = *set] { return runSet(*owner, set); };
  } else if (auto *host = std::get_if<HostWork>(&work)) {
    op->callsHost = true;
    op->run = [host = *host]() -> Outcome {
      HostScope scope;
      host.function(host.userData);
      return {};
    };
  } else if (auto *callback = std::get_if<CallbackWork>(&work)) {
    op->callsHost = true;
    op->run = [callback = *callback, owner]() -> Outcome {
      HostScope scope;
      callback.function(callback.stream, owner->poison, callback.userData);
      return {};
    };
  } else if (auto *free = std::get_if<FreeWork>(&work)) {
    op->run = [free = *free] { return runFree(free); };
  } else if (auto *value = std::get_if<ValueWork>(&work)) {
    if (value->wait) {
      op->ready = [value = *value] { return valueHolds(value); };
      op->explain = [value = *value] {
        return "it holds " + std::to_string(loadValue(value)) +
               ", and the wait is for " + std::to_string(value.value);
      };
    }
    op->run = [value = *value] { return runValue(value); };
  } else if (auto *foreign = std::get_if<ForeignWork>(&work)) {
    prepareForeign(*op, *foreign->op);
  }
  return op;
}

} // namespace cudasim::driver
