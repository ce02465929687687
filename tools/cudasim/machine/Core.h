//===- Core.h - what instruction handlers see of the machine --------------===//
//
// Plain data only: this header is compiled for several instruction sets, and
// an inline function shared between them could be linked from the wrong one.
//
// Registers of a warp are arrays of 32 lanes. A 16-bit register takes a 32-bit
// lane (its upper half is zero), a predicate takes one bit of a word. The
// registers of one call lie in a frame: first its predicates, a word each, of
// which the first two are constant false and true, then its lane arrays.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/ptx/Ops.h"

#include <cstddef>
#include <cstdint>

namespace cudasim {

using ptx::Op;

constexpr int kLanes = 32;
constexpr uint32_t kAllLanes = ~uint32_t(0);

// Generic addresses of the state spaces that are not global memory.
constexpr uint64_t kSharedWindow = uint64_t(1) << 40;
constexpr uint64_t kLocalWindow = uint64_t(2) << 40;
constexpr uint64_t kParamWindow = uint64_t(3) << 40;
constexpr uint64_t kWindowBytes = uint64_t(1) << 32;

enum class Ty : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  BF16,
  F32,
  F64,
  F16x2,
  BF16x2,
  F32x2,
  U16x2,
  S16x2,
  TF32,
  E4M3,
  E5M2,
  E4M3x2,
  E5M2x2,
};

enum class Rounding : uint8_t { None, RN, RZ, RM, RP, RNI, RZI, RMI, RPI, RNA };

enum class Compare : uint8_t {
  EQ,
  NE,
  LT,
  LE,
  GT,
  GE,
  LO,
  LS,
  HI,
  HS,
  EQU,
  NEU,
  LTU,
  LEU,
  GTU,
  GEU,
  NUM,
  NAN_,
};

enum class MemorySpace : uint8_t { Generic, Global, Shared, Local, Param };

/// Everything of an op form that a handler is chosen by.
struct FormKey {
  Op op;
  Ty types[4] = {Ty::None, Ty::None, Ty::None, Ty::None};
  uint8_t typeCount = 0;
  Rounding rounding = Rounding::None;
  Compare compare = Compare::EQ;
  uint8_t combine = 0; ///< 0 none, 1 and, 2 or, 3 xor
  bool ftz = false, sat = false, satfinite = false, relu = false;
  bool nan = false, xorsign = false, absolute = false;
  bool hi = false, cc = false;
  bool wrap = false, right = false, shiftamt = false, full = false;
  bool trans = false, dual = false;
  uint8_t sub = 0;   ///< op-specific, see the decoder
  uint8_t count = 1; ///< vector elements, matrices
  MemorySpace space = MemorySpace::Generic;
};

struct Warp;
struct Instr;
using Handler = void (*)(Warp &, const Instr &, uint32_t mask);

/// What the interpreter does around a handler.
enum class Flow : uint8_t {
  Next,     ///< run, go on
  Write,    ///< the same, and it writes memory
  Sync,     ///< wait for the lanes of the member mask in ops[7], then run
  Converge, ///< as Sync, for all lanes that have not exited
  Branch,
  Call,
  Builtin, ///< vprintf and friends
  Ret,
  Exit,
  Trap,
  Barrier,
  BarArrive,
  WarpBarrier,
  Sleep,
};

/// A register operand: byte offset in the frame, or in the constants where
/// the lowest bit is set. Predicates: index in the frame's words.
using Ref = uint32_t;
constexpr Ref kSink = ~uint32_t(0); ///< a result that nobody wants

struct Instr {
  Handler run = nullptr;
  uint64_t imm = 0;
  Ref ops[8] = {};
  uint32_t guard = ~uint32_t(0); ///< predicate; all ones: none
  uint32_t target = 0;           ///< branch: pc; call: function; matrix: extra
  Flow flow = Flow::Next;
  bool guardNegated = false;
  uint8_t bytes = 0; ///< memory: bytes of an element
  uint8_t count = 1; ///< memory: elements; matrices
  uint8_t flags = 0; ///< see InstrFlag
  uint8_t sub = 0;   ///< op-specific
  Rounding rounding = Rounding::None;
  MemorySpace space = MemorySpace::Generic;
};

enum InstrFlag : uint8_t {
  kAddress64 = 1,   ///< the address register has 64 bits
  kFrameLocal = 2,  ///< the address is relative to the frame's local memory
  kNegatedPred = 4, ///< the last predicate source is negated
  kFtz = 8,
  kSat = 16,
  kStrong = 32, ///< volatile, relaxed or stronger: no data race
  kAcquire = 64,
  kRelease = 128,
};

/// A range of global memory that the launch may access; see GlobalMemory.
struct AddressWindow {
  uint64_t base = 0, bytes = 0, toHost = 0, toShadow = 0;
  bool writable = false;
};

/// How a memory handler reports to checkers and counters.
enum class AccessKind : uint8_t { Load, Store, Atomic, AsyncRead, AsyncWrite };

struct Access {
  AccessKind kind;
  MemorySpace space; ///< what it resolved to; Generic: mixed
  uint32_t mask;
  uint32_t bytes;            ///< per lane
  const uint64_t *addresses; ///< 32, as the instruction computed them
};

struct LaunchContext {
  AddressWindow *windows = nullptr; ///< a cache slot per pc
  const uint8_t *parameters = nullptr;
  uint32_t parameterBytes = 0;
  const Ref *extra = nullptr; ///< operands of matrix instructions
  bool observed = false;      ///< call observeAccess after resolving
  bool checkSync = false;
  uint64_t perturb = 0; ///< seed of the errors; 0: exact
};

struct Warp {
  uint8_t *bases[2] = {nullptr, nullptr}; ///< frame, constants
  LaunchContext *launch = nullptr;
  uint8_t *shared = nullptr;
  uint32_t sharedBytes = 0;
  uint32_t localStride = 0; ///< bytes of local memory per lane
  uint8_t *local = nullptr;
  uint32_t localBase = 0; ///< of the frame that runs
  uint32_t live = 0;      ///< lanes that have not exited
  uint32_t exists = 0;    ///< lanes that the block has
  uint32_t carry = 0;     ///< the condition code's carry bit, a lane a bit
  uint32_t pc = 0;
  bool faulted = false;
};

//===--- what handlers call out to, compiled once ---------------------------//

/// Finds the host bytes behind every active lane's address, of `bytes` each.
/// False: the warp has faulted.
bool resolveAddresses(Warp &warp, const Instr &instr, uint32_t mask,
                      const uint64_t *addresses, uint32_t bytes,
                      AccessKind kind, uint64_t *host, MemorySpace &space);
/// Checkers and counters. False: the warp has faulted.
bool observeAccess(Warp &warp, const Instr &instr, const Access &access);
/// Stops the warp at the lowest lane of `mask`.
void faultWarp(Warp &warp, uint32_t mask, int code, const char *message);
/// Adds a seeded error of at most `ulps` units in the last place.
float perturbed(Warp &warp, float value, float ulps);
/// Records an asynchronous copy; see AsyncCopies.
void issueAsyncCopy(Warp &warp, const Instr &instr, uint32_t mask,
                    const uint64_t *source, const uint64_t *target,
                    const uint32_t *sourceBytes);
void commitAsyncCopies(Warp &warp, const Instr &instr, uint32_t mask);
void waitAsyncCopies(Warp &warp, const Instr &instr, uint32_t mask);
/// Fences and clocks.
void fenceExecuted(Warp &warp, const Instr &instr, uint32_t mask);
uint64_t readSpecial(Warp &warp, uint32_t which, int lane);

/// Handlers for one instruction set; null where the form has none.
struct HandlerSet {
  Handler (*pickInteger)(const FormKey &);
  Handler (*pickFloat)(const FormKey &);
  Handler (*pickConvert)(const FormKey &);
  Handler (*pickMemory)(const FormKey &);
  Handler (*pickWarp)(const FormKey &);
  const char *name;
};
/// The best set that this processor runs. `limit` (v2, v3, v4) asks for a
/// lesser one; null: none.
const HandlerSet &chooseHandlers(const char *limit = nullptr);
/// Forms that are the same for every instruction set.
Handler pickScalar(const FormKey &key);

} // namespace cudasim
