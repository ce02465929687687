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

namespace {

unsigned bitsOf(Ty type) {
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
bool isFloatKind(Ty type) {
  return type == Ty::F16 || type == Ty::BF16 || type == Ty::F32 ||
         type == Ty::F64 || type == Ty::F16x2 || type == Ty::BF16x2 ||
         type == Ty::F32x2;
}

} // namespace

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

//===--- forms described by their signature ---------------------------------//

Error Decoder::simple() {
  StringRef signature = form.row->operands;
  StringRef first = form.types.empty() ? "b32" : form.firstType();
  StringRef last = form.types.empty() ? "b32" : form.lastType();
  unsigned slot = 0;
  Instr &instr = draft.instr;
  bool isPredicate = first == "pred";
  for (size_t i = 0; i < now->operands.size(); ++i) {
    const Operand &operand = now->operands[i];
    switch (signature[i]) {
    case 'd':
      if (isPredicate) {
        MOEC_TRY(predicateResult(operand, slot));
      } else {
        MOEC_TRY(result(operand, slot, typeBits(first)));
      }
      break;
    case 'i':
      MOEC_TRY(result(operand, slot, 32));
      break;
    case 'w':
      MOEC_TRY(result(operand, slot, 2 * typeBits(first)));
      break;
    case 'p':
      MOEC_TRY(predicateResult(operand, slot));
      break;
    case 'a':
      if (isPredicate) {
        MOEC_TRY(predicateSource(operand, slot, /*mayNegate=*/false));
      } else {
        MOEC_TRY(source(operand, slot, typeBits(last), typeIsFloat(last)));
      }
      break;
    case 'c':
      MOEC_TRY(source(operand, slot, typeBits(first), typeIsFloat(first)));
      break;
    case 'u':
      MOEC_TRY(source(operand, slot, 32, false));
      break;
    case 'W':
      MOEC_TRY(source(operand, slot, 2 * typeBits(first), false));
      break;
    case 'q':
      MOEC_TRY(predicateSource(operand, slot));
      break;
    case '#': {
      MOEC_ASSIGN(instr.imm, immediate(operand, "the table", 255));
      break;
    }
    default:
      return fail(operand) << "operand of an unknown kind";
    }
    ++slot;
  }

  switch (form.op) {
  case Op::AddCc:
  case Op::SubCc:
    instr.sub = 1;
    break;
  case Op::Addc:
  case Op::Subc:
    instr.sub = key.cc;
    break;
  case Op::MadCc:
  case Op::Madc:
    instr.sub = key.cc;
    key.rounding = key.hi ? Rounding::RN : Rounding::None;
    break;
  case Op::Dp2a:
    instr.sub = key.hi;
    break;
  case Op::Prmt:
    key.sub = instr.sub =
        llvm::StringSwitch<uint8_t>(
            form.oneOf({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"}))
            .Case("f4e", 1)
            .Case("b4e", 2)
            .Case("rc8", 3)
            .Case("ecl", 4)
            .Case("ecr", 5)
            .Case("rc16", 6)
            .Default(0);
    break;
  case Op::Rcp:
    // 1 / a.
    key.op = Op::Div;
    for (DraftUse &use : draft.uses)
      if (use.slot == 1)
        use.slot = 2;
    instr.ops[2] = instr.ops[1];
    setRef(1, key.types[0] == Ty::F64 ? bits64(uint64_t(0x3FF) << 52)
                                      : bits32(0x3F800000));
    break;
  case Op::Abs:
  case Op::Neg: {
    bool neg = form.op == Op::Neg;
    Ty type = key.types[0];
    uint32_t sign = type == Ty::F32                           ? 0x80000000
                    : type == Ty::F16 || type == Ty::BF16     ? 0x8000
                    : type == Ty::F16x2 || type == Ty::BF16x2 ? 0x80008000
                                                              : 0;
    if (sign) {
      instr.imm = neg ? uint64_t(sign) << 32 | 0xFFFFFFFF : uint32_t(~sign);
      instr.sub = type != Ty::F32;
    }
    break;
  }
  case Op::Min:
  case Op::Max:
  case Op::Min3:
  case Op::Max3:
    instr.sub = uint8_t(key.nan | key.xorsign << 1 | key.absolute << 2);
    break;
  case Op::CvtPair:
  case Op::CvtTf32:
    instr.count = uint8_t(key.relu | key.satfinite << 1);
    break;
  case Op::CvtPack:
  case Op::Video:
  case Op::Testp: {
    // These read what they need from the words.
    StringRef word = form.op == Op::Testp ? form.words[0] : StringRef();
    key.sub = instr.sub = llvm::StringSwitch<uint8_t>(word)
                              .Case("infinite", 1)
                              .Case("number", 2)
                              .Case("notanumber", 3)
                              .Case("normal", 4)
                              .Case("subnormal", 5)
                              .Default(0);
    if (form.op == Op::Video) {
      StringRef mnemonic = now->op[0].drop_front();
      instr.count = mnemonic.ends_with("4") ? 4 : 2;
      uint8_t kind = llvm::StringSwitch<uint8_t>(mnemonic.drop_back())
                         .Case("add", 0)
                         .Case("sub", 1)
                         .Case("avrg", 2)
                         .Case("absdiff", 3)
                         .Case("min", 4)
                         .Default(5);
      instr.sub = kind;
      auto isSigned = [&](size_t i) { return key.types[i] == Ty::S32; };
      bool sum = form.has("add");
      instr.imm = uint64_t(isSigned(0)) | uint64_t(isSigned(1)) << 1 |
                  uint64_t(isSigned(2)) << 2 | uint64_t(sum) << 3 |
                  uint64_t(key.sat) << 4;
    }
    if (form.op == Op::CvtPack)
      instr.sub = key.types[0] == Ty::U16   ? 0
                  : key.types[0] == Ty::S16 ? 1
                  : key.types[0] == Ty::U8  ? 2
                                            : 3;
    break;
  }
  default:
    break;
  }
  if (isFloatKind(key.types[0]) && key.types[0] != Ty::F32 &&
      key.types[0] != Ty::F64 && key.types[0] != Ty::F32x2 &&
      (form.op == Op::Add || form.op == Op::Sub || form.op == Op::Mul ||
       form.op == Op::Fma))
    instr.sub = key.relu;
  bool counts = key.types[0] == Ty::F32 || key.types[0] == Ty::F64;
  if (counts)
    draft.flops = form.op == Op::Fma ? 2 : form.op == Op::Neg ? 0 : 1;
  return finish();
}

Error Decoder::convert() {
  Instr &instr = draft.instr;
  Ty to = key.types[0], from = key.types[1];
  const Operand &target = now->operands[0], &value = now->operands[1];
  // Registers may be wider than the types: a narrower result is extended, of
  // a source the low bits count.
  if (target.kind != OperandKind::Register)
    return fail(target) << "expected a register for the result";
  unsigned toBits = registerBits(target.index);
  if (toBits == 1 || toBits < std::max(bitsOf(to), 16u) ||
      (isFloatKind(to) && toBits != bitsOf(to)))
    return fail(target) << "expected a result register for " << form.firstType()
                        << ", found one of " << toBits << " bits";
  MOEC_TRY(useRegister(target.index, 0, true));
  unsigned fromBits;
  if (value.kind == OperandKind::Register) {
    fromBits = registerBits(value.index);
    if (fromBits == 1 || fromBits < std::max(bitsOf(from), 16u) ||
        (isFloatKind(from) && fromBits != bitsOf(from)))
      return fail(value) << "expected a source register for " << form.lastType()
                         << ", found one of " << fromBits << " bits";
    MOEC_TRY(useRegister(value.index, 1, false));
  } else {
    fromBits = std::max(bitsOf(from), 16u);
    MOEC_TRY(source(value, 1, fromBits, typeIsFloat(form.lastType())));
  }
  bool toFloat = isFloatKind(to), fromFloat = isFloatKind(from);
  if (toFloat && fromFloat) {
    bool integral = key.rounding >= Rounding::RNI;
    bool narrows = bitsOf(to) < bitsOf(from) ||
                   (bitsOf(to) == 16 && bitsOf(from) == 16 && to != from);
    if (narrows && key.rounding == Rounding::None)
      return fail() << "this conversion needs a rounding modifier";
    if (integral && to != from)
      return fail() << "rounding to an integer needs two equal types";
    if (key.relu && (bitsOf(to) != 16 || from != Ty::F32))
      return fail() << "'.relu' is for conversions from f32 to 16 bits";
    if (key.relu)
      instr.bytes = 0x80;
  }
  key.sub = instr.sub = uint8_t((toBits > 32) | (fromBits > 32) << 1);
  instr.imm = uint64_t(to) | uint64_t(from) << 8;
  if (toBits == 16 && !toFloat)
    instr.bytes = 2;
  return finish();
}

Error Decoder::compare() {
  Instr &instr = draft.instr;
  bool isSet = form.op == Op::Set;
  key.compare = llvm::StringSwitch<Compare>(form.words[0])
                    .Case("eq", Compare::EQ)
                    .Case("ne", Compare::NE)
                    .Case("lt", Compare::LT)
                    .Case("le", Compare::LE)
                    .Case("gt", Compare::GT)
                    .Case("ge", Compare::GE)
                    .Case("lo", Compare::LO)
                    .Case("ls", Compare::LS)
                    .Case("hi", Compare::HI)
                    .Case("hs", Compare::HS)
                    .Case("equ", Compare::EQU)
                    .Case("neu", Compare::NEU)
                    .Case("ltu", Compare::LTU)
                    .Case("leu", Compare::LEU)
                    .Case("gtu", Compare::GTU)
                    .Case("geu", Compare::GEU)
                    .Case("num", Compare::NUM)
                    .Default(Compare::NAN_);
  StringRef how = form.oneOf({"and", "or", "xor"});
  key.combine = instr.sub = how == "and"   ? 1
                            : how == "or"  ? 2
                            : how == "xor" ? 3
                                           : 0;
  size_t count = instr.sub ? 4 : 3;
  if (now->operands.size() != count)
    return fail() << "expected " << count << " operands, found "
                  << now->operands.size();
  instr.imm = uint64_t(key.compare);
  const Operand &target = now->operands[0];
  StringRef type = form.lastType();
  if (isSet) {
    MOEC_TRY(result(target, 0, typeBits(form.firstType())));
    instr.imm |= uint64_t(key.types[0]) << 8 | uint64_t(key.types[1]) << 16;
  } else {
    instr.ops[1] = kSink;
    if (target.kind == OperandKind::Pair) {
      MOEC_TRY(predicateResult(target.elements[0], 0));
      MOEC_TRY(predicateResult(target.elements[1], 1));
    } else {
      MOEC_TRY(predicateResult(target, 0));
    }
  }
  MOEC_TRY(source(now->operands[1], 2, typeBits(type), typeIsFloat(type)));
  MOEC_TRY(source(now->operands[2], 3, typeBits(type), typeIsFloat(type)));
  if (instr.sub) {
    MOEC_TRY(predicateSource(now->operands[3], 4));
  }
  return finish();
}

Error Decoder::move() {
  Instr &instr = draft.instr;
  if (now->operands.size() != 2)
    return fail() << "expected 2 operands, found " << now->operands.size();
  const Operand &target = now->operands[0], &value = now->operands[1];
  StringRef type = form.firstType();
  unsigned bits = typeBits(type);
  bool packs = value.kind == OperandKind::Vector;
  bool unpacks = target.kind == OperandKind::Vector;
  if (packs || unpacks) {
    const Operand &parts = packs ? value : target;
    size_t count = parts.elements.size();
    unsigned partBits = count ? unsigned(bits / count) : 0;
    if (packs == unpacks || count < 2 || count > 4 || bits % count ||
        partBits < 16 || (count & (count - 1)))
      return fail(parts) << "expected a vector of 2 or 4 parts of at least 16 "
                            "bits";
    key.sub = packs ? 1 : 2;
    instr.count = uint8_t(count);
    instr.bytes = uint8_t(partBits / 8);
    instr.sub = uint8_t(bits / 8);
    for (size_t i = 0; i < count; ++i) {
      if (packs) {
        MOEC_TRY(source(parts.elements[i], unsigned(i + 1), partBits, false));
      } else {
        MOEC_TRY(result(parts.elements[i], unsigned(i + 1), partBits));
      }
    }
    if (packs) {
      MOEC_TRY(result(target, 0, bits));
    } else {
      MOEC_TRY(source(value, 0, bits, false));
    }
    return finish();
  }
  if (type == "pred") {
    MOEC_TRY(predicateResult(target, 0));
    MOEC_TRY(predicateSource(value, 1));
    return finish();
  }
  MOEC_TRY(result(target, 0, bits));
  if (bits == 128) {
    if (value.kind != OperandKind::Register || registerBits(value.index) != 128)
      return fail(value) << "expected a register of 128 bits";
    MOEC_TRY(useRegister(value.index, 1, false));
    key.sub = 5;
    return finish();
  }
  MOEC_TRY(source(value, 1, bits, typeIsFloat(type)));
  return finish();
}

Error Decoder::toGeneric(bool back) {
  if (now->operands.size() != 2)
    return fail() << "expected 2 operands, found " << now->operands.size();
  uint64_t window = 0;
  if (form.oneOf({"shared", "shared::cta"}).size())
    window = kSharedWindow;
  else if (form.has("local"))
    window = kLocalWindow;
  else if (form.oneOf({"param", "param::entry"}).size())
    window = kParamWindow;
  if (form.op == Op::Isspacep) {
    MOEC_TRY(predicateResult(now->operands[0], 0));
  } else {
    MOEC_TRY(result(now->operands[0], 0, 64));
  }
  MOEC_TRY(source(now->operands[1], 1, 64, false));
  draft.instr.imm = back ? 0 - window : window;
  return finish();
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
