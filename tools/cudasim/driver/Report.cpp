#include "tools/cudasim/driver/Report.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;

namespace cudasim::driver {

static void add(TrafficCounter &sum, const TrafficCounter &one) {
  sum.requests += one.requests;
  sum.lanes += one.lanes;
  sum.bytes += one.bytes;
  sum.units += one.units;
  sum.idealUnits += one.idealUnits;
}

void accumulate(Counters &sum, const Counters &one) {
  sum.launches += one.launches;
  sum.blocks += one.blocks;
  sum.threads += one.threads;
  sum.warpInstructions += one.warpInstructions;
  sum.laneInstructions += one.laneInstructions;
  for (const auto &[form, count] : one.mix) {
    auto at =
        find_if(sum.mix, [&](const auto &own) { return own.first == form; });
    if (at == sum.mix.end())
      sum.mix.emplace_back(form, count);
    else
      at->second += count;
  }
  std::sort(sum.mix.begin(), sum.mix.end(), [](const auto &a, const auto &b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  add(sum.globalLoads, one.globalLoads);
  add(sum.globalStores, one.globalStores);
  add(sum.sharedLoads, one.sharedLoads);
  add(sum.sharedStores, one.sharedStores);
  add(sum.localAccesses, one.localAccesses);
  sum.asyncCopyBytes += one.asyncCopyBytes;
  sum.uniqueGlobalBytesRead += one.uniqueGlobalBytesRead;
  sum.uniqueGlobalBytesWritten += one.uniqueGlobalBytesWritten;
  sum.atomicLanes += one.atomicLanes;
  sum.atomicsAtHottestAddress =
      std::max(sum.atomicsAtHottestAddress, one.atomicsAtHottestAddress);
  sum.atomicAddresses = std::max(sum.atomicAddresses, one.atomicAddresses);
  sum.mmaInstructions += one.mmaInstructions;
  sum.mmaFlops += one.mmaFlops;
  sum.floatFlops += one.floatFlops;
  sum.barriers += one.barriers;
  sum.divergentBranches += one.divergentBranches;
  sum.branches += one.branches;
  sum.occupancy = std::min(sum.occupancy, one.occupancy);
  sum.registersPerThread =
      std::max(sum.registersPerThread, one.registersPerThread);
  sum.sharedBytesPerBlock =
      std::max(sum.sharedBytesPerBlock, one.sharedBytesPerBlock);
  sum.estimatedSeconds += one.estimatedSeconds;
}

void printCounterJson(raw_ostream &os, ArrayRef<Counters> all) {
  os << "[";
  for (size_t i = 0; i != all.size(); ++i) {
    os << (i ? ",\n" : "\n");
    all[i].printJson(os);
  }
  os << "\n]\n";
}

void printCounterTable(raw_ostream &os, ArrayRef<Counters> all) {
  for (const Counters &kernel : all)
    kernel.printTable(os);
  os.flush();
}

} // namespace cudasim::driver
