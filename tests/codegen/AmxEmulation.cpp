//===- AmxEmulation.cpp ---------------------------------------------------===//

#include "tests/codegen/AmxEmulation.h"
#include "ir/support/ElementType.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/IntrinsicsX86.h"
#include "llvm/IR/Module.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace llvm;
using namespace moec;

namespace {

struct Tiles {
  bool configured = false;
  uint8_t config[64];
  uint8_t data[8][16][64];
};
thread_local Tiles tiles;

void checkTile(uint8_t number) {
  ASSERT_TRUE(tiles.configured) << "a tile is used before ldtilecfg";
  ASSERT_LT(number, 8);
}
unsigned rowsOf(uint8_t number) { return tiles.config[48 + number]; }
unsigned bytesOf(uint8_t number) {
  return tiles.config[16 + 2 * number] | tiles.config[17 + 2 * number] << 8;
}

void loadConfig(const uint8_t *from) {
  memcpy(tiles.config, from, 64);
  ASSERT_EQ(from[0], 1) << "palette";
  ASSERT_EQ(from[1], 0) << "first row";
  for (unsigned number = 0; number < 8; ++number) {
    ASSERT_LE(rowsOf(number), 16u);
    ASSERT_LE(bytesOf(number), 64u);
  }
  memset(tiles.data, 0, sizeof(tiles.data));
  tiles.configured = true;
}

void release() { tiles.configured = false; }

void load(uint8_t number, const uint8_t *from, int64_t stride) {
  checkTile(number);
  memset(tiles.data[number], 0, sizeof(tiles.data[number]));
  for (unsigned row = 0; row < rowsOf(number); ++row)
    memcpy(tiles.data[number][row], from + row * stride, bytesOf(number));
}

void store(uint8_t number, uint8_t *to, int64_t stride) {
  checkTile(number);
  for (unsigned row = 0; row < rowsOf(number); ++row)
    memcpy(to + row * stride, tiles.data[number][row], bytesOf(number));
}

/// Even and odd products of a row have sums of their own, which are added to
/// each other and then to the destination.
void dotBf16(uint8_t sum, uint8_t left, uint8_t right) {
  checkTile(sum);
  auto half = [](uint8_t number, unsigned row, unsigned at) {
    uint16_t bits;
    memcpy(&bits, tiles.data[number][row] + 2 * at, 2);
    return bf16ToF32(bits);
  };
  for (unsigned row = 0; row < rowsOf(sum); ++row)
    for (unsigned column = 0; column < bytesOf(sum) / 4; ++column) {
      float parts[2] = {0, 0};
      for (unsigned k = 0; k < bytesOf(left) / 4; ++k)
        for (unsigned part = 0; part < 2; ++part)
          parts[part] =
              std::fma(half(left, row, 2 * k + part),
                       half(right, k, 2 * column + part), parts[part]);
      float value;
      memcpy(&value, tiles.data[sum][row] + 4 * column, 4);
      value += parts[0] + parts[1];
      memcpy(tiles.data[sum][row] + 4 * column, &value, 4);
    }
}

void *emulationOf(Intrinsic::ID id) {
  switch (id) {
  case Intrinsic::x86_ldtilecfg:
    return reinterpret_cast<void *>(loadConfig);
  case Intrinsic::x86_tilerelease:
    return reinterpret_cast<void *>(release);
  case Intrinsic::x86_tileloadd64:
    return reinterpret_cast<void *>(load);
  case Intrinsic::x86_tilestored64:
    return reinterpret_cast<void *>(store);
  case Intrinsic::x86_tdpbf16ps:
    return reinterpret_cast<void *>(dotBf16);
  default:
    return nullptr;
  }
}

} // namespace

std::string test::emulateAmx(StringRef bitcode) {
  LLVMContext context;
  auto module =
      cantFail(parseBitcodeFile(MemoryBufferRef(bitcode, "amx"), context));
  SmallVector<std::pair<IntrinsicInst *, void *>> calls;
  for (Function &function : *module)
    for (BasicBlock &block : function)
      for (Instruction &instruction : block)
        if (auto *call = dyn_cast<IntrinsicInst>(&instruction))
          if (void *emulation = emulationOf(call->getIntrinsicID()))
            calls.push_back({call, emulation});
  for (auto [call, emulation] : calls) {
    IRBuilder<> b(call);
    SmallVector<Value *> arguments(call->args());
    Value *address = b.CreateIntToPtr(
        b.getInt64(reinterpret_cast<uint64_t>(emulation)), b.getPtrTy());
    b.CreateCall(call->getFunctionType(), address, arguments);
    call->eraseFromParent();
  }
  std::string result;
  raw_string_ostream os(result);
  WriteBitcodeToFile(*module, os);
  return result;
}
