//===- Code.h - decoded functions of a module -----------------------------===//
#pragma once

#include "tools/cudasim/machine/Core.h"
#include "tools/cudasim/machine/Program.h"
#include "tools/cudasim/ptx/Module.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cudasim {

/// A value that all lanes read; a slot in the constants of a launch.
struct Constant {
  enum Kind : uint8_t { Bits, ModuleVariable, SharedVariable } kind = Bits;
  bool wide = false; ///< 64-bit lanes
  uint32_t index = 0;
  uint64_t bits = 0;   ///< value, or what is added to the address
  uint32_t offset = 0; ///< of its lanes
};

/// A .shared variable of the module or of one of its functions.
struct SharedVariable {
  std::string name;
  uint64_t bytes = 0;
  uint32_t align = 1;
  bool isDynamic = false;
};

enum class Builtin : uint8_t { None, Printf, AssertFail, Malloc, Free };

/// What a call moves between the frames' local memories.
struct CallInfo {
  struct Move {
    uint32_t from, to, bytes;
  };
  uint32_t callee = 0; ///< index of a function
  Builtin builtin = Builtin::None;
  llvm::SmallVector<Move, 4> arguments, results;
};

/// Where a function's variables lie in a frame.
struct FrameLayout {
  /// By variable index: offset in local memory, or id of a shared variable.
  std::vector<uint32_t> place;
  uint32_t localBytes = 0;
  /// For kernels: by parameter index, offset in the parameter bytes.
  uint32_t parameterBytes = 0;
};

struct FunctionCode {
  uint32_t entry = 0, end = 0; ///< pcs
  uint32_t frameBytes = 0;
  uint32_t predicateWords = 2;
  uint32_t registers = 0; ///< estimate of 32-bit registers
  llvm::SmallVector<uint32_t, 4> callees;
};

/// Registers that an instruction reads and writes, for the checker of
/// uninitialised registers.
struct RegisterUse {
  Ref ref;
  bool isPredicate, isWrite;
};

/// What is counted for one pc.
struct PcInfo {
  uint32_t function = 0, instruction = 0; ///< in the ptx module
  uint32_t form = 0;                      ///< index into Code::forms
  uint32_t uses = 0, useCount = 0;        ///< in Code::uses
  uint16_t flops = 0;                     ///< per lane
  uint16_t mmaFlops = 0;                  ///< per warp, in units of 64
  Op op = Op::Exit;
};

struct CodeOptions {
  /// Every virtual register has storage of its own.
  bool separateRegisters = false;
  bool contract = true;

  unsigned index() const {
    return unsigned(separateRegisters) | unsigned(contract) << 1;
  }
};

struct Code {
  std::vector<Instr> instrs;
  std::vector<PcInfo> info;
  std::vector<RegisterUse> uses;
  std::vector<FunctionCode> functions; ///< by ptx function index
  std::vector<Constant> constants;
  uint32_t constantBytes = 0;
  std::vector<Ref> extra;
  std::vector<CallInfo> calls;
  std::vector<std::string> forms;
};

/// Layouts that do not depend on CodeOptions.
struct ModuleLayout {
  std::vector<FrameLayout> frames; ///< by function
  std::vector<SharedVariable> shared;
  /// By module variable: shared id, or kNone.
  std::vector<uint32_t> moduleShared;
};
ModuleLayout layOut(const ptx::Module &module);

/// Decodes all functions; fails at the first instruction that is unknown or
/// whose operands do not fit its form.
llvm::Expected<std::unique_ptr<Code>> decode(const ptx::Module &module,
                                             const ModuleLayout &layout,
                                             const HandlerSet &handlers,
                                             CodeOptions options);

struct Program::Impl {
  std::unique_ptr<ptx::Module> module;
  ModuleLayout layout;
  std::vector<KernelInfo> kernels;
  std::vector<uint32_t> kernelFunctions; ///< by kernel: ptx function index
  std::vector<VariableInfo> variables;
  /// By module variable: index into `variables`, or kNone.
  std::vector<uint32_t> variableIndex;

  /// Decoded when first needed.
  const Code &code(CodeOptions options) const;
  mutable std::mutex lock;
  mutable std::unique_ptr<Code> decoded[4];
};

} // namespace cudasim
