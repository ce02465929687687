//===- DecodeMemory.cpp - loads, stores, atomics, copies and matrices -----===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace cudasim;
using llvm::Error;
using llvm::StringRef;
using ptx::OperandKind;

namespace {

/// Bit of the strength flags that an access's words ask for.
uint8_t strength(const ptx::Form &form) {
  uint8_t flags = 0;
  if (form.oneOf({"volatile", "relaxed", "acquire", "release", "acq_rel"})
          .size())
    flags |= kStrong;
  if (form.oneOf({"acquire", "acq_rel"}).size())
    flags |= kAcquire;
  if (form.oneOf({"release", "acq_rel"}).size())
    flags |= kRelease;
  return flags;
}

} // namespace

MemorySpace Decoder::spaceOf() const {
  if (form.has("global"))
    return MemorySpace::Global;
  if (form.oneOf({"shared", "shared::cta"}).size())
    return MemorySpace::Shared;
  if (form.has("local"))
    return MemorySpace::Local;
  if (form.oneOf({"param", "param::entry", "param::func"}).size())
    return MemorySpace::Param;
  // Constant variables have generic addresses here.
  return MemorySpace::Generic;
}

Error Decoder::access(bool isLoad) {
  Instr &instr = draft.instr;
  if (now->operands.size() != 2)
    return fail() << "expected 2 operands, found " << now->operands.size();
  const Operand &value = now->operands[isLoad ? 0 : 1];
  const Operand &place = now->operands[isLoad ? 1 : 0];
  unsigned count = form.has("v2") ? 2 : form.has("v4") ? 4 : 1;
  unsigned bits = typeBits(form.lastType());
  if (count * bits > 128)
    return fail() << "an access takes at most 128 bits, found " << count * bits;
  llvm::SmallVector<const Operand *, 4> elements;
  if (value.kind == OperandKind::Vector)
    for (const Operand &element : value.elements)
      elements.push_back(&element);
  else
    elements.push_back(&value);
  if (elements.size() != count)
    return fail(value) << "expected " << count << " values, found "
                       << elements.size();
  // Registers may be wider than the memory type, but all are alike.
  unsigned width = 0;
  for (const Operand *element : elements) {
    if (element->kind != OperandKind::Register)
      continue;
    unsigned found = registerBits(element->index);
    if (found == 1 || found == 128 || found < std::max(bits, 16u) ||
        (width && (found > 32) != (width > 32)))
      return fail(*element) << "expected registers of at least " << bits
                            << " bits, all alike, found one of " << found;
    width = std::max(width, found);
  }
  if (!width)
    width = std::max(bits, 16u);
  bool isFloat = typeIsFloat(form.lastType());
  for (size_t i = 0; i < elements.size(); ++i) {
    unsigned slotBits = elements[i]->kind == OperandKind::Register
                            ? registerBits(elements[i]->index)
                            : width;
    if (isLoad) {
      MOEC_TRY(result(*elements[i], unsigned(i), slotBits, false));
    } else {
      MOEC_TRY(source(*elements[i], unsigned(i), slotBits, isFloat, false));
    }
  }
  instr.bytes = uint8_t(bits / 8);
  instr.count = key.count = uint8_t(count);
  instr.sub = width == 16;
  key.sub = width > 32;
  key.space = spaceOf();
  instr.flags |= strength(form);

  uint64_t offset = 0;
  if (key.space == MemorySpace::Param) {
    bool ofKernel = place.kind == OperandKind::Address &&
                    place.base == OperandKind::Symbol && !place.moduleScope &&
                    function->isEntry && place.index < function->parameterCount;
    if (ofKernel) {
      if (!isLoad)
        return fail(place) << "kernel parameters cannot be written";
      uint64_t at = frame->place[place.index] + place.bits;
      if (at + uint64_t(count) * bits / 8 > frame->parameterBytes ||
          at > frame->parameterBytes)
        return fail(place) << "this reads beyond the kernel's "
                           << frame->parameterBytes << " parameter bytes";
      instr.imm = at;
      instr.space = MemorySpace::Param;
      return finish();
    }
    if (place.kind == OperandKind::Address &&
        place.base == OperandKind::Register) {
      // Parameters by register: an offset in the kernel's parameters.
      if (!isLoad || !function->isEntry)
        return fail(place)
               << "parameters of functions are not accessed through registers";
      MOEC_TRY(address(place, 7, MemorySpace::Param, offset));
      if (!(instr.flags & kAddress64))
        return fail(place) << "expected an address register of 64 bits";
      instr.imm = offset + kParamWindow;
      key.space = instr.space = MemorySpace::Generic;
      return finish();
    }
    MOEC_TRY(address(place, 7, MemorySpace::Param, offset));
    key.space = instr.space = MemorySpace::Local;
    instr.imm = offset;
    return finish();
  }
  MOEC_TRY(address(place, 7, key.space, offset));
  instr.imm = offset;
  instr.space = key.space;
  uint32_t base =
      place.base == OperandKind::Register ? place.index : ~place.index;
  if (isLoad && guesses.count({base, place.bits}))
    instr.flags |= kStrong;
  return finish();
}

Error Decoder::atomic(bool hasResult) {
  Instr &instr = draft.instr;
  StringRef name = form.oneOf(
      {"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"});
  key.sub = instr.sub = llvm::StringSwitch<uint8_t>(name)
                            .Case("add", 0)
                            .Case("min", 1)
                            .Case("max", 2)
                            .Case("and", 3)
                            .Case("or", 4)
                            .Case("xor", 5)
                            .Case("inc", 6)
                            .Case("dec", 7)
                            .Case("exch", 8)
                            .Default(9);
  bool isCas = name == "cas";
  unsigned count = form.has("v2")   ? 2
                   : form.has("v4") ? 4
                   : form.has("v8") ? 8
                                    : 1;
  unsigned bits = typeBits(form.lastType());
  size_t expected = size_t(hasResult) + 1 + (isCas ? 2 : 1);
  if (now->operands.size() != expected)
    return fail() << "expected " << expected << " operands, found "
                  << now->operands.size();
  if (count * bits > 128)
    return fail() << "an atomic takes at most 128 bits, found " << count * bits;
  key.count = instr.count = uint8_t(count);
  instr.bytes = uint8_t(bits / 8);
  instr.imm = 0;
  // extra: results, sources, then the values that a cas writes.
  unsigned slot = 8;
  size_t at = 0;
  auto elementsOf = [&](const Operand &operand)
      -> llvm::Expected<llvm::SmallVector<const Operand *, 8>> {
    llvm::SmallVector<const Operand *, 8> list;
    if (operand.kind == OperandKind::Vector)
      for (const Operand &element : operand.elements)
        list.push_back(&element);
    else if (operand.kind == OperandKind::Sink)
      list.assign(count, &operand);
    else
      list.push_back(&operand);
    if (list.size() != count)
      return fail(operand) << "expected " << count << " values, found "
                           << list.size();
    return list;
  };
  if (hasResult) {
    MOEC_ASSIGN(auto list, elementsOf(now->operands[at++]));
    for (const Operand *element : list)
      MOEC_TRY(result(*element, slot++, bits));
  } else {
    for (unsigned i = 0; i < count; ++i)
      setRef(slot++, kSink);
  }
  uint64_t offset = 0;
  key.space = instr.space = spaceOf();
  MOEC_TRY(address(now->operands[at++], 7, key.space, offset));
  instr.imm = offset;
  bool isFloat = typeIsFloat(form.lastType());
  for (; at < now->operands.size(); ++at) {
    MOEC_ASSIGN(auto list, elementsOf(now->operands[at]));
    for (const Operand *element : list)
      MOEC_TRY(source(*element, slot++, bits, isFloat));
  }
  instr.flags |= strength(form) | kStrong;
  instr.flags |=
      key.types[0] == Ty::F32 && count == 1 && key.space != MemorySpace::Shared
          ? kFtz
          : 0;
  return finish();
}

Error Decoder::asyncCopy() {
  Instr &instr = draft.instr;
  size_t count = now->operands.size();
  if (count < 3 || count > 4)
    return fail() << "expected 3 or 4 operands, found " << count;
  uint64_t target = 0, from = 0;
  MOEC_TRY(address(now->operands[0], 0, MemorySpace::Shared, target));
  uint8_t targetFlags = instr.flags;
  MOEC_TRY(address(now->operands[1], 1, MemorySpace::Global, from));
  if (!(instr.flags & kAddress64))
    return fail(now->operands[1]) << "expected a global address of 64 bits";
  instr.flags = targetFlags;
  if (!llvm::isInt<32>(int64_t(target)) || !llvm::isInt<32>(int64_t(from)))
    return fail() << "offset beyond 32 bits";
  instr.imm = uint64_t(uint32_t(target)) | from << 32;
  MOEC_ASSIGN(uint64_t size,
              immediate(now->operands[2], "the copy's size", 16));
  bool fits = size == 16 || (form.has("ca") && (size == 4 || size == 8));
  if (!fits)
    return fail(now->operands[2])
           << "a copy takes 4, 8 or 16 bytes, and 16 with .cg, found " << size;
  instr.bytes = uint8_t(size);
  instr.ops[2] = kSink;
  if (count == 4) {
    const Operand &last = now->operands[3];
    bool isPredicate =
        last.kind == OperandKind::Register && registerBits(last.index) == 1;
    if (isPredicate) {
      instr.sub = 1;
      MOEC_TRY(predicateSource(last, 2));
    } else {
      MOEC_TRY(source(last, 2, 32, false));
    }
  }
  instr.space = MemorySpace::Shared;
  return finish();
}

Error Decoder::matrixAccess(bool isLoad) {
  Instr &instr = draft.instr;
  if (now->operands.size() != 2)
    return fail() << "expected 2 operands, found " << now->operands.size();
  unsigned count = form.has("x1") ? 1 : form.has("x2") ? 2 : 4;
  const Operand &value = now->operands[isLoad ? 0 : 1];
  if (value.kind != OperandKind::Vector || value.elements.size() != count)
    return fail(value) << "expected a vector of " << count << " registers";
  for (unsigned i = 0; i < count; ++i) {
    if (isLoad) {
      MOEC_TRY(result(value.elements[i], i, 32));
    } else {
      MOEC_TRY(source(value.elements[i], i, 32, false));
    }
  }
  uint64_t offset = 0;
  key.space = instr.space = spaceOf();
  MOEC_TRY(address(now->operands[isLoad ? 1 : 0], 6, key.space, offset));
  instr.imm = offset;
  instr.count = uint8_t(count);
  instr.bytes = 16;
  instr.flow = Flow::Converge;
  return finish();
}

Error Decoder::matrixMultiply() {
  Instr &instr = draft.instr;
  if (now->operands.size() != 4)
    return fail() << "expected 4 operands, found " << now->operands.size();
  StringRef shape = form.words[2];
  unsigned k = 0;
  if (shape.drop_front(strlen("m16n8k")).getAsInteger(10, k))
    return fail() << "expected a shape m16n8k*, found '" << shape << "'";
  key.count = uint8_t(k);
  unsigned elementBits =
      key.types[1] == Ty::TF32 ? 32 : typeBits(form.types[1]);
  unsigned perRegister = 32 / elementBits;
  unsigned halves = k / (4 * perRegister); // registers of B
  auto accumulators = [&](Ty type) { return type == Ty::F16 ? 2u : 4u; };
  const unsigned counts[4] = {accumulators(key.types[0]), 2 * halves, halves,
                              accumulators(key.types[3])};
  if (halves == 0)
    return fail() << "this type has no shape " << shape;
  unsigned slot = 8;
  for (unsigned which = 0; which < 4; ++which) {
    const Operand &operand = now->operands[which];
    llvm::SmallVector<const Operand *, 4> list;
    if (operand.kind == OperandKind::Vector)
      for (const Operand &element : operand.elements)
        list.push_back(&element);
    else
      list.push_back(&operand);
    if (list.size() != counts[which])
      return fail(operand) << "expected " << counts[which]
                           << " registers, found " << list.size();
    bool isFloat = key.types[which] == Ty::F32;
    for (const Operand *element : list) {
      if (which == 0) {
        MOEC_TRY(result(*element, slot++, 32));
      } else {
        MOEC_TRY(source(*element, slot++, 32, isFloat));
      }
    }
  }
  instr.sub = key.satfinite;
  instr.flow = Flow::Converge;
  draft.mmaFlops = uint16_t(2 * 16 * 8 * k / 64);
  return finish();
}
