//===- DecodeValues.cpp - arithmetic, comparisons, conversions, moves -----===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringSwitch.h"

using namespace cudasim;
using llvm::Error;
using llvm::StringRef;
using ptx::OperandKind;

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
