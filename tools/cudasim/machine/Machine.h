//===- Machine.h - a launch in progress -----------------------------------===//
//
// All state is plain data, so a block can be left at any instruction and taken
// up again. A warp is a set of fragments: lanes that stand at the same pc.
// The fragment with the lowest pc of the deepest call runs; fragments merge
// when their pcs meet. A fragment that takes many backward branches while
// others wait is put behind them, so that a lane may spin on what another lane
// of its warp will do.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/Code.h"
#include "tools/cudasim/machine/Launch.h"

#include "llvm/ADT/SmallVector.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace cudasim {

struct Block;
struct SharedShadow;
struct GlobalShadow;
struct TrafficTally;

/// Bytes aligned for vectors.
class AlignedBytes {
public:
  AlignedBytes() = default;
  ~AlignedBytes() { std::free(bytes); }
  AlignedBytes(const AlignedBytes &) = delete;
  AlignedBytes &operator=(const AlignedBytes &) = delete;
  AlignedBytes(AlignedBytes &&other) noexcept
      : bytes(other.bytes), length(other.length) {
    other.bytes = nullptr;
    other.length = 0;
  }
  AlignedBytes &operator=(AlignedBytes &&other) noexcept {
    std::swap(bytes, other.bytes);
    std::swap(length, other.length);
    return *this;
  }

  /// Keeps the content up to the smaller size; what is new is not set.
  void resize(size_t size) {
    if (size <= length)
      return;
    size_t rounded = (size + 63) & ~size_t(63);
    auto *larger = static_cast<uint8_t *>(std::aligned_alloc(64, rounded));
    if (bytes)
      memcpy(larger, bytes, length);
    std::free(bytes);
    bytes = larger;
    length = rounded;
  }
  uint8_t *data() const { return bytes; }
  size_t size() const { return length; }

private:
  uint8_t *bytes = nullptr;
  size_t length = 0;
};

/// splitmix64: small, seeded, the same everywhere.
class Random {
public:
  explicit Random(uint64_t seed = 0) : state(seed) {}
  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }

private:
  uint64_t state;
};

struct Fragment {
  enum State : uint8_t {
    Ready,
    Parked,  ///< at an op that waits for other lanes of the warp
    Barrier, ///< arrived at barrier `barrier`
  };
  uint32_t pc = 0, mask = 0;
  uint32_t depth = 0;  ///< of calls
  uint32_t yields = 0; ///< how often it was put behind others
  uint32_t backBranches = 0;
  State state = Ready;
  uint8_t barrier = 0;
  /// It wrote memory or met a barrier while other lanes waited at one.
  bool worked = false;
};

struct ReturnPoint {
  uint32_t pc = 0, call = 0;
};

struct AsyncCopy {
  uint64_t source[kLanes]; ///< host
  uint64_t target[kLanes]; ///< shared address
  uint32_t sizes[kLanes];  ///< bytes read; the rest is zero
  uint32_t mask = 0;       ///< lanes that have not waited for it
  uint32_t moved = 0;      ///< lanes whose bytes are there already
  uint32_t group = 0;      ///< the lanes' count of commits when it was issued
  uint32_t bytes = 0;
  uint32_t pc = 0;
};

struct WarpState : Warp {
  Block *block = nullptr;
  uint32_t index = 0; ///< in its block
  AlignedBytes frames, localMemory;
  llvm::SmallVector<Fragment, 8> fragments;
  int current = -1; ///< the fragment that runs
  /// By depth less one, then lane.
  std::vector<std::array<ReturnPoint, kLanes>> returns;
  std::vector<AsyncCopy> copies;
  uint32_t commits[kLanes] = {};
  bool asleep = false;
  uint64_t executed = 0;
  /// Which lanes of each register were written: by 128 bytes of frame, and by
  /// predicate word. Empty where nobody asked.
  std::vector<uint32_t> written, writtenPredicates;
  /// Vector clock for the race checker, by warp of the block; see Races.cpp.
  std::vector<uint32_t> clock;
  uint32_t syncEpoch = 0; ///< counts bar.warp.sync

  bool done() const { return fragments.empty(); }
};

struct BarrierState {
  uint32_t arrived[32] = {}; ///< lanes by warp
  uint32_t expected = 0;     ///< threads; 0: all of the block
  uint32_t pc = 0;           ///< of the first arrival
  uint32_t line = 0;
  bool active = false;
  uint32_t count = 0; ///< for red: how many lanes had their predicate set
  bool all = true, any = false;
};

struct Block {
  Grid::Impl *grid = nullptr;
  uint64_t linear = 0;
  Dim3 index;
  std::vector<WarpState> warps;
  AlignedBytes shared;
  BarrierState barriers[16];
  uint32_t liveWarps = 0;
  std::unique_ptr<SharedShadow> shadow;
};

enum class RunResult { Blocked, Done, Quantum, Slept, Faulted };

struct Grid::Impl {
  LaunchContext context;
  const Instance *instance = nullptr;
  const Program::Impl *program = nullptr;
  const Code *code = nullptr;
  const KernelInfo *kernel = nullptr;
  uint32_t kernelFunction = 0;
  LaunchConfig config;
  const DeviceModel *model = nullptr;
  std::vector<uint8_t> parameters;
  PrintSink print;
  GlobalMemory *memory = nullptr;
  int device = 0;
  /// Device memory of a cooperative launch, zero at its start; 0: none.
  DevicePtr workspace = 0;

  AlignedBytes constants;
  std::vector<AddressWindow> windows;
  uint64_t windowGeneration = 0;
  /// Frames of called functions, by function; see frameBase.
  std::vector<uint32_t> frameOffset, localOffset;
  uint32_t calleeFrames = 0, calleeLocals = 0, maxDepth = 0;
  uint32_t localStride = 0;

  /// Offset of each shared variable, and where dynamic memory starts.
  std::vector<uint32_t> sharedOffset;
  uint32_t dynamicSharedAt = 0, sharedTotal = 0;
  struct SharedRange {
    uint32_t begin, end;
    std::string name;
  };
  std::vector<SharedRange> sharedRanges; ///< sorted; gaps are redzones

  uint32_t threadsPerBlock = 0, warpsPerBlock = 0;
  uint64_t blockCount = 0, nextBlock = 0, finishedBlocks = 0;
  std::vector<uint64_t> blockOrder; ///< empty: in order
  uint64_t maxResident = 1;
  std::vector<std::unique_ptr<Block>> resident;
  std::vector<std::unique_ptr<Block>> spare;
  size_t turn = 0;

  Random random;
  bool seeded = false;
  uint64_t executed = 0;
  uint64_t progress = 0; ///< grows with writes and finished blocks
  bool stalled = false;

  State state = State::Running;
  std::optional<Fault> fault;
  Counters counters;
  std::vector<uint64_t> pcCount, pcLanes;
  std::unique_ptr<GlobalShadow> globalShadow;
  std::unique_ptr<TrafficTally> tally;

  ~Impl();

  const FunctionCode &functionAt(uint32_t pc) const {
    return code->functions[code->info[pc].function];
  }
  uint32_t frameBase(uint32_t function, uint32_t depth) const {
    if (depth == 0)
      return 0;
    return code->functions[kernelFunction].frameBytes +
           (depth - 1) * calleeFrames + frameOffset[function];
  }
  uint32_t localBase(uint32_t function, uint32_t depth) const {
    if (depth == 0)
      return 0;
    return program->layout.frames[kernelFunction].localBytes +
           (depth - 1) * calleeLocals + localOffset[function];
  }
  Dim3 threadIndex(uint32_t warp, uint32_t lane) const;

  //===--- Grid.cpp --------------------------------------------------------//
  std::optional<Fault> prepare();
  void fillConstants();
  void step(uint64_t budget);
  void startBlock();
  RunResult runBlock(Block &block, uint64_t quantum, uint64_t &used);
  void finish();
  std::string whereWarpsStand() const;
  /// Stops the grid.
  void raise(const WarpState *warp, uint32_t lane, uint32_t pc, ErrorCode code,
             std::string message, std::string details = {});
  void fillPlace(Fault &fault, uint32_t pc) const;
  std::string placeOf(uint32_t pc) const;

  //===--- WarpRunner.cpp --------------------------------------------------//
  RunResult runWarp(WarpState &warp, uint64_t quantum);
  void releaseBarrier(Block &block, uint32_t id);
  bool barrierComplete(const Block &block, uint32_t id) const;

  //===--- Builtins.cpp ----------------------------------------------------//
  /// False: the grid has stopped.
  bool callBuiltin(WarpState &warp, const CallInfo &call, uint32_t mask,
                   uint32_t pc);

  //===--- Checkers --------------------------------------------------------//
  bool checkRegisters(WarpState &warp, uint32_t pc, uint32_t mask);
  void barrierJoined(Block &block, const BarrierState &barrier);
  void warpSynced(WarpState &warp);
};

inline WarpState &stateOf(Warp &warp) { return static_cast<WarpState &>(warp); }

/// The copies of lanes `mask` are waited for.
void completeCopy(WarpState &warp, AsyncCopy &copy, uint32_t mask);

/// Tells the checkers that an asynchronous copy is under way, or waited for.
void asyncCopyIssued(WarpState &warp, const AsyncCopy &copy);
void asyncCopyLanded(WarpState &warp, const AsyncCopy &copy, uint32_t mask);

} // namespace cudasim
