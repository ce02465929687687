//===- Launch.h - running a kernel on a simulated device ------------------===//
//
// A launch is deterministic: the same program, memory, configuration and seed
// give the same bytes, faults and counters. It runs on the calling thread.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/Counters.h"
#include "tools/cudasim/machine/DeviceModel.h"
#include "tools/cudasim/machine/Program.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace cudasim {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
  friend bool operator==(const Dim3 &, const Dim3 &) = default;
};

/// Which checkers a launch runs with. Bounds, use after free, alignment and
/// peer rules are always checked.
struct Checks {
  /// Reads of global bytes (if the memory tracks them), shared bytes and
  /// registers that nobody wrote.
  bool uninitialized = false;
  /// Unordered accesses of two threads of a block to shared memory.
  bool sharedRaces = false;
  /// Unordered accesses of two blocks to global memory.
  bool globalRaces = false;
  /// Divergent bar.sync, wrong barrier counts, shuffles from lanes that take
  /// no part, exit with cp.async pending.
  bool sync = false;
  /// Redzones between shared variables, static and dynamic.
  bool sharedRedzones = false;

  static Checks all() { return {true, true, true, true, true}; }
  bool any() const {
    return uninitialized || sharedRaces || globalRaces || sync ||
           sharedRedzones;
  }
};

/// Whether a mul.f32 and an add.f32 without rounding modifier become one fma,
/// as ptxas may do, or never.
enum class FmaMode : uint8_t { Contract, Never };

struct LaunchConfig {
  Dim3 grid, block;
  uint32_t dynamicSharedBytes = 0;
  /// The function attribute that raises the limit over the part's default.
  uint32_t maxDynamicSharedBytes = 0;
  /// All blocks must be resident at once; refused where they cannot be.
  bool cooperative = false;
  const DeviceModel *model = nullptr; ///< null: the default part

  Checks checks;
  bool countersWanted = false;
  FmaMode fma = FmaMode::Contract;
  /// 0 runs blocks, warps and fragments in order and completes asynchronous
  /// copies as late as is legal; any other value orders them by chance.
  uint64_t scheduleSeed = 0;
  /// Not 0: approximate ops get an error within their documented bound, chosen
  /// by this seed.
  uint64_t perturbSeed = 0;
  /// Warp instructions after which the launch is given up (LaunchTimeout).
  uint64_t instructionBudget = 20'000'000'000ull;
};

/// Where and why a kernel was stopped. The driver reports `code` from then on.
struct Fault {
  ErrorCode code = ErrorCode::LaunchFailed;
  std::string kernel;
  Dim3 block{0, 0, 0}, thread{0, 0, 0};
  bool hasThread = false; ///< false: a launch that never started
  uint32_t ptxLine = 0;   ///< 1-based; 0: not known
  std::string ptxText;    ///< the instruction
  /// From .loc; empty where NVRTC ran without --generate-line-info.
  std::string sourceFile;
  uint32_t sourceLine = 0;
  std::string message; ///< what happened, in one line
  /// Where the other side of a race stood, or where each warp stands in a
  /// deadlock or timeout; several lines.
  std::string details;

  /// The message with everything above, in a few lines.
  std::string str() const;
};

/// Receives what device printf prints, formatted, a call at a time.
using PrintSink = std::function<void(llvm::StringRef)>;

/// A launch in progress. Several may be stepped in turn by the same thread, as
/// kernels of different streams and devices overlap.
class Grid {
public:
  enum class State { Running, Done, Faulted };

  /// Checks the configuration as the driver does: a launch beyond the limits
  /// of part or kernel fails here with InvalidValue, LaunchOutOfResources or
  /// CooperativeLaunchTooLarge. `parameters` are the packed bytes by
  /// KernelInfo::parameters (copied). `instance` must outlive the grid.
  static std::unique_ptr<Grid>
  start(const Instance &instance, const KernelInfo &kernel,
        const LaunchConfig &config, llvm::ArrayRef<std::byte> parameters,
        std::optional<Fault> &refused, PrintSink print = {});
  ~Grid();

  /// Runs about `warpInstructions` more.
  State step(uint64_t warpInstructions);
  State state() const;
  /// True where the last step only spun: every warp waits at a barrier or
  /// repeats loops without a store. A hint for whoever interleaves grids.
  bool isStalled() const;
  /// Set in State::Faulted.
  const std::optional<Fault> &fault() const;
  /// Complete in State::Done; empty unless wanted.
  const Counters &counters() const;
  /// For a grid that is given up while others wait for it: where each warp
  /// stands.
  std::string whereWarpsStand() const;

  struct Impl;

private:
  Grid();
  std::unique_ptr<Impl> body;
};

/// Runs a launch to its end.
std::optional<Fault> launch(const Instance &instance, const KernelInfo &kernel,
                            const LaunchConfig &config,
                            llvm::ArrayRef<std::byte> parameters,
                            Counters *counters = nullptr, PrintSink print = {});

} // namespace cudasim
