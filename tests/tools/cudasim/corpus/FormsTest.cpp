//===- FormsTest.cpp - the op forms of the corpus are in the table --------===//
//
// Takes the op forms out of what NVRTC makes of the corpus, for every
// architecture and with the options that change them most, without the
// simulator's own parser, and looks each up in the simulator's table.
//
//===----------------------------------------------------------------------===//
#include "tools/cudasim/ptx/Forms.h"
#include "tests/tools/cudasim/corpus/harness/Compile.h"
#include "tests/tools/cudasim/corpus/harness/Files.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

using llvm::StringRef;

namespace {
/// A form with its number of operands, and one statement that has it.
using FormUses = std::map<std::pair<std::string, size_t>, std::string>;
} // namespace

/// Operands are what commas divide, but for those within {}, [] and ().
static size_t operandCount(StringRef operands) {
  if (operands.trim().empty())
    return 0;
  int depth = 0;
  size_t count = 1;
  for (char c : operands) {
    depth += c == '{' || c == '[' || c == '(';
    depth -= c == '}' || c == ']' || c == ')';
    count += c == ',' && depth == 0;
  }
  return count;
}

static void addStatement(StringRef statement, FormUses &uses) {
  statement = statement.trim();
  // Labels, predicates and the brace that opens a scope come first.
  while (true) {
    if (statement.consume_front("{")) {
      statement = statement.ltrim();
    } else if (statement.starts_with("@")) {
      statement = statement.drop_until(llvm::isSpace).ltrim();
    } else {
      size_t end = statement.find_if_not([](char c) {
        return llvm::isAlnum(c) || c == '_' || c == '$' || c == '%';
      });
      if (end == 0 || end == StringRef::npos || statement[end] != ':' ||
          statement.substr(end).starts_with("::"))
        break;
      statement = statement.drop_front(end + 1).ltrim();
    }
  }
  if (statement.empty() || !llvm::isLower(statement.front()))
    return;
  StringRef form = statement.take_until(llvm::isSpace);
  StringRef operands = statement.drop_front(form.size());
  // Parameters of a call stand alone on a line.
  if (form.starts_with("param") || form.contains(',') || form.contains('('))
    return;
  uses.try_emplace({form.str(), operandCount(operands)}, statement.str());
}

static void addForms(StringRef ptx, FormUses &uses) {
  std::string text;
  llvm::SmallVector<StringRef> lines;
  ptx.split(lines, '\n');
  bool inBody = false;
  for (StringRef line : lines) {
    line = line.split("//").first.trim();
    if (line == "{" && !inBody) {
      inBody = true;
      continue;
    }
    // Directives that end with their line.
    if (line.starts_with(".loc") || line.starts_with(".file") || !inBody)
      continue;
    text += line.str() + " ";
    if (line == "}" &&
        StringRef(text).count('{') < StringRef(text).count('}')) {
      // The function's end: all of its statements are complete.
      llvm::SmallVector<StringRef> statements;
      StringRef(text).split(statements, ';');
      for (StringRef statement : statements)
        addStatement(statement, uses);
      text.clear();
      inBody = false;
    }
  }
}

TEST(CorpusForms, AreInTheTable) {
  FormUses uses;
  const std::vector<std::pair<int, std::vector<std::string>>> builds = {
      {80, {}},
      {90, {}},
      {100, {}},
      {90, {"--use_fast_math"}},
      {90, {"--fmad=false"}}};
  for (const auto &[arch, options] : builds)
    for (const char *file : corpus::kFiles) {
      const corpus::Compiled &compiled =
          corpus::compileKernel(CORPUS_KERNELS, file, arch, options);
      ASSERT_EQ(compiled.error, "");
      addForms(compiled.ptx, uses);
    }
  size_t missing = 0;
  for (const auto &[form, statement] : uses) {
    llvm::SmallVector<StringRef> words;
    StringRef(form.first).split(words, '.');
    if (cudasim::ptx::findForm(words, form.second).row)
      continue;
    ++missing;
    ADD_FAILURE() << "no row for " << form.first << " with " << form.second
                  << " operands: " << statement;
  }
  EXPECT_EQ(missing, 0u);
  // Guards the extraction itself: the corpus has several hundred forms, these
  // among them.
  EXPECT_GT(uses.size(), 350u);
  for (const char *form :
       {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "bar.sync",
        "redux.sync.max.u32", "cp.async.cg.shared.global", "call.uni", "ret"}) {
    bool found = false;
    for (const auto &[use, statement] : uses)
      found |= use.first == form;
    EXPECT_TRUE(found) << form;
  }
}
