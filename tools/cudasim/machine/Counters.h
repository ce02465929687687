//===- Counters.h - what a launch did, counted ----------------------------===//
#pragma once

#include "llvm/Support/raw_ostream.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cudasim {

/// Requests of one kind of memory and what they cost against what they need.
struct TrafficCounter {
  uint64_t requests = 0; ///< warp instructions
  uint64_t lanes = 0;    ///< active lanes over all requests
  uint64_t bytes = 0;    ///< asked for by lanes
  /// Global: 32-byte sectors touched. Shared: passes that bank conflicts need.
  uint64_t units = 0;
  /// The fewest units that the same bytes could take.
  uint64_t idealUnits = 0;
};

/// Counted facts of one launch, or a sum over launches. Nothing here is a time.
struct Counters {
  std::string kernel;
  uint64_t launches = 0, blocks = 0, threads = 0;
  uint64_t warpInstructions = 0, laneInstructions = 0;
  /// Warp instructions by op form, most frequent first.
  std::vector<std::pair<std::string, uint64_t>> mix;

  TrafficCounter globalLoads, globalStores, sharedLoads, sharedStores;
  TrafficCounter localAccesses;
  uint64_t asyncCopyBytes = 0;
  /// Distinct 32-byte sectors touched over the launch, times 32.
  uint64_t uniqueGlobalBytesRead = 0, uniqueGlobalBytesWritten = 0;

  uint64_t atomicLanes = 0; ///< lane operations on global and shared memory
  /// Highest number of atomics that hit one address.
  uint64_t atomicsAtHottestAddress = 0;
  uint64_t atomicAddresses = 0;

  uint64_t mmaInstructions = 0;
  double mmaFlops = 0;   ///< a multiply-add counts twice
  double floatFlops = 0; ///< f32 and f64 arithmetic by active lanes, likewise
  uint64_t barriers = 0; ///< warp arrivals
  uint64_t divergentBranches = 0, branches = 0;

  double occupancy = 0;
  uint64_t registersPerThread = 0, sharedBytesPerBlock = 0;
  /// Roofline estimate by the device model's published rates; an estimate and
  /// labelled so wherever it is printed.
  double estimatedSeconds = 0;

  double activeLanesPerInstruction() const {
    return warpInstructions ? double(laneInstructions) / warpInstructions : 0;
  }
  void printJson(llvm::raw_ostream &os) const;
  void printTable(llvm::raw_ostream &os) const;
};

} // namespace cudasim
