//===- DecodeOperands.cpp - registers, literals and addresses -------------===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

using namespace cudasim;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using ptx::OperandKind;

moec::ErrorBuilder Decoder::fail(const Operand &operand) const {
  // An operand may stand lines below the mnemonic, as in calls.
  StringRef before = StringRef(module.source.text).substr(0, operand.offset);
  uint32_t line = now->line + uint32_t(before.substr(now->offset).count('\n'));
  return module.source.error(line, operand.offset);
}
moec::ErrorBuilder Decoder::fail() const {
  return module.source.error(now->line, now->offset);
}

unsigned Decoder::registerBits(uint32_t reg) const {
  if (reg < function->registers.size())
    return ptx::bitsOf(function->registers[reg].type);
  return registers[reg] == Width::Wide ? 64 : 32;
}

Error Decoder::useRegister(uint32_t reg, uint16_t slot, bool isWrite) {
  draft.uses.push_back({reg, slot, isWrite});
  return Error::success();
}

void Decoder::setRef(unsigned slot, Ref ref) {
  if (slot < 8) {
    draft.instr.ops[slot] = ref;
    return;
  }
  if (draft.extra.size() <= slot - 8)
    draft.extra.resize(slot - 7, kSink);
  draft.extra[slot - 8] = ref;
}

Ref Decoder::constantRef(Constant constant) {
  uint64_t tag = uint64_t(constant.kind) << 1 | uint64_t(constant.wide) |
                 uint64_t(constant.index) << 8;
  auto [found, fresh] = constantIndex.try_emplace(
      std::make_pair(tag, constant.bits), uint32_t(code.constants.size()));
  if (fresh) {
    uint32_t bytes = constant.wide ? 256 : 128;
    code.constantBytes = uint32_t(llvm::alignTo(code.constantBytes, bytes));
    constant.offset = code.constantBytes;
    code.constantBytes += bytes;
    code.constants.push_back(constant);
  }
  return code.constants[found->second].offset | 1;
}

Expected<uint64_t> Decoder::immediate(const Operand &operand, StringRef what,
                                      uint64_t atMost) {
  if (operand.kind != OperandKind::Integer)
    return fail(operand) << "expected " << what << " as a number";
  if (operand.bits > atMost)
    return fail(operand) << what << " is " << operand.bits << ", at most "
                         << atMost << " is taken";
  return operand.bits;
}

Expected<uint32_t> Decoder::readSpecialInto(const Operand &operand,
                                            unsigned bits) {
  constexpr uint32_t kUnknown = 0x100;
  uint32_t which =
      llvm::StringSwitch<uint32_t>(operand.text)
          .Case("%tid.x", uint32_t(Special::TidX))
          .Case("%tid.y", uint32_t(Special::TidY))
          .Case("%tid.z", uint32_t(Special::TidZ))
          .Case("%ntid.x", uint32_t(Special::NtidX))
          .Case("%ntid.y", uint32_t(Special::NtidY))
          .Case("%ntid.z", uint32_t(Special::NtidZ))
          .Case("%ctaid.x", uint32_t(Special::CtaidX))
          .Case("%ctaid.y", uint32_t(Special::CtaidY))
          .Case("%ctaid.z", uint32_t(Special::CtaidZ))
          .Case("%nctaid.x", uint32_t(Special::NctaidX))
          .Case("%nctaid.y", uint32_t(Special::NctaidY))
          .Case("%nctaid.z", uint32_t(Special::NctaidZ))
          .Case("%envreg1", uint32_t(Special::WorkspaceHigh))
          .Case("%envreg2", uint32_t(Special::WorkspaceLow))
          .Case("%laneid", uint32_t(Special::LaneId))
          .Case("%warpid", uint32_t(Special::WarpId))
          .Case("%nwarpid", uint32_t(Special::NwarpId))
          .Case("%smid", uint32_t(Special::SmId))
          .Case("%nsmid", uint32_t(Special::NsmId))
          .Case("%gridid", uint32_t(Special::GridId))
          .Case("%lanemask_eq", uint32_t(Special::MaskEq))
          .Case("%lanemask_le", uint32_t(Special::MaskLe))
          .Case("%lanemask_lt", uint32_t(Special::MaskLt))
          .Case("%lanemask_ge", uint32_t(Special::MaskGe))
          .Case("%lanemask_gt", uint32_t(Special::MaskGt))
          .Case("%clock", uint32_t(Special::Clock))
          .Case("%clock_hi", uint32_t(Special::ClockHi))
          .Case("%clock64", uint32_t(Special::Clock64))
          .Case("%globaltimer", uint32_t(Special::GlobalTimer))
          .Case("%globaltimer_lo", uint32_t(Special::GlobalTimerLo))
          .Case("%globaltimer_hi", uint32_t(Special::GlobalTimerHi))
          .Case("%dynamic_smem_size", uint32_t(Special::DynamicShared))
          .Case("%total_smem_size", uint32_t(Special::TotalShared))
          .Case("%aggr_smem_size", uint32_t(Special::TotalShared))
          // A block is a cluster of its own.
          .Cases("%cluster_ctaid.x", "%cluster_ctaid.y", "%cluster_ctaid.z",
                 "%cluster_ctarank", uint32_t(Special::Zero))
          .Cases("%cluster_nctaid.x", "%cluster_nctaid.y", "%cluster_nctaid.z",
                 "%cluster_nctarank", uint32_t(Special::One))
          .Case("%clusterid.x", uint32_t(Special::CtaidX))
          .Case("%clusterid.y", uint32_t(Special::CtaidY))
          .Case("%clusterid.z", uint32_t(Special::CtaidZ))
          .Case("%nclusterid.x", uint32_t(Special::NctaidX))
          .Case("%nclusterid.y", uint32_t(Special::NctaidY))
          .Case("%nclusterid.z", uint32_t(Special::NctaidZ))
          .Default(kUnknown);
  if (which == kUnknown)
    return fail(operand) << "expected a register that is declared or a special "
                            "register that is supported, found '"
                         << operand.text << "'";
  uint32_t temporary = uint32_t(registers.size());
  registers.push_back(bits == 64 ? Width::Wide : Width::Narrow);
  Draft read;
  FormKey special;
  special.op = Op::Mov;
  special.sub = 3;
  special.types[0] = bits == 64 ? Ty::U64 : bits == 16 ? Ty::U16 : Ty::U32;
  special.typeCount = 1;
  read.instr.run = pickScalar(special);
  read.instr.imm = which;
  read.uses.push_back({temporary, 0, true});
  read.source = draft.source;
  read.op = Op::Mov;
  read.form = draft.form;
  drafts.push_back(std::move(read));
  return temporary;
}

Error Decoder::symbolValue(const Operand &operand, unsigned slot,
                           unsigned bits) {
  bool wide = bits == 64;
  if (bits < 32)
    return fail(operand) << "expected 32 or 64 bits for an address";
  if (operand.moduleScope) {
    const ptx::Variable &variable = module.variables[operand.index];
    if (variable.space == ptx::Space::Shared)
      setRef(slot, constantRef({Constant::SharedVariable, wide,
                                layout.moduleShared[operand.index],
                                operand.bits, 0}));
    else
      setRef(slot, constantRef({Constant::ModuleVariable, wide, operand.index,
                                operand.bits, 0}));
    return Error::success();
  }
  const ptx::Variable &variable = function->variables[operand.index];
  uint32_t place = frame->place[operand.index];
  if (variable.space == ptx::Space::Shared) {
    setRef(slot, constantRef(
                     {Constant::SharedVariable, wide, place, operand.bits, 0}));
    return Error::success();
  }
  if (function->isEntry && variable.space == ptx::Space::Param &&
      operand.index < function->parameterCount) {
    uint64_t value = place + operand.bits;
    setRef(slot, wide ? bits64(value) : bits32(uint32_t(value)));
    return Error::success();
  }
  // Relative to the frame: computed when it is read.
  uint32_t temporary = uint32_t(registers.size());
  registers.push_back(wide ? Width::Wide : Width::Narrow);
  Draft read;
  FormKey local;
  local.op = Op::Mov;
  local.sub = 4;
  local.types[0] = wide ? Ty::U64 : Ty::U32;
  local.typeCount = 1;
  read.instr.run = pickScalar(local);
  read.instr.imm = place + operand.bits;
  read.uses.push_back({temporary, 0, true});
  read.source = draft.source;
  read.op = Op::Mov;
  read.form = draft.form;
  drafts.push_back(std::move(read));
  return useRegister(temporary, uint16_t(slot), false);
}

Error Decoder::source(const Operand &operand, unsigned slot, unsigned bits,
                      bool isFloat, bool exact) {
  if (operand.negated)
    return fail(operand) << "expected a source without '!'";
  switch (operand.kind) {
  case OperandKind::Register: {
    unsigned found = registerBits(operand.index);
    if (found == 1)
      return fail(operand) << "expected a register of " << bits
                           << " bits, found a predicate";
    if (exact ? found != bits : (found > 32) != (bits > 32))
      return fail(operand) << "expected a register of " << bits
                           << " bits, found '"
                           << function->registers[operand.index].name << "' of "
                           << found;
    return useRegister(operand.index, uint16_t(slot), false);
  }
  case OperandKind::Special: {
    MOEC_ASSIGN(uint32_t temporary, readSpecialInto(operand, bits));
    return useRegister(temporary, uint16_t(slot), false);
  }
  case OperandKind::Symbol:
    return symbolValue(operand, slot, bits);
  case OperandKind::Integer:
  case OperandKind::Float32:
  case OperandKind::Float64: {
    uint64_t value = operand.bits;
    if (operand.kind == OperandKind::Float64 && bits == 32)
      value = llvm::bit_cast<uint32_t>(float(llvm::bit_cast<double>(value)));
    else if (operand.kind == OperandKind::Float32 && bits == 64)
      value = llvm::bit_cast<uint64_t>(
          double(llvm::bit_cast<float>(uint32_t(value))));
    else if (operand.kind == OperandKind::Integer && isFloat && bits >= 32 &&
             value != 0)
      return fail(operand) << "expected a floating-point number";
    if (bits < 32)
      value &= (uint64_t(1) << bits) - 1;
    setRef(slot, bits > 32 ? bits64(value) : bits32(uint32_t(value)));
    return Error::success();
  }
  case OperandKind::Flag:
    return fail(operand) << "expected a name that is declared, found '"
                         << operand.text << "'";
  default:
    return fail(operand) << "expected a register or a number";
  }
}

Error Decoder::result(const Operand &operand, unsigned slot, unsigned bits,
                      bool exact) {
  if (operand.kind == OperandKind::Sink) {
    setRef(slot, kSink);
    return Error::success();
  }
  if (operand.kind != OperandKind::Register || operand.negated)
    return fail(operand) << "expected a register for the result";
  unsigned found = registerBits(operand.index);
  if (found == 1 || (exact ? found != bits : (found > 32) != (bits > 32)))
    return fail(operand) << "expected a result register of " << bits
                         << " bits, found '"
                         << function->registers[operand.index].name << "' of "
                         << found;
  return useRegister(operand.index, uint16_t(slot), true);
}

Error Decoder::predicateSource(const Operand &operand, unsigned slot,
                               bool mayNegate) {
  if (operand.kind == OperandKind::Integer) {
    setRef(slot, operand.bits ? 1 : 0); // the frame's constant predicates
    return Error::success();
  }
  if (operand.kind != OperandKind::Register || registerBits(operand.index) != 1)
    return fail(operand) << "expected a predicate";
  if (operand.negated) {
    if (!mayNegate)
      return fail(operand) << "expected a predicate without '!'";
    draft.instr.flags |= kNegatedPred;
  }
  return useRegister(operand.index, uint16_t(slot), false);
}

Error Decoder::predicateResult(const Operand &operand, unsigned slot) {
  if (operand.kind == OperandKind::Sink) {
    setRef(slot, kSink);
    return Error::success();
  }
  if (operand.kind != OperandKind::Register ||
      registerBits(operand.index) != 1 || operand.negated)
    return fail(operand) << "expected a predicate register for the result";
  return useRegister(operand.index, uint16_t(slot), true);
}

Error Decoder::address(const Operand &operand, unsigned slot, MemorySpace space,
                       uint64_t &offset) {
  if (operand.kind != OperandKind::Address)
    return fail(operand) << "expected an address in brackets";
  offset = operand.bits;
  switch (operand.base) {
  case OperandKind::Register: {
    unsigned bits = registerBits(operand.index);
    bool small = space == MemorySpace::Shared || space == MemorySpace::Local ||
                 space == MemorySpace::Param;
    if (bits != 64 && !(bits == 32 && small))
      return fail(operand) << "expected an address register of 64 bits, found "
                           << bits;
    if (bits == 64)
      draft.instr.flags |= kAddress64;
    return useRegister(operand.index, uint16_t(slot), false);
  }
  case OperandKind::Symbol: {
    ptx::Space declared = operand.moduleScope
                              ? module.variables[operand.index].space
                              : function->variables[operand.index].space;
    bool fits =
        space == MemorySpace::Generic
            ? declared == ptx::Space::Global || declared == ptx::Space::Const
        : space == MemorySpace::Shared ? declared == ptx::Space::Shared
        : space == MemorySpace::Local  ? declared == ptx::Space::Local
        : space == MemorySpace::Param
            ? declared == ptx::Space::Param
            : declared == ptx::Space::Global || declared == ptx::Space::Const;
    if (!fits)
      return fail(operand)
             << "expected a variable of the instruction's state space";
    if (declared == ptx::Space::Local ||
        (declared == ptx::Space::Param &&
         !(function->isEntry && operand.index < function->parameterCount))) {
      draft.instr.flags |= kFrameLocal;
      offset += frame->place[operand.index];
      setRef(slot, bits32(0));
      return Error::success();
    }
    Operand plain = operand;
    plain.bits = 0;
    bool wide = declared != ptx::Space::Shared;
    if (wide)
      draft.instr.flags |= kAddress64;
    return symbolValue(plain, slot, wide ? 64 : 32);
  }
  default:
    draft.instr.flags |= kAddress64;
    setRef(slot, bits64(0));
    return Error::success();
  }
}
