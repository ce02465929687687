//===- Types.cpp - names and widths of PTX types --------------------------===//

#include "tools/cudasim/ptx/Module.h"

#include "llvm/ADT/StringSwitch.h"

using namespace cudasim::ptx;
using llvm::StringRef;

Type cudasim::ptx::parseType(StringRef word) {
  return llvm::StringSwitch<Type>(word)
      .Case("pred", Type::Pred)
      .Case("b8", Type::B8)
      .Case("b16", Type::B16)
      .Case("b32", Type::B32)
      .Case("b64", Type::B64)
      .Case("b128", Type::B128)
      .Case("u8", Type::U8)
      .Case("u16", Type::U16)
      .Case("u32", Type::U32)
      .Case("u64", Type::U64)
      .Case("s8", Type::S8)
      .Case("s16", Type::S16)
      .Case("s32", Type::S32)
      .Case("s64", Type::S64)
      .Case("f16", Type::F16)
      .Case("f16x2", Type::F16x2)
      .Case("bf16", Type::BF16)
      .Case("bf16x2", Type::BF16x2)
      .Case("f32", Type::F32)
      .Case("f64", Type::F64)
      .Default(Type::None);
}

StringRef cudasim::ptx::nameOf(Type type) {
  static constexpr const char *names[] = {
      "none", "pred", "b8",    "b16",  "b32",    "b64", "b128",
      "u8",   "u16",  "u32",   "u64",  "s8",     "s16", "s32",
      "s64",  "f16",  "f16x2", "bf16", "bf16x2", "f32", "f64"};
  return names[size_t(type)];
}

unsigned cudasim::ptx::bitsOf(Type type) {
  switch (type) {
  case Type::None:
    return 0;
  case Type::Pred:
    return 1;
  case Type::B8:
  case Type::U8:
  case Type::S8:
    return 8;
  case Type::B16:
  case Type::U16:
  case Type::S16:
  case Type::F16:
  case Type::BF16:
    return 16;
  case Type::B32:
  case Type::U32:
  case Type::S32:
  case Type::F16x2:
  case Type::BF16x2:
  case Type::F32:
    return 32;
  case Type::B64:
  case Type::U64:
  case Type::S64:
  case Type::F64:
    return 64;
  case Type::B128:
    return 128;
  }
  return 0;
}
