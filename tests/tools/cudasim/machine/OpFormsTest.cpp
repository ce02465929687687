//===- OpFormsTest.cpp - every arithmetic op form, by value ---------------===//
//
// For every spelling of a row of OpForms.def a kernel is made that applies it
// to many values; each lane's result is compared with OpReference.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/FormKit.h"
#include "tests/tools/cudasim/machine/OpReference.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <sstream>

namespace cudasim::test {
namespace {

std::vector<std::string> split(const std::string &text) {
  std::vector<std::string> words;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, '.');)
    words.push_back(word);
  return words;
}

/// Values that meet the corners of a type.
std::vector<uint64_t> interesting(const std::string &type, unsigned bits) {
  if (type == "f64")
    return {0,
            uint64_t(1) << 63,
            0x3FF0000000000000,
            0xBFF8000000000000,
            0x3FF0000000000001,
            0x7FF0000000000000,
            0xFFF0000000000000,
            0x7FF8000000000000,
            1,
            0x000FFFFFFFFFFFFF,
            0x0010000000000000,
            0x7FEFFFFFFFFFFFFF,
            0x3CA0000000000000,
            0x41DFFFFFFFC00000,
            0x43E0000000000000,
            0xC1E0000000200000,
            0x4004000000000000,
            0xBFE0000000000000};
  if (type == "f32" || type == "tf32")
    return {0,          0x80000000, 0x3F800000, 0xBFC00000, 0x3F800001,
            0x7F800000, 0xFF800000, 0x7FC00000, 1,          0x807FFFFF,
            0x00800000, 0x7F7FFFFF, 0x33800000, 0x4B000001, 0xCF000000,
            0x4EFFFFFF, 0x40490FDB, 0x3F000000, 0xC0200000, 0x47000800,
            0x477FF000, 0x38801000, 0x42C80000, 0x3F805000, 0x7F000000};
  if (type == "f16")
    return {0, 0x8000, 0x3C00, 0xBE00, 0x3C01, 0x7C00, 0xFC00, 0x7E00,
            1, 0x83FF, 0x0400, 0x7BFF, 0x1400, 0x6800, 0xC500, 0x3800};
  if (type == "bf16")
    return {0, 0x8000, 0x3F80, 0xBFC0, 0x3F81, 0x7F80, 0xFF80, 0x7FC0,
            1, 0x807F, 0x0080, 0x7F7F, 0x3B80, 0x4B00, 0xC0A0, 0x3F00};
  if (type == "f16x2" || type == "bf16x2") {
    std::vector<uint64_t> half =
        interesting(type == "f16x2" ? "f16" : "bf16", 16);
    std::vector<uint64_t> both;
    for (size_t i = 0; i < half.size(); ++i)
      both.push_back(half[i] | half[(i * 5 + 3) % half.size()] << 16);
    return both;
  }
  if (type == "f32x2") {
    std::vector<uint64_t> part = interesting("f32", 32), both;
    for (size_t i = 0; i < part.size(); ++i)
      both.push_back(part[i] | part[(i * 7 + 2) % part.size()] << 32);
    return both;
  }
  uint64_t top = uint64_t(1) << (bits - 1);
  return {0,
          1,
          2,
          5,
          7,
          31,
          32,
          33,
          63,
          64,
          255,
          0x80,
          0x7FFF,
          0x8000,
          0xFFFF,
          top,
          top - 1,
          top + 1,
          ~uint64_t(0),
          0x0123456789ABCDEF,
          0xDEADBEEF12345678,
          0x55AA55AA,
          1000003};
}

std::string registerOf(unsigned bits) {
  return bits == 16 ? "%h" : bits == 64 ? "%d" : "%r";
}

/// One operand of a signature: how wide, and of which type.
struct Slot {
  unsigned bits = 32;
  std::string type = "b32";
  bool isPredicate = false, isImmediate = false;
};

class OpForms : public ::testing::TestWithParam<size_t> {};

/// Signatures of rows with a decoder of their own that compute one value from
/// others.
std::string signatureOf(const ptx::FormRow &row, const std::string &spelling) {
  bool combined = spelling.find(".and.") != std::string::npos ||
                  spelling.find(".or.") != std::string::npos ||
                  spelling.find(".xor.") != std::string::npos;
  if (row.op == ptx::Op::Setp)
    return combined ? "paaq" : "paa";
  if (row.op == ptx::Op::Set)
    return combined ? "daaq" : "daa";
  return row.operands.str();
}

/// Conversions that the ISA does not have, although the row's pattern, which
/// only says which modifiers there are, spells them.
bool isConversion(const std::vector<std::string> &words,
                  const std::vector<std::string> &types) {
  auto has = [&](const char *word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (words[0] != "cvt" || types.size() != 2 || types[0] == "f16x2" ||
      types[0] == "bf16x2" || types[0] == "tf32" || has("pack"))
    return true;
  bool toFloat = isFloatType(types[0]), fromFloat = isFloatType(types[1]);
  unsigned to = bitsOfType(types[0]), from = bitsOfType(types[1]);
  bool upOrDown = has("rm") || has("rp");
  bool whole = has("rni") || has("rzi") || has("rmi") || has("rpi");
  bool rounds = has("rn") || has("rz") || upOrDown || whole;
  if (!toFloat || !fromFloat)
    return true;
  if (has("relu") && (to != 16 || types[1] != "f32"))
    return false;
  bool narrows = to < from || (to == 16 && from == 16 && types[0] != types[1]);
  if (narrows && !rounds)
    return false;
  return !whole || types[0] == types[1];
}

void checkSpelling(const ptx::FormRow &row, const std::string &spelling) {
  std::vector<std::string> words = split(spelling), types;
  for (size_t i = 1; i < words.size(); ++i)
    if (ptx::isTypeWord(words[i]))
      types.push_back(words[i]);
  std::string first = types.empty() ? "b32" : types.front();
  std::string last = types.empty() ? "b32" : types.back();

  std::vector<Slot> slots;
  for (char letter : signatureOf(row, spelling)) {
    Slot slot;
    auto take = [&](const std::string &type) {
      slot.type = type;
      slot.bits = std::max(bitsOfType(type), 16u);
      slot.isPredicate = type == "pred";
    };
    switch (letter) {
    case 'd':
    case 'c':
      take(first);
      break;
    case 'a':
      take(last);
      break;
    case 'w':
    case 'W':
      slot.bits = 2 * bitsOfType(first);
      slot.type = "b" + std::to_string(slot.bits);
      break;
    case 'p':
    case 'q':
      slot.isPredicate = true;
      break;
    case '#':
      slot.isImmediate = true;
      break;
    default: // i, u
      break;
    }
    slots.push_back(slot);
  }

  // Each thread reads its operands, as 64-bit words, and writes the result.
  std::string body;
  size_t sources = slots.size() - 1, loaded = 0;
  std::string operands;
  for (size_t k = 0; k < slots.size(); ++k) {
    const Slot &slot = slots[k];
    std::string name = slot.isPredicate
                           ? "%p" + std::to_string(k)
                           : registerOf(slot.bits) + std::to_string(k);
    if (slot.isImmediate)
      name = "0xCA";
    operands += (k ? ", " : " ") + name;
    if (k == 0 || slot.isImmediate)
      continue;
    std::string at = "[%a+" + std::to_string(8 * loaded++) + "]";
    if (slot.isPredicate)
      body +=
          "ld.global.u32 %t, " + at + ";\nsetp.ne.u32 " + name + ", %t, 0;\n";
    else
      body += "ld.global.b" + std::to_string(slot.bits) + " " + name + ", " +
              at + ";\n";
  }
  body += spelling + operands + ";\n";
  const Slot &result = slots[0];
  if (result.isPredicate)
    body += "selp.b64 %o, 1, 0, %p0;\n";
  else if (result.bits == 64)
    body += "mov.b64 %o, %d0;\n";
  else
    body += "cvt.u64.u" + std::to_string(result.bits) + " %o, " +
            registerOf(result.bits) + "0;\n";
  std::string ptx =
      std::string(kHeader) +
      ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
      ".reg .b16 %h<8>;\n.reg .b32 %r<8>;\n.reg .b64 %d<8>;\n"
      ".reg .pred %p<8>;\n.reg .b32 %t;\n.reg .b64 %a, %b, %o, %i;\n"
      ".reg .b32 %x, %y, %z;\n"
      "mov.u32 %x, %ctaid.x;\nmov.u32 %y, %ntid.x;\nmov.u32 %z, %tid.x;\n"
      "mad.lo.s32 %x, %x, %y, %z;\n"
      "ld.param.u64 %a, [in];\nld.param.u64 %b, [out];\n"
      "mul.wide.u32 %i, %x, 32;\nadd.s64 %a, %a, %i;\n"
      "mul.wide.u32 %i, %x, 8;\nadd.s64 %b, %b, %i;\n" +
      body + "st.global.b64 [%b], %o;\nret;\n}\n";

  Machine machine(ptx);
  if (!isConversion(words, types)) {
    EXPECT_FALSE(machine.good()) << spelling << " is accepted";
    return;
  }
  ASSERT_TRUE(machine.good()) << machine.problem;

  // All pairs of the first two operands; the third and fourth vary along.
  std::vector<std::vector<uint64_t>> values;
  for (size_t k = 1; k < slots.size(); ++k)
    if (slots[k].isPredicate)
      values.push_back({0, 1});
    else if (!slots[k].isImmediate)
      values.push_back(interesting(slots[k].type, slots[k].bits));
  std::mt19937_64 random(7);
  std::vector<uint64_t> in;
  size_t second = values.size() > 1 ? values[1].size() : 1;
  size_t count = 0;
  for (size_t i = 0; i < values[0].size(); ++i)
    for (size_t j = 0; j < second; ++j) {
      uint64_t operandsOf[4] = {values[0][i], 0, 0, 0};
      if (values.size() > 1)
        operandsOf[1] = values[1][j];
      for (size_t k = 2; k < values.size(); ++k)
        operandsOf[k] = values[k][random() % values[k].size()];
      in.insert(in.end(), operandsOf, operandsOf + 4);
      ++count;
    }
  // Then random bits; a full last block.
  while (count % 64 || count < 128) {
    for (size_t k = 0; k < 4; ++k)
      in.push_back(k < slots.size() - 1 && slots[k + 1].isPredicate
                       ? random() & 1
                       : random());
    ++count;
  }
  DevicePtr from = machine.put(in), to = machine.space(8 * count);
  auto fault = machine.run("k", shape(uint32_t(count / 64), 64), from, to);
  ASSERT_FALSE(fault) << spelling << ": " << fault->str();
  std::vector<uint64_t> out = machine.get<uint64_t>(to, count);

  (void)sources;
  unsigned compared = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t *operandsOf = &in[4 * i];
    auto wanted = answer(words, types, operandsOf);
    if (!wanted)
      continue;
    ++compared;
    uint64_t mask = result.isPredicate  ? 1
                    : result.bits == 64 ? ~uint64_t(0)
                                        : (uint64_t(1) << result.bits) - 1;
    uint64_t expected = wanted->bits & mask, found = out[i] & mask;
    if (expected == found)
      continue;
    if (wanted->anyNan) {
      bool isNan = result.bits == 64
                       ? (found & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000
                       : (found & 0x7FFFFFFF) > 0x7F800000;
      if (isNan)
        continue;
    }
    if (wanted->ulps > 0) {
      // Neighbouring floats of one sign are neighbouring integers.
      bool close = true;
      unsigned part = result.type == "f32" ? 32 : 16;
      for (unsigned at = 0; at < result.bits && at < 32; at += part) {
        uint64_t field = (uint64_t(1) << part) - 1;
        int64_t e = int64_t(expected >> at & field),
                f = int64_t(found >> at & field);
        close &= std::abs(e - f) <= int64_t(wanted->ulps);
      }
      if (close)
        continue;
    }
    std::ostringstream text;
    text << std::hex << spelling << " of";
    for (size_t k = 0; k < slots.size() - 1; ++k)
      text << " 0x" << operandsOf[k];
    ADD_FAILURE() << text.str() << std::hex << ": expected 0x" << expected
                  << ", found 0x" << found;
    return;
  }
  EXPECT_GT(compared, 0u) << spelling << " has no reference";
}

TEST_P(OpForms, agrees_with_the_reference) {
  const ptx::FormRow &row = ptx::formRows()[GetParam()];
  for (const std::string &spelling : ptx::spellings(row.pattern)) {
    // Pairs are compared into two predicates, which RowsTest looks at.
    if (row.op == ptx::Op::Setp && llvm::StringRef(spelling).ends_with("x2"))
      continue;
    checkSpelling(row, spelling);
    if (HasFailure())
      return;
  }
}

std::vector<size_t> rowsWithValues() {
  std::vector<size_t> rows;
  for (size_t i = 0; i < ptx::formRows().size(); ++i)
    if (isTestedByValue(ptx::formRows()[i]))
      rows.push_back(i);
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Rows, OpForms, ::testing::ValuesIn(rowsWithValues()),
                         [](const ::testing::TestParamInfo<size_t> &info) {
                           const ptx::FormRow &row =
                               ptx::formRows()[info.param];
                           return ptx::nameOf(row.op).str() +
                                  std::to_string(info.param);
                         });

} // namespace

bool isTestedByValue(const ptx::FormRow &row) {
  // These have checks of their own, see RowsTest.
  static const std::set<ptx::Op> elsewhere = {
      ptx::Op::AddCc,     ptx::Op::Addc,  ptx::Op::SubCc,
      ptx::Op::Subc,      ptx::Op::MadCc, ptx::Op::Madc,
      ptx::Op::Movmatrix, ptx::Op::Min3,  ptx::Op::Max3};
  bool letters = row.operands.size() >= 2 && row.operands != "*";
  bool pairs = row.op == ptx::Op::Set && row.pattern.ends_with("x2");
  bool compares = (row.op == ptx::Op::Setp || row.op == ptx::Op::Set) && !pairs;
  return (letters || compares) && !elsewhere.count(row.op);
}

} // namespace cudasim::test
