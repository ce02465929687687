//===- Forms.cpp - matching instructions against the table of forms -------===//

#include "tools/cudasim/ptx/Forms.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"

using namespace cudasim::ptx;
using llvm::ArrayRef;
using llvm::StringRef;

namespace {

constexpr FormRow kRows[] = {
#define FORM(OP, PATTERN, OPERANDS) {Op::OP, PATTERN, OPERANDS},
#include "tools/cudasim/ptx/OpForms.def"
};

/// A pattern as a sequence of alternatives. Each alternative is zero or more
/// words with a dot before each but the mnemonic; `text` says them as written.
struct Compiled {
  std::vector<llvm::SmallVector<StringRef, 8>> parts;
};

Compiled compile(StringRef pattern) {
  Compiled result;
  while (!pattern.empty()) {
    if (pattern.consume_front("{")) {
      auto [group, rest] = pattern.split('}');
      pattern = rest;
      llvm::SmallVector<StringRef, 8> choices;
      group.split(choices, '|');
      result.parts.push_back(std::move(choices));
      continue;
    }
    size_t end = std::min(pattern.find('{'), pattern.size());
    result.parts.push_back({pattern.take_front(end)});
    pattern = pattern.drop_front(end);
  }
  return result;
}

bool matchFrom(const Compiled &pattern, size_t part, StringRef text) {
  if (part == pattern.parts.size())
    return text.empty();
  for (StringRef choice : pattern.parts[part])
    if (text.starts_with(choice) &&
        matchFrom(pattern, part + 1, text.drop_front(choice.size())))
      return true;
  return false;
}

struct Table {
  std::vector<Compiled> rows;
  /// Rows by mnemonic: a row with alternatives in its mnemonic is under each.
  llvm::StringMap<llvm::SmallVector<uint16_t, 4>> byMnemonic;

  Table() {
    for (const FormRow &row : formRows()) {
      Compiled compiled = compile(row.pattern);
      // Only the mnemonic's own parts are spelled out.
      size_t dot = 0;
      int depth = 0;
      for (; dot < row.pattern.size(); ++dot) {
        char c = row.pattern[dot];
        if (c == '{') {
          // An alternative that starts with a dot or is empty ends it.
          char after = row.pattern[dot + 1];
          if (after == '|' || after == '.')
            break;
        }
        depth += c == '{';
        depth -= c == '}';
        if (c == '.' && depth == 0)
          break;
      }
      for (const std::string &word : spellings(row.pattern.take_front(dot)))
        byMnemonic[word].push_back(uint16_t(rows.size()));
      rows.push_back(std::move(compiled));
    }
  }
};

const Table &table() {
  // Never destroyed: a program may still load modules while it exits.
  static const Table *instance = new Table();
  return *instance;
}

bool operandCountFits(StringRef signature, size_t count) {
  if (signature == "*")
    return true;
  size_t optional = signature.count('?');
  size_t most = signature.size() - optional;
  return count <= most && count >= most - optional;
}

} // namespace

ArrayRef<FormRow> cudasim::ptx::formRows() { return kRows; }

StringRef cudasim::ptx::nameOf(Op op) {
  static constexpr StringRef names[] = {
#define OP(NAME) #NAME,
#include "tools/cudasim/ptx/Ops.def"
  };
  return names[size_t(op)];
}

std::vector<std::string> cudasim::ptx::spellings(StringRef pattern) {
  std::vector<std::string> all = {""};
  for (const auto &choices : compile(pattern).parts) {
    std::vector<std::string> next;
    for (const std::string &prefix : all)
      for (StringRef choice : choices)
        next.push_back(prefix + choice.str());
    all = std::move(next);
  }
  return all;
}

bool cudasim::ptx::isTypeWord(StringRef word) {
  if (parseType(word) != Type::None)
    return true;
  return llvm::StringSwitch<bool>(word)
      .Cases("u16x2", "s16x2", "f32x2", "tf32", true)
      .Cases("e4m3", "e5m2", "e4m3x2", "e5m2x2", true)
      .Default(false);
}

Form cudasim::ptx::findForm(ArrayRef<StringRef> words, size_t operandCount) {
  Form form;
  const Table &forms = table();
  auto candidates = forms.byMnemonic.find(words[0]);
  if (candidates == forms.byMnemonic.end())
    return form;
  std::string text = words[0].str();
  for (StringRef word : words.drop_front())
    text += "." + word.str();
  for (uint16_t index : candidates->second) {
    const FormRow &row = kRows[index];
    if (!operandCountFits(row.operands, operandCount) ||
        !matchFrom(forms.rows[index], 0, text))
      continue;
    form.row = &row;
    form.op = row.op;
    form.words = words.drop_front();
    for (StringRef word : form.words)
      if (isTypeWord(word))
        form.types.push_back(word);
    return form;
  }
  return form;
}
