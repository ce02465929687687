#include "tools/cudasim/driver/Driver.h"

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/driver/Graph.h"
#include "tools/cudasim/driver/Report.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdio>
#include <cstdlib>

using namespace llvm;

namespace cudasim::driver {

Driver &driver() {
  static Driver *instance = new Driver;
  return *instance;
}

ThreadState &thisThread() {
  static thread_local ThreadState state;
  return state;
}

void Driver::report(StringRef text) {
  if (options.log == LogLevel::None)
    return;
  // One write a report, so that those of several threads do not mix; and not by
  // llvm::errs, which may be gone when reports are made at the end.
  std::string line = "cudasim: " + text.str();
  if (line.back() != '\n')
    line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void Driver::explain(StringRef text) {
  if (options.log >= LogLevel::Errors)
    report(text);
}

CUresult Driver::initialise() {
  if (initialised)
    return CUDA_SUCCESS;
  const char *text = std::getenv("MOEC_CUDASIM");
  Expected<Options> parsed = Options::parse(text ? text : "");
  if (!parsed) {
    report(moec::toText(parsed.takeError()));
    return CUDA_ERROR_INVALID_VALUE;
  }
  options = std::move(*parsed);
  queue.configure(options.seed, options.hangMs);

  GlobalMemory::Options wanted;
  for (const DeviceModel *model : options.devices)
    wanted.deviceBytes.push_back(model->memoryBytes);
  wanted.trackInitialized = options.hasCheck("init");
  Expected<std::unique_ptr<GlobalMemory>> made =
      GlobalMemory::create(std::move(wanted));
  if (!made) {
    report(moec::toText(made.takeError()));
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  memory = std::move(*made);

  // Contexts and pools point at devices: the vector never grows again.
  devices.resize(options.devices.size());
  for (size_t i = 0; i != devices.size(); ++i) {
    Device &device = devices[i];
    device.ordinal = int(i);
    device.model = options.devices[i];
    auto pool = std::make_unique<CUmemPoolHandle_st>();
    pool->device = &device;
    pool->isDefault = true;
    device.defaultPool = pools.add(std::move(pool));
    device.currentPool = device.defaultPool;
  }
  initialised = true;
  std::atexit(&Driver::atExit);
  return CUDA_SUCCESS;
}

CUcontext Driver::makeContext(Device &device, unsigned flags) {
  auto ctx = std::make_unique<CUctx_st>();
  ctx->device = &device;
  ctx->id = nextId();
  ctx->flags = flags;
  ctx->limits = {{CU_LIMIT_STACK_SIZE, 1024},
                 {CU_LIMIT_PRINTF_FIFO_SIZE, 1 << 20},
                 {CU_LIMIT_MALLOC_HEAP_SIZE, 8 << 20},
                 {CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH, 2},
                 {CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT, 2048},
                 {CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 64},
                 {CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0}};
  ctx->legacy = std::make_unique<CUstream_st>();
  ctx->legacy->kind = CUstream_st::Kind::Legacy;
  ctx->legacy->ctx = ctx.get();
  ctx->legacy->id = nextId();
  knownContexts.insert(ctx.get());
  contexts.push_back(std::move(ctx));
  return contexts.back().get();
}

void Driver::poison(CUcontext ctx, CUresult status) {
  if (!ctx || ctx->poison != CUDA_SUCCESS)
    return;
  ctx->poison = status;
  queue.drop(ctx, status);
}

void Driver::tearDown(CUcontext ctx) {
  if (ctx->destroyed)
    return;
  if (ctx->poison == CUDA_SUCCESS)
    queue.waitAll(ctx);
  queue.drop(ctx, CUDA_ERROR_CONTEXT_IS_DESTROYED);
  for (size_t i = captures.size(); i-- != 0;)
    if (captures[i]->origin->ctx == ctx)
      forget(std::shared_ptr<Capture>(captures[i]));
  for (const auto &stream : ctx->streams)
    knownStreams.erase(stream.get());
  for (const auto &event : ctx->events)
    knownEvents.erase(event.get());
  for (const auto &module : ctx->modules) {
    for (const auto &function : module->functions)
      knownFunctions.erase(function.get());
    knownModules.erase(module.get());
    if (module->library)
      module->library->modules.erase(ctx);
  }
  ctx->streams.clear();
  ctx->perThread.clear();
  ctx->events.clear();
  ctx->modules.clear();
  ctx->legacy->last = nullptr;
  reportLeaks(ctx);
  for (auto at = holdings.begin(); at != holdings.end();) {
    const Holding &held = at->second;
    // Memory of pools outlives contexts: it is the device's.
    if (held.ctx != ctx || held.kind == Holding::Kind::Pool ||
        held.kind == Holding::Kind::Graph) {
      ++at;
      continue;
    }
    switch (held.kind) {
    case Holding::Kind::Managed:
    case Holding::Kind::Host:
      memory->freeHost(reinterpret_cast<void *>(at->first));
      break;
    case Holding::Kind::Registered:
      memory->unregisterHost(reinterpret_cast<void *>(at->first));
      break;
    default:
      memory->free(at->first);
      break;
    }
    at = holdings.erase(at);
  }
  for (CUcontext peer : ctx->peers)
    memory->setPeerAccess(ctx->device->ordinal, peer->device->ordinal, false);
  ctx->peers.clear();
  ctx->destroyed = true;
}

Holding *Driver::holdingAt(uint64_t address, Allocation *allocation) {
  std::optional<Allocation> found = memory->find(address);
  if (!found || found->freed)
    return nullptr;
  auto at = holdings.find(found->base);
  if (at == holdings.end())
    return nullptr;
  if (allocation)
    *allocation = *found;
  return &at->second;
}

void Driver::addCounters(const Counters &counted) {
  for (Counters &sum : counters)
    if (sum.kernel == counted.kernel) {
      accumulate(sum, counted);
      return;
    }
  counters.push_back(counted);
}

void Driver::writeCounters() {
  if (options.counters.empty() || counters.empty())
    return;
  if (options.counters == "-") {
    std::string table;
    raw_string_ostream os(table);
    printCounterTable(os, counters);
    std::fwrite(table.data(), 1, table.size(), stderr);
    return;
  }
  std::error_code ec;
  raw_fd_ostream os(options.counters, ec);
  if (!ec) {
    if (StringRef(options.counters).ends_with(".json"))
      printCounterJson(os, counters);
    else
      printCounterTable(os, counters);
    os.flush();
    ec = os.error();
    os.clear_error();
  }
  if (ec)
    report("cannot write the counters to '" + options.counters +
           "': " + ec.message());
}

void Driver::reportLeaks(CUcontext ctx) {
  if (!options.hasCheck("leaks"))
    return;
  std::string text;
  raw_string_ostream os(text);
  uint64_t bytes = 0;
  unsigned count = 0;
  for (const auto &[address, held] : holdings) {
    // Registered memory is the program's own.
    if (held.kind == Holding::Kind::Registered)
      continue;
    if ((ctx && held.ctx != ctx) ||
        (held.ctx && held.ctx->poison != CUDA_SUCCESS))
      continue;
    // Memory of pools and graphs outlives contexts.
    if (ctx &&
        (held.kind == Holding::Kind::Pool || held.kind == Holding::Kind::Graph))
      continue;
    std::optional<Allocation> found = memory->find(address);
    if (!found)
      continue;
    if (++count <= 16)
      os << "  " << found->bytes << " bytes at 0x"
         << utohexstr(address, /*LowerCase=*/true) << ", from " << found->label
         << (found->device >= 0 ? ", device " + std::to_string(found->device)
                                : std::string())
         << "\n";
    bytes += found->bytes;
  }
  if (count > 16)
    os << "  ... and " << count - 16 << " more\n";
  if (count != 0)
    report("leak: " + std::to_string(count) + " allocations, " +
           std::to_string(bytes) + " bytes in all, were never freed\n" +
           os.str());
}

void Driver::atExit() {
  Driver &self = driver();
  std::unique_lock<Queue::Mutex> lock(self.mutex, std::try_to_lock);
  // A thread that still runs a kernel keeps the lock; its counters are lost.
  if (!lock)
    return;
  self.writeCounters();
  self.reportLeaks(nullptr);
}

} // namespace cudasim::driver
