//===- Counters.cpp - counting and printing -------------------------------===//

#include "tools/cudasim/machine/Counters.h"

#include "tools/cudasim/machine/Checkers.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Format.h"

#include <algorithm>

using namespace cudasim;

namespace {

constexpr uint64_t kSector = 32;

/// Passes that 32 banks of 4 bytes need: distinct words in the busiest bank,
/// a part of the warp after the other for wide accesses.
uint32_t sharedWaves(uint32_t mask, uint32_t bytes, const uint64_t *offsets,
                     uint32_t &ideal) {
  uint32_t lanesAtOnce = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  uint32_t waves = 0;
  ideal = 0;
  for (uint32_t first = 0; first < 32; first += lanesAtOnce) {
    llvm::SmallVector<uint64_t, 8> words[32];
    uint32_t distinct = 0, busiest = 0;
    for (uint32_t lane = first; lane < first + lanesAtOnce; ++lane) {
      if (!(mask >> lane & 1))
        continue;
      for (uint64_t word = offsets[lane] / 4;
           word <= (offsets[lane] + bytes - 1) / 4; ++word) {
        auto &bank = words[word % 32];
        if (llvm::find(bank, word) != bank.end())
          continue;
        bank.push_back(word);
        ++distinct;
        busiest = std::max(busiest, uint32_t(bank.size()));
      }
    }
    waves += busiest;
    ideal += (distinct + 31) / 32;
  }
  return waves;
}

void printTraffic(llvm::raw_ostream &os, const char *name,
                  const TrafficCounter &counter) {
  os << "\"" << name << "\": {\"requests\": " << counter.requests
     << ", \"lanes\": " << counter.lanes << ", \"bytes\": " << counter.bytes
     << ", \"units\": " << counter.units
     << ", \"ideal_units\": " << counter.idealUnits << "}";
}

std::string escaped(llvm::StringRef text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\';
    out += uint8_t(c) < 0x20 ? ' ' : c;
  }
  return out;
}

} // namespace

void cudasim::countAccess(WarpState &warp, const Instr &instr,
                          const Access &access, const uint64_t *offsets) {
  Grid::Impl &grid = *warp.block->grid;
  Counters &counters = grid.counters;
  TrafficTally &tally = *grid.tally;
  uint64_t lanes = uint64_t(__builtin_popcount(access.mask));
  uint64_t bytes = lanes * access.bytes;
  auto count = [&](TrafficCounter &to, uint64_t units, uint64_t ideal) {
    ++to.requests;
    to.lanes += lanes;
    to.bytes += bytes;
    to.units += units;
    to.idealUnits += ideal;
  };
  if (access.kind == AccessKind::Atomic) {
    counters.atomicLanes += lanes;
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if (access.mask >> lane & 1)
        // Shared addresses of different blocks are different addresses.
        ++tally.atomics[access.space == MemorySpace::Shared
                            ? offsets[lane] | (warp.block->linear + 1) << 24
                            : offsets[lane]];
  }
  bool writing =
      access.kind == AccessKind::Store || access.kind == AccessKind::AsyncWrite;
  switch (access.space) {
  case MemorySpace::Shared: {
    uint32_t ideal = 0;
    uint32_t waves = sharedWaves(access.mask, access.bytes, offsets, ideal);
    count(writing ? counters.sharedStores : counters.sharedLoads, waves, ideal);
    return;
  }
  case MemorySpace::Global: {
    llvm::SmallVector<uint64_t, 64> sectors;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (!(access.mask >> lane & 1))
        continue;
      for (uint64_t sector = offsets[lane] / kSector;
           sector <= (offsets[lane] + access.bytes - 1) / kSector; ++sector)
        sectors.push_back(sector);
    }
    llvm::sort(sectors);
    sectors.erase(std::unique(sectors.begin(), sectors.end()), sectors.end());
    bool reads = access.kind != AccessKind::Store;
    for (uint64_t sector : sectors)
      tally.sectors[sector] |=
          uint8_t(reads) | uint8_t(access.kind == AccessKind::Store ||
                                   access.kind == AccessKind::Atomic)
                               << 1;
    if (access.kind == AccessKind::AsyncRead)
      counters.asyncCopyBytes += bytes;
    count(writing ? counters.globalStores : counters.globalLoads,
          sectors.size(), (bytes + kSector - 1) / kSector);
    return;
  }
  default:
    count(counters.localAccesses, lanes, lanes);
    return;
  }
}

void cudasim::finishBlock(Grid::Impl &grid, Block &block) {
  // Copies that nobody waited for still land; a checker has complained about
  // them already if it was asked to.
  (void)grid;
  block.shadow.reset();
}

void cudasim::finishCounters(Grid::Impl &grid) {
  Counters &counters = grid.counters;
  counters.launches = 1;
  counters.blocks = grid.blockCount;
  counters.threads = grid.blockCount * grid.threadsPerBlock;
  std::vector<uint64_t> byForm(grid.code->forms.size());
  double tensorSeconds = 0;
  for (size_t pc = 0; pc < grid.pcCount.size(); ++pc) {
    uint64_t times = grid.pcCount[pc], lanes = grid.pcLanes[pc];
    if (!times)
      continue;
    const PcInfo &info = grid.code->info[pc];
    counters.warpInstructions += times;
    counters.laneInstructions += lanes;
    if (info.form < byForm.size())
      byForm[info.form] += times;
    counters.floatFlops += double(info.flops) * double(lanes);
    if (info.op == Op::Bra)
      counters.branches += times;
    if (info.op != Op::Mma)
      continue;
    counters.mmaInstructions += times;
    double flops = double(info.mmaFlops) * 64 * double(times);
    counters.mmaFlops += flops;
    llvm::StringRef form = grid.code->forms[info.form];
    const DeviceModel &model = *grid.model;
    double rate = form.contains("tf32") ? model.tensorTf32Flops
                  : form.contains(".e4m3") || form.contains(".e5m2")
                      ? model.tensorFp8Flops
                  : form.contains(".s32") ? model.tensorInt8Ops
                                          : model.tensorBf16Flops;
    if (rate > 0)
      tensorSeconds += flops / rate;
  }
  for (size_t form = 0; form < byForm.size(); ++form)
    if (byForm[form])
      counters.mix.push_back({grid.code->forms[form], byForm[form]});
  llvm::sort(counters.mix, [](const auto &a, const auto &b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  for (auto &[sector, how] : grid.tally->sectors) {
    counters.uniqueGlobalBytesRead += how & 1 ? kSector : 0;
    counters.uniqueGlobalBytesWritten += how & 2 ? kSector : 0;
  }
  for (auto &[address, times] : grid.tally->atomics)
    counters.atomicsAtHottestAddress =
        std::max(counters.atomicsAtHottestAddress, times);
  counters.atomicAddresses = grid.tally->atomics.size();

  // Roofline: the slowest of memory, tensor cores, float units and issue.
  const DeviceModel &model = *grid.model;
  double memory = double(counters.uniqueGlobalBytesRead +
                         counters.uniqueGlobalBytesWritten) /
                  model.memoryBytesPerSecond;
  double floats = counters.floatFlops / model.fp32Flops;
  double issue = double(counters.warpInstructions) /
                 (4.0 * model.multiprocessors * model.clockKHz * 1e3);
  constexpr double kLaunchSeconds = 2e-6;
  counters.estimatedSeconds =
      kLaunchSeconds + std::max({memory, tensorSeconds, floats, issue});
}

void Counters::printJson(llvm::raw_ostream &os) const {
  os << "{\"kernel\": \"" << escaped(kernel) << "\", \"launches\": " << launches
     << ", \"blocks\": " << blocks << ", \"threads\": " << threads
     << ", \"warp_instructions\": " << warpInstructions
     << ", \"lane_instructions\": " << laneInstructions
     << ", \"active_lanes\": "
     << llvm::format("%.3f", activeLanesPerInstruction()) << ", ";
  printTraffic(os, "global_loads", globalLoads);
  os << ", ";
  printTraffic(os, "global_stores", globalStores);
  os << ", ";
  printTraffic(os, "shared_loads", sharedLoads);
  os << ", ";
  printTraffic(os, "shared_stores", sharedStores);
  os << ", ";
  printTraffic(os, "local", localAccesses);
  os << ", \"async_copy_bytes\": " << asyncCopyBytes
     << ", \"unique_global_bytes_read\": " << uniqueGlobalBytesRead
     << ", \"unique_global_bytes_written\": " << uniqueGlobalBytesWritten
     << ", \"atomic_lanes\": " << atomicLanes
     << ", \"atomic_addresses\": " << atomicAddresses
     << ", \"atomics_at_hottest_address\": " << atomicsAtHottestAddress
     << ", \"mma_instructions\": " << mmaInstructions
     << ", \"mma_flops\": " << llvm::format("%.0f", mmaFlops)
     << ", \"float_flops\": " << llvm::format("%.0f", floatFlops)
     << ", \"barriers\": " << barriers << ", \"branches\": " << branches
     << ", \"divergent_branches\": " << divergentBranches
     << ", \"registers_per_thread_estimated\": " << registersPerThread
     << ", \"shared_bytes_per_block\": " << sharedBytesPerBlock
     << ", \"occupancy_estimated\": " << llvm::format("%.3f", occupancy)
     << ", \"seconds_roofline_estimate\": "
     << llvm::format("%.3e", estimatedSeconds) << ", \"mix\": {";
  bool first = true;
  for (const auto &[form, times] : mix) {
    os << (first ? "" : ", ") << "\"" << escaped(form) << "\": " << times;
    first = false;
  }
  os << "}}\n";
}

void Counters::printTable(llvm::raw_ostream &os) const {
  auto row = [&](const char *name, const TrafficCounter &counter,
                 const char *unit) {
    if (!counter.requests)
      return;
    os << llvm::format("  %-16s %12llu requests  %6.2f lanes  %6.2f %s each, "
                       "%.2f ideal\n",
                       name, (unsigned long long)counter.requests,
                       double(counter.lanes) / double(counter.requests),
                       double(counter.units) / double(counter.requests), unit,
                       double(counter.idealUnits) / double(counter.requests));
  };
  os << "kernel " << kernel << ": " << launches << " launches, " << blocks
     << " blocks, " << threads << " threads\n";
  os << llvm::format(
      "  %-16s %12llu  (%.1f of 32 lanes)\n", (const char *)"warp instructions",
      (unsigned long long)warpInstructions, activeLanesPerInstruction());
  row("global loads", globalLoads, "sectors");
  row("global stores", globalStores, "sectors");
  row("shared loads", sharedLoads, "waves");
  row("shared stores", sharedStores, "waves");
  row("local accesses", localAccesses, "lanes");
  os << "  unique global    " << uniqueGlobalBytesRead << " bytes read, "
     << uniqueGlobalBytesWritten << " bytes written\n";
  if (atomicLanes)
    os << "  atomics          " << atomicLanes << " at " << atomicAddresses
       << " addresses, at most " << atomicsAtHottestAddress << " at one\n";
  if (mmaInstructions)
    os << "  mma              " << mmaInstructions << " instructions, "
       << llvm::format("%.3e", mmaFlops) << " FLOP\n";
  os << llvm::format("  float            %.3e FLOP\n", floatFlops);
  os << "  barriers         " << barriers << ", branches " << branches
     << ", divergent " << divergentBranches << "\n";
  os << llvm::format("  occupancy        %.2f, from an estimate of %llu "
                     "registers and %llu shared bytes\n",
                     occupancy, (unsigned long long)registersPerThread,
                     (unsigned long long)sharedBytesPerBlock);
  os << llvm::format("  roofline         %.3e s, an estimate, not a "
                     "measurement\n",
                     estimatedSeconds);
  for (size_t i = 0; i < mix.size() && i < 12; ++i)
    os << llvm::format("  %12llu  ", (unsigned long long)mix[i].second)
       << mix[i].first << "\n";
}
