//===- Decoder.h - one function from PTX to instructions ------------------===//
#pragma once

#include "tools/cudasim/machine/Code.h"
#include "tools/cudasim/ptx/Forms.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <set>

namespace cudasim {

/// A register that a drafted instruction names; `slot` is an index into ops,
/// or, from 8 up, into its extra operands.
struct DraftUse {
  uint32_t reg = 0;
  uint16_t slot = 0;
  bool isWrite = false;
};
constexpr uint16_t kGuardSlot = 0xFFFF;

/// An instruction whose registers have no place yet.
struct Draft {
  Instr instr;
  llvm::SmallVector<DraftUse, 6> uses;
  llvm::SmallVector<Ref, 0> extra;
  uint32_t source = 0; ///< index in the ptx body
  uint32_t form = 0;
  uint16_t flops = 0, mmaFlops = 0;
  Op op = Op::Exit;
  uint32_t label = ptx::kNone; ///< of a branch
};

/// Registers of a function: those of the PTX, then temporaries.
enum class Width : uint8_t { Predicate, Narrow, Wide, Double };

/// Gives registers their places in the frame, rewrites the drafts' operands
/// and sets the function's sizes.
void allocateRegisters(std::vector<Draft> &drafts,
                       llvm::ArrayRef<Width> registers,
                       llvm::ArrayRef<uint32_t> labelTargets, bool separate,
                       FunctionCode &function);

unsigned bitsOf(Ty type);
bool isFloatKind(Ty type);

class Decoder {
public:
  Decoder(const ptx::Module &module, const ModuleLayout &layout,
          const HandlerSet &handlers, CodeOptions options, Code &code)
      : module(module), layout(layout), handlers(handlers), options(options),
        code(code) {}
  llvm::Error decodeFunction(uint32_t index);

private:
  using Operand = ptx::Operand;

  //===--- errors ----------------------------------------------------------//
  moec::ErrorBuilder fail(const Operand &operand) const;
  moec::ErrorBuilder fail() const;

  //===--- operands (DecodeOperands.cpp) -----------------------------------//
  unsigned registerBits(uint32_t reg) const;
  llvm::Error useRegister(uint32_t reg, uint16_t slot, bool isWrite);
  /// A source of `bits` bits in ops[slot]. `isFloat` says how a literal is
  /// read; `exact` demands a register of just that width.
  llvm::Error source(const Operand &operand, unsigned slot, unsigned bits,
                     bool isFloat, bool exact = true);
  llvm::Error result(const Operand &operand, unsigned slot, unsigned bits,
                     bool exact = true);
  llvm::Error predicateSource(const Operand &operand, unsigned slot,
                              bool mayNegate = true);
  llvm::Error predicateResult(const Operand &operand, unsigned slot);
  /// [base + offset]: base in ops[slot], offset in imm; sets kAddress64,
  /// kFrameLocal and the space.
  llvm::Error address(const Operand &operand, unsigned slot, MemorySpace space,
                      uint64_t &offset);
  Ref constantRef(Constant constant);
  Ref bits32(uint32_t bits) {
    return constantRef({Constant::Bits, false, 0, bits, 0});
  }
  Ref bits64(uint64_t bits) {
    return constantRef({Constant::Bits, true, 0, bits, 0});
  }
  void setRef(unsigned slot, Ref ref);
  llvm::Expected<uint64_t> immediate(const Operand &operand,
                                     llvm::StringRef what, uint64_t atMost);
  llvm::Expected<uint32_t> readSpecialInto(const Operand &operand,
                                           unsigned bits);
  llvm::Error symbolValue(const Operand &operand, unsigned slot, unsigned bits);

  llvm::Error decodeOne(uint32_t at);

  //===--- values (DecodeValues.cpp) ---------------------------------------//
  llvm::Error simple();  // forms whose signature says it all
  llvm::Error compare(); // setp, set
  llvm::Error move();
  llvm::Error convert();
  llvm::Error toGeneric(bool back);

  //===--- memory (DecodeMemory.cpp) ---------------------------------------//
  llvm::Error access(bool isLoad);
  llvm::Error atomic(bool hasResult);
  llvm::Error asyncCopy();
  llvm::Error matrixAccess(bool isLoad);
  llvm::Error matrixMultiply();

  //===--- warps and control (DecodeControl.cpp) ---------------------------//
  llvm::Error warpOp();
  llvm::Error barrier();
  llvm::Error branch();
  llvm::Error call();
  llvm::Error other();
  llvm::Error finish();

  FormKey makeKey() const;
  Handler pickHandler(const FormKey &key) const;
  unsigned typeBits(llvm::StringRef word) const;
  bool typeIsFloat(llvm::StringRef word) const;
  MemorySpace spaceOf() const;
  void findContractions();

  const ptx::Module &module;
  const ModuleLayout &layout;
  const HandlerSet &handlers;
  CodeOptions options;
  Code &code;

  const ptx::Function *function = nullptr;
  const FrameLayout *frame = nullptr;
  uint32_t functionIndex = 0;
  std::vector<Draft> drafts;
  std::vector<Width> registers;
  llvm::DenseMap<std::pair<uint64_t, uint64_t>, uint32_t> constantIndex;
  llvm::StringMap<uint32_t> formIndex;
  /// add or sub at key takes the operands of the mul at value.
  llvm::DenseMap<uint32_t, uint32_t> contracted;
  llvm::DenseMap<uint32_t, bool> skipped;
  /// Base and offset of every atom.cas.
  std::set<std::pair<uint32_t, uint64_t>> guesses;

  // The instruction being decoded.
  const ptx::Instruction *now = nullptr;
  ptx::Form form;
  FormKey key;
  Draft draft;
};

/// Ty of a type word; None where it is none.
Ty parseTy(llvm::StringRef word);

/// Special registers by number; see readSpecial.
enum class Special : uint32_t {
  TidX,
  TidY,
  TidZ,
  NtidX,
  NtidY,
  NtidZ,
  CtaidX,
  CtaidY,
  CtaidZ,
  NctaidX,
  NctaidY,
  NctaidZ,
  LaneId,
  WarpId,
  NwarpId,
  SmId,
  NsmId,
  GridId,
  MaskEq,
  MaskLe,
  MaskLt,
  MaskGe,
  MaskGt,
  Clock,
  ClockHi,
  Clock64,
  GlobalTimer,
  GlobalTimerLo,
  GlobalTimerHi,
  /// Of a cooperative launch: where its blocks synchronise. The toolkit's
  /// cooperative_groups.h finds the address in environment registers.
  WorkspaceHigh,
  WorkspaceLow,
  DynamicShared,
  TotalShared,
  Zero,
  One,
};

} // namespace cudasim
