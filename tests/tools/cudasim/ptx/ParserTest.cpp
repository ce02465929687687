//===- ParserTest.cpp - PTX as NVRTC writes it, and as it must not be -----===//

#include "tools/cudasim/ptx/Forms.h"
#include "tools/cudasim/ptx/Module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace cudasim::ptx {
namespace {

using ::testing::HasSubstr;

const std::string kHeader = ".version 9.0\n.target sm_90a\n.address_size 64\n";

std::unique_ptr<Module> good(const std::string &text) {
  auto module = parse(text, "a.ptx");
  if (!module) {
    ADD_FAILURE() << moec::toText(module.takeError());
    return nullptr;
  }
  return std::move(*module);
}
std::string bad(const std::string &text) {
  auto module = parse(text, "a.ptx");
  if (module)
    return "";
  return moec::toText(module.takeError());
}
std::string body(const std::string &text) {
  return kHeader + ".visible .entry k()\n{\n" + text + "\nret;\n}\n";
}

TEST(Parser, reads_the_header) {
  auto module = good(kHeader);
  EXPECT_EQ(module->versionMajor, 9u);
  EXPECT_EQ(module->targetNumber, 90u);
}

TEST(Parser, reads_kernels_of_both_dialects) {
  auto module =
      good(kHeader +
           "// NVVM 7\n.visible .entry a(\n.param .u64 a_0,\n"
           ".param .align 8 .b8 a_1[24]\n)\n.maxntid 128, 1, 1\n"
           ".minnctapersm 2\n{\n.reg .pred %p<2>;\n.reg .f32 %f<4>;\nret;\n}\n"
           "/* NVVM 20 */ .entry b(.param .u64 .ptr .align 1 b_0)\n"
           ".reqntid 64\n{\n.reg .b32 %r<3>;\nmov.b32 %r1, 3;\nret;\n}\n");
  ASSERT_EQ(module->functions.size(), 2u);
  EXPECT_EQ(module->functions[0].maxThreads[0], 128u);
  EXPECT_EQ(module->functions[0].minBlocks, 2u);
  EXPECT_EQ(module->functions[0].variables[1].bytes, 24u);
  EXPECT_EQ(module->functions[1].requiredThreads[0], 64u);
  EXPECT_EQ(module->functions[1].requiredThreads[2], 1u);
}

TEST(Parser, scopes_have_registers_and_labels_of_their_own) {
  auto module = good(body(".reg .b32 %r<2>;\n"
                          "{\n.reg .pred p;\nL:\nsetp.eq.u32 p, %r1, 0;\n"
                          "@p bra L;\n}\n"
                          "{\n.reg .b32 p;\nL:\nmov.b32 p, %r1;\nbra M;\n}\n"
                          "M:"));
  const Function &k = module->functions[0];
  EXPECT_EQ(k.labels.size(), 3u);
  EXPECT_EQ(k.body[1].operands[0].index, 0u);
  EXPECT_EQ(k.labels[k.body[1].operands[0].index], 0u);
  EXPECT_EQ(k.labels[k.body[3].operands[0].index], 4u);
  EXPECT_NE(k.body[0].operands[0].index, k.body[2].operands[0].index);
}

TEST(Parser, keeps_the_cuda_line_of_each_instruction) {
  auto module = good(body(".reg .b32 %r<2>;\n.loc 1 7 3\nmov.b32 %r1, 1;\n"
                          ".loc 1 9 1, function_name $L__info0, "
                          "inlined_at 1 12 5\nmov.b32 %r1, 2;") +
                     ".file 1 \"/src/k.cu\", 17, 20\n"
                     ".section .debug_str\n{\n$L__info0:\n.b8 1,2\n}\n");
  EXPECT_EQ(module->functions[0].body[0].loc.line, 7u);
  EXPECT_EQ(module->functions[0].body[1].loc.line, 9u);
  EXPECT_EQ(module->files[1], "/src/k.cu");
}

TEST(Parser, reads_initialisers) {
  auto module = good(
      kHeader + ".global .align 4 .u32 a = 5;\n"
                ".const .align 4 .f32 b[3] = {0f3F800000, 2.5};\n"
                ".global .align 8 .u64 c[2] = {generic(a), generic(b)+4};\n"
                ".global .align 1 .b8 d[4] = {1, -1, 0xFF(a), 0xFF00(a)};\n"
                ".global .align 2 .b16 e[2][2] = {{1, 2}, {3}};\n"
                ".extern .shared .align 16 .b8 f[];\n");
  ASSERT_EQ(module->variables.size(), 6u);
  EXPECT_EQ(module->variables[0].initial[0], 5);
  EXPECT_EQ(module->variables[1].initial[7], 0x40); // 2.5f
  ASSERT_EQ(module->variables[2].relocations.size(), 2u);
  EXPECT_EQ(module->variables[2].relocations[1].addend, 4);
  EXPECT_EQ(module->variables[3].initial[1], 0xFF);
  EXPECT_EQ(module->variables[3].relocations[1].shift, 8u);
  EXPECT_EQ(module->variables[4].initial[4], 3);
  EXPECT_TRUE(module->variables[5].isExtern);
}

TEST(Parser, reads_operands) {
  auto module = good(body(
      ".reg .b32 %r<9>;\n.reg .b64 %d<3>;\n.reg .pred %p<3>;\n"
      ".shared .align 4 .b8 s[8];\n"
      "ld.shared.v2.b32 {%r1, _}, [s+4];\n@!%p1 ld.global.b32 %r1, [%d1+-8];\n"
      "shfl.sync.idx.b32 %r1|%p2, %r2, 0, 31, -1;\n"
      "selp.b32 %r1, 0x10, 010, !%p1;\nmov.b32 %r1, %tid.x;\n"
      "add.f32 %r1, %r2, 0f3F800000;"));
  const auto &list = module->functions[0].body;
  EXPECT_EQ(list[0].operands[0].elements[1].kind, OperandKind::Sink);
  EXPECT_EQ(list[0].operands[1].bits, 4u);
  EXPECT_TRUE(list[1].guardNegated);
  EXPECT_EQ(int64_t(list[1].operands[1].bits), -8);
  EXPECT_EQ(list[2].operands[0].kind, OperandKind::Pair);
  EXPECT_EQ(list[2].operands[4].bits, ~uint64_t(0));
  EXPECT_EQ(list[3].operands[1].bits, 16u);
  EXPECT_EQ(list[3].operands[2].bits, 8u);
  EXPECT_TRUE(list[3].operands[3].negated);
  EXPECT_EQ(list[4].operands[1].text, "%tid.x");
  EXPECT_EQ(list[5].operands[2].kind, OperandKind::Float32);
}

TEST(Parser, errors_have_a_place) {
  struct Case {
    std::string text;
    const char *place, *message;
  } cases[] = {
      {"", "a.ptx:1:1", "expected '.version'"},
      {".version 9.0\n.target gfx90\n", "a.ptx:2:9", "such as 'sm_80'"},
      {kHeader + ".address 3;\n", "a.ptx:4:1", "expected '.entry'"},
      {body("mov.b32 r1, 1;"), "a.ptx:6:9", "expected a name that is declared"},
      {body("@%p1 ret;"), "a.ptx:6:2", "expected a predicate register"},
      {body("bra NOWHERE;"), "a.ptx:6:5", "found 'NOWHERE'"},
      {body("L:\nL:"), "a.ptx:7:1", "defined twice"},
      {body(".reg .b32 a;\n.reg .b32 a;"), "a.ptx:7:11", "declared twice"},
      {body(".reg .b32 a\n"), "a.ptx:8:1", "expected ';'"},
      {body("ld.global.b32 %r1, [%r2"), "a.ptx:6:21",
       "a register or a variable that is declared"},
      {body(".reg .b32 a;\nmov.b32 a, 0f3F8;"), "a.ptx:7:12",
       "8 hexadecimal digits"},
      {body("\x01"), "a.ptx:6:1", "the byte 0x1"},
      {kHeader + ".entry k()\n{\n", "a.ptx:5:1", "expected '}'"},
      {kHeader + ".global .b8 a[99999999999];\n", "a.ptx:4:13", "larger than"},
      {kHeader + ".global .b8 a[2] = {1, 2, 3};\n", "a.ptx:4:27",
       "more values"},
      {kHeader + ".global .align 3 .b8 a;\n", "a.ptx:4:16", "power of two"},
      {kHeader + ".global .u64 a = b;\n", "a.ptx:4:18", "declared before"},
      {kHeader + "/* no end", "a.ptx:4:1", "expected '*/'"},
      {body("call nobody, ();"), "a.ptx:6:6", "the name of a function"},
      {kHeader + ".entry k(.param .u32 a, .param .u32 a)\n{\nret;\n}",
       "a.ptx:4:37", "declared twice"},
  };
  for (const Case &each : cases) {
    std::string error = bad(each.text);
    EXPECT_THAT(error, HasSubstr(each.place)) << each.text;
    EXPECT_THAT(error, HasSubstr(each.message)) << each.text;
  }
}

TEST(Parser, deep_nesting_is_an_error_not_a_crash) {
  EXPECT_THAT(bad(body(std::string(100000, '{'))), HasSubstr("nested"));
  EXPECT_THAT(bad(kHeader + ".global .b8 a[4] = " + std::string(100000, '{')),
              HasSubstr("expected"));
}

TEST(Forms, are_found_by_mnemonic_modifiers_and_operands) {
  auto find = [](std::vector<llvm::StringRef> words, size_t operands) {
    Form form = findForm(words, operands);
    return form.row ? nameOf(form.op).str() : std::string();
  };
  EXPECT_EQ(find({"add", "s32"}, 3), "Add");
  EXPECT_EQ(find({"add", "s32"}, 2), "");
  EXPECT_EQ(find({"add", "ftz", "s32"}, 3), "");
  EXPECT_EQ(find({"max", "f32"}, 3), "Max");
  EXPECT_EQ(find({"max", "f32"}, 4), "Max3");
  EXPECT_EQ(
      find({"ld", "global", "nc", "L1::no_allocate", "L2::128B", "v4", "u32"},
           2),
      "Ld");
  EXPECT_EQ(find({"atom", "add", "noftz", "bf16x2"}, 3), "Atom");
  EXPECT_EQ(find({"wgmma", "fence", "sync", "aligned"}, 0), "");
}

TEST(Forms, a_spelling_belongs_to_one_row) {
  std::set<std::string> seen;
  for (const FormRow &row : formRows()) {
    if (row.operands == "*" && row.pattern.count('{') > 6)
      continue; // ld and st have too many to list
    for (const std::string &spelling : spellings(row.pattern))
      EXPECT_TRUE(seen.insert(spelling + "/" + row.operands.str()).second)
          << spelling;
  }
  EXPECT_GT(seen.size(), 3000u);
}

} // namespace
} // namespace cudasim::ptx
