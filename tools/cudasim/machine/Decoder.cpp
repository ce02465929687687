//===- Decoder.cpp - instructions by op form ------------------------------===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <functional>

using namespace cudasim;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using ptx::OperandKind;

Ty cudasim::parseTy(StringRef word) {
  return llvm::StringSwitch<Ty>(word)
      .Case("pred", Ty::Pred)
      .Case("b8", Ty::B8)
      .Case("b16", Ty::B16)
      .Case("b32", Ty::B32)
      .Case("b64", Ty::B64)
      .Case("b128", Ty::B128)
      .Case("u8", Ty::U8)
      .Case("u16", Ty::U16)
      .Case("u32", Ty::U32)
      .Case("u64", Ty::U64)
      .Case("s8", Ty::S8)
      .Case("s16", Ty::S16)
      .Case("s32", Ty::S32)
      .Case("s64", Ty::S64)
      .Case("f16", Ty::F16)
      .Case("bf16", Ty::BF16)
      .Case("f32", Ty::F32)
      .Case("f64", Ty::F64)
      .Case("f16x2", Ty::F16x2)
      .Case("bf16x2", Ty::BF16x2)
      .Case("f32x2", Ty::F32x2)
      .Case("u16x2", Ty::U16x2)
      .Case("s16x2", Ty::S16x2)
      .Case("tf32", Ty::TF32)
      .Case("e4m3", Ty::E4M3)
      .Case("e5m2", Ty::E5M2)
      .Case("e4m3x2", Ty::E4M3x2)
      .Case("e5m2x2", Ty::E5M2x2)
      .Default(Ty::None);
}

unsigned cudasim::bitsOf(Ty type) {
  switch (type) {
  case Ty::Pred:
    return 1;
  case Ty::B8:
  case Ty::U8:
  case Ty::S8:
  case Ty::E4M3:
  case Ty::E5M2:
    return 8;
  case Ty::B16:
  case Ty::U16:
  case Ty::S16:
  case Ty::F16:
  case Ty::BF16:
  case Ty::E4M3x2:
  case Ty::E5M2x2:
    return 16;
  case Ty::B64:
  case Ty::U64:
  case Ty::S64:
  case Ty::F64:
  case Ty::F32x2:
    return 64;
  case Ty::B128:
    return 128;
  default:
    return 32;
  }
}
bool cudasim::isFloatKind(Ty type) {
  return type == Ty::F16 || type == Ty::BF16 || type == Ty::F32 ||
         type == Ty::F64 || type == Ty::F16x2 || type == Ty::BF16x2 ||
         type == Ty::F32x2;
}

unsigned Decoder::typeBits(StringRef word) const {
  return bitsOf(parseTy(word));
}
bool Decoder::typeIsFloat(StringRef word) const {
  Ty type = parseTy(word);
  return type == Ty::F32 || type == Ty::F64;
}

FormKey Decoder::makeKey() const {
  FormKey made;
  made.op = form.op;
  for (StringRef word : form.types)
    if (made.typeCount < 4)
      made.types[made.typeCount++] = parseTy(word);
  made.rounding =
      llvm::StringSwitch<Rounding>(form.oneOf({"rn", "rz", "rm", "rp", "rni",
                                               "rzi", "rmi", "rpi", "rna"}))
          .Case("rn", Rounding::RN)
          .Case("rz", Rounding::RZ)
          .Case("rm", Rounding::RM)
          .Case("rp", Rounding::RP)
          .Case("rni", Rounding::RNI)
          .Case("rzi", Rounding::RZI)
          .Case("rmi", Rounding::RMI)
          .Case("rpi", Rounding::RPI)
          .Case("rna", Rounding::RNA)
          .Default(Rounding::None);
  made.ftz = form.has("ftz");
  made.sat = form.has("sat");
  made.satfinite = form.has("satfinite");
  made.relu = form.has("relu");
  made.nan = form.has("NaN");
  made.xorsign = form.has("xorsign");
  made.absolute = form.has("abs");
  made.hi = form.has("hi");
  made.cc = form.has("cc");
  made.wrap = form.has("wrap");
  made.right = form.has("r");
  made.shiftamt = form.has("shiftamt");
  made.full = form.has("full");
  made.trans = form.has("trans");
  return made;
}

Handler Decoder::pickHandler(const FormKey &wanted) const {
  if (Handler found = pickScalar(wanted))
    return found;
  switch (wanted.op) {
  case Op::Cvt:
  case Op::CvtPair:
  case Op::CvtTf32:
    return handlers.pickConvert(wanted);
  case Op::Ld:
  case Op::St:
  case Op::CpAsync:
  case Op::CpAsyncCommit:
  case Op::CpAsyncWait:
    return handlers.pickMemory(wanted);
  case Op::Ldmatrix:
  case Op::Stmatrix:
  case Op::Movmatrix:
  case Op::Mma:
  case Op::Shfl:
  case Op::Vote:
  case Op::Match:
  case Op::Redux:
  case Op::Activemask:
  case Op::Elect:
    return handlers.pickWarp(wanted);
  case Op::Selp:
  case Op::Slct:
  case Op::Mov:
    return handlers.pickInteger(wanted);
  default:
    return isFloatKind(wanted.types[0]) ? handlers.pickFloat(wanted)
                                        : handlers.pickInteger(wanted);
  }
}

/// Chooses the handler and stores the draft.
Error Decoder::finish() {
  if (key.ftz)
    draft.instr.flags |= kFtz;
  if (key.sat)
    draft.instr.flags |= kSat;
  draft.instr.rounding = key.rounding;
  draft.op = form.op;
  if (form.op == Op::St || form.op == Op::Atom || form.op == Op::Red)
    draft.instr.flow = Flow::Write;
  if (draft.instr.flow == Flow::Next || draft.instr.flow == Flow::Write ||
      draft.instr.flow == Flow::Sync || draft.instr.flow == Flow::Converge) {
    draft.instr.run = pickHandler(key);
    if (!draft.instr.run)
      return fail() << "instruction '" << now->text.take_until([](char c) {
        return c == ' ' || c == '\t';
      }) << "' has no implementation for these types";
  }
  drafts.push_back(std::move(draft));
  return Error::success();
}

//===--- one instruction ----------------------------------------------------//

Error Decoder::decodeOne(uint32_t at) {
  now = &function->body[at];
  form = ptx::findForm(now->op, now->operands.size());
  if (!form.row) {
    std::string spelling = llvm::join(now->op, ".");
    return fail() << "op form '" << spelling << "' with "
                  << now->operands.size()
                  << " operands is not supported (see OpForms.def)";
  }
  key = makeKey();
  draft = Draft();
  draft.source = at;
  std::string spelling = llvm::join(now->op, ".");
  auto [found, fresh] =
      formIndex.try_emplace(spelling, uint32_t(code.forms.size()));
  if (fresh)
    code.forms.push_back(std::move(spelling));
  draft.form = found->second;
  if (now->guard != ptx::kNone) {
    draft.instr.guardNegated = now->guardNegated;
    draft.uses.push_back({now->guard, kGuardSlot, false});
  }

  switch (form.op) {
  case Op::Setp:
  case Op::Set:
    return compare();
  case Op::Mov:
    return move();
  case Op::Cvt:
    return convert();
  case Op::Cvta:
  case Op::Isspacep:
    return toGeneric(false);
  case Op::CvtaTo:
    return toGeneric(true);
  case Op::Ld:
    return access(true);
  case Op::St:
    return access(false);
  case Op::Atom:
    return atomic(true);
  case Op::Red:
    return atomic(false);
  case Op::CpAsync:
    return asyncCopy();
  case Op::Ldmatrix:
    return matrixAccess(true);
  case Op::Stmatrix:
    return matrixAccess(false);
  case Op::Mma:
    return matrixMultiply();
  case Op::Movmatrix:
    draft.instr.flow = Flow::Converge;
    return simple();
  case Op::Shfl:
  case Op::Vote:
  case Op::Match:
  case Op::Redux:
  case Op::Activemask:
  case Op::Elect:
    return warpOp();
  case Op::BarSync:
  case Op::BarArrive:
  case Op::BarRed:
  case Op::BarWarp:
    return barrier();
  case Op::Bra:
    return branch();
  case Op::Call:
    return call();
  default:
    return form.row->operands == "*" || form.row->operands.empty() ? other()
                                                                   : simple();
  }
}

Error Decoder::decodeFunction(uint32_t index) {
  function = &module.functions[index];
  frame = &layout.frames[index];
  functionIndex = index;
  drafts.clear();
  registers.clear();
  for (const ptx::Register &reg : function->registers) {
    unsigned bits = ptx::bitsOf(reg.type);
    registers.push_back(bits == 1    ? Width::Predicate
                        : bits <= 32 ? Width::Narrow
                        : bits == 64 ? Width::Wide
                                     : Width::Double);
  }
  contracted.clear();
  skipped.clear();
  // A plain load whose address an atom.cas of the function shares is the first
  // guess of a loop that the cas verifies.
  guesses.clear();
  for (const ptx::Instruction &instruction : function->body)
    if (instruction.op[0] == "atom" && instruction.operands.size() == 4)
      guesses.insert({instruction.operands[1].base == OperandKind::Register
                          ? instruction.operands[1].index
                          : ~instruction.operands[1].index,
                      instruction.operands[1].bits});
  if (options.contract)
    findContractions();

  std::vector<uint32_t> start(function->body.size() + 1);
  for (uint32_t at = 0; at < function->body.size(); ++at) {
    start[at] = uint32_t(drafts.size());
    if (skipped.count(at))
      continue;
    auto fused = contracted.find(at);
    if (fused == contracted.end()) {
      MOEC_TRY(decodeOne(at));
      continue;
    }
    // add d, t, c with t = a * b, or sub with t on either side. Both are
    // decoded for their checks, then replaced.
    MOEC_TRY(decodeOne(fused->second));
    drafts.pop_back();
    const ptx::Instruction &mul = function->body[fused->second];
    const ptx::Instruction &add = function->body[at];
    MOEC_TRY(decodeOne(at));
    drafts.pop_back();
    uint32_t addForm = draft.form;
    bool productFirst = add.operands[1].kind == OperandKind::Register &&
                        add.operands[1].index == mul.operands[0].index;
    bool isSub = add.op[0] == "sub";
    draft = Draft();
    draft.source = at;
    draft.form = addForm;
    if (now->guard != ptx::kNone) {
      draft.instr.guardNegated = now->guardNegated;
      draft.uses.push_back({now->guard, kGuardSlot, false});
    }
    key.op = Op::Fma;
    key.rounding = Rounding::RN;
    key.sub = draft.instr.sub = isSub ? (productFirst ? 2 : 1) : 0;
    MOEC_TRY(result(add.operands[0], 0, 32));
    MOEC_TRY(source(mul.operands[1], 1, 32, true));
    MOEC_TRY(source(mul.operands[2], 2, 32, true));
    MOEC_TRY(source(add.operands[productFirst ? 2 : 1], 3, 32, true));
    draft.flops = 2;
    MOEC_TRY(finish());
  }
  start[function->body.size()] = uint32_t(drafts.size());
  // Falling off the end returns.
  Draft last;
  last.instr.flow = Flow::Ret;
  last.source =
      function->body.empty() ? 0 : uint32_t(function->body.size() - 1);
  last.op = Op::Ret;
  drafts.push_back(std::move(last));

  std::vector<uint32_t> targets;
  for (uint32_t label : function->labels)
    targets.push_back(start[label]);
  FunctionCode &out = code.functions[index];
  allocateRegisters(drafts, registers, targets, options.separateRegisters, out);
  out.entry = uint32_t(code.instrs.size());
  out.end = out.entry + uint32_t(drafts.size());
  for (Draft &each : drafts) {
    if (each.label != ptx::kNone)
      each.instr.target = out.entry + targets[each.label];
    if (!each.extra.empty()) {
      each.instr.target = uint32_t(code.extra.size());
      code.extra.insert(code.extra.end(), each.extra.begin(), each.extra.end());
    }
    PcInfo info;
    info.function = index;
    info.instruction = each.source;
    info.form = each.form;
    info.flops = each.flops;
    info.mmaFlops = each.mmaFlops;
    info.op = each.op;
    info.uses = uint32_t(code.uses.size());
    for (const DraftUse &use : each.uses) {
      Ref ref = use.slot == kGuardSlot ? each.instr.guard
                : use.slot < 8         ? each.instr.ops[use.slot]
                                       : each.extra[use.slot - 8];
      code.uses.push_back(
          {ref, registers[use.reg] == Width::Predicate, use.isWrite});
    }
    info.useCount = uint32_t(code.uses.size()) - info.uses;
    code.instrs.push_back(each.instr);
    code.info.push_back(info);
  }
  return Error::success();
}

/// Finds mul.f32 whose only reader is an add or sub in the same block, both
/// without a rounding modifier; ptxas fuses these.
void Decoder::findContractions() {
  size_t count = function->registers.size();
  std::vector<uint16_t> writes(count), reads(count);
  auto note = [](std::vector<uint16_t> &to, uint32_t reg) {
    to[reg] = std::min(to[reg] + 1, 1000);
  };
  std::function<void(const Operand &, bool)> visit = [&](const Operand &operand,
                                                         bool first) {
    if (operand.kind == OperandKind::Register)
      note(first ? writes : reads, operand.index);
    if (operand.kind == OperandKind::Address &&
        operand.base == OperandKind::Register)
      note(reads, operand.index);
    for (const Operand &element : operand.elements)
      visit(element, first);
  };
  for (const ptx::Instruction &instruction : function->body)
    for (size_t i = 0; i < instruction.operands.size(); ++i) {
      // Every first operand counts as written; stores read theirs, which
      // only makes the search more careful.
      visit(instruction.operands[i], i == 0);
      if (i == 0 && (instruction.op[0] == "st" || instruction.op[0] == "red"))
        visit(instruction.operands[i], false);
    }
  std::vector<bool> isTarget(function->body.size() + 1);
  for (uint32_t label : function->labels)
    isTarget[label] = true;

  auto plain = [](const ptx::Instruction &instruction, StringRef name) {
    if (instruction.op[0] != name || instruction.op.back() != "f32" ||
        instruction.operands.size() != 3)
      return false;
    for (StringRef word :
         llvm::ArrayRef(instruction.op).drop_front().drop_back())
      if (word != "ftz" && word != "sat")
        return false;
    return true;
  };
  auto hasWord = [](const ptx::Instruction &instruction, StringRef word) {
    return llvm::find(instruction.op, word) != instruction.op.end();
  };
  // By register: the mul of this block that defined it.
  llvm::DenseMap<uint32_t, uint32_t> products;
  for (uint32_t at = 0; at < function->body.size(); ++at) {
    const ptx::Instruction &instruction = function->body[at];
    if (isTarget[at])
      products.clear();
    bool isAdd = plain(instruction, "add"), isSub = plain(instruction, "sub");
    if (isAdd || isSub) {
      for (size_t side : {size_t(1), size_t(2)}) {
        const Operand &operand = instruction.operands[side];
        if (operand.kind != OperandKind::Register)
          continue;
        auto found = products.find(operand.index);
        if (found == products.end())
          continue;
        const ptx::Instruction &mul = function->body[found->second];
        if (mul.guard != instruction.guard ||
            mul.guardNegated != instruction.guardNegated ||
            hasWord(mul, "ftz") != hasWord(instruction, "ftz"))
          continue;
        contracted[at] = found->second;
        skipped[found->second] = true;
        break;
      }
    }
    // A write to a factor, or to the guard, ends the chance.
    if (!instruction.operands.empty()) {
      llvm::SmallVector<uint32_t, 4> written;
      std::function<void(const Operand &)> collect =
          [&](const Operand &operand) {
            if (operand.kind == OperandKind::Register)
              written.push_back(operand.index);
            for (const Operand &element : operand.elements)
              collect(element);
          };
      collect(instruction.operands[0]);
      for (uint32_t reg : written) {
        llvm::SmallVector<uint32_t, 4> dead;
        for (auto &[target, mul] : products) {
          const ptx::Instruction &product = function->body[mul];
          if (target == reg || product.guard == reg)
            dead.push_back(target);
          for (size_t k : {size_t(1), size_t(2)})
            if (product.operands[k].kind == OperandKind::Register &&
                product.operands[k].index == reg)
              dead.push_back(target);
        }
        for (uint32_t target : dead)
          products.erase(target);
      }
    }
    if (plain(instruction, "mul") && !hasWord(instruction, "sat") &&
        instruction.operands[0].kind == OperandKind::Register) {
      uint32_t reg = instruction.operands[0].index;
      bool special = instruction.operands[1].kind == OperandKind::Special ||
                     instruction.operands[2].kind == OperandKind::Special;
      if (writes[reg] == 1 && reads[reg] == 1 && !special)
        products[reg] = at;
    }
    if (instruction.op[0] == "bra" || instruction.op[0] == "call")
      products.clear();
  }
}
