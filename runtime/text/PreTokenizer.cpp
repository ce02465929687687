#include "runtime/text/PreTokenizer.h"

#include "ir/support/Diagnostic.h"

#include <algorithm>

using namespace moec;

using Kind = PreTokenizerStep::Kind;

llvm::Expected<PreTokenizer> PreTokenizer::create(const TokenizerAsset &asset,
                                                  llvm::StringRef name) {
  PreTokenizer preTokenizer;
  for (const PreTokenizerStep &spec : asset.preTokenizer) {
    Step step;
    step.spec = spec;
    if (spec.kind != Kind::PrefixSpace && spec.pattern.empty())
      return error(Location::inFile(name.str()))
             << "expected a pre-tokenizer to look for something, got an empty "
                "pattern";
    // A longer mark, or one that is replaced again, could fill the memory.
    if (spec.kind == Kind::Metaspace &&
        (spec.pattern.size() > 16 ||
         llvm::StringRef(spec.pattern).contains(' ')))
      return error(Location::inFile(name.str()))
             << "expected a mark for spaces of at most 16 bytes and without "
                "spaces, got '"
             << spec.pattern << "'";
    if (spec.kind == Kind::SplitRegex) {
      MOEC_ASSIGN(step.regex, Regex::compile(spec.pattern, name));
    }
    preTokenizer.steps.push_back(std::move(step));
  }
  return preTokenizer;
}

llvm::Error
PreTokenizer::run(llvm::StringRef text, bool atStart, llvm::StringSaver &saver,
                  llvm::function_ref<void(llvm::StringRef)> word) const {
  return runFrom(0, text, atStart, saver, word);
}

llvm::Error
PreTokenizer::runFrom(size_t index, llvm::StringRef text, bool atStart,
                      llvm::StringSaver &saver,
                      llvm::function_ref<void(llvm::StringRef)> word) const {
  if (text.empty())
    return llvm::Error::success();
  if (index == steps.size()) {
    word(text);
    return llvm::Error::success();
  }
  const PreTokenizerStep &spec = steps[index].spec;
  switch (spec.kind) {
  case Kind::SplitRegex:
  case Kind::SplitLiteral:
    return split(index, text, atStart, saver, word);
  case Kind::PrefixSpace:
    if (!text.starts_with(" "))
      text = saver.save(" " + text);
    return runFrom(index + 1, text, atStart, saver, word);
  case Kind::Metaspace: {
    std::string marked;
    marked.reserve(text.size() + text.size() / 2);
    bool starts = text.starts_with(" ") || text.starts_with(spec.pattern);
    bool wanted = spec.prepend == PreTokenizerStep::Prepend::Always ||
                  (spec.prepend == PreTokenizerStep::Prepend::First && atStart);
    if (wanted && !starts)
      marked += spec.pattern;
    for (char c : text) {
      if (c == ' ')
        marked += spec.pattern;
      else
        marked += c;
    }
    return runFrom(index + 1, saver.save(marked), atStart, saver, word);
  }
  }
  llvm_unreachable("checked when the asset was read");
}

llvm::Error
PreTokenizer::split(size_t index, llvm::StringRef text, bool atStart,
                    llvm::StringSaver &saver,
                    llvm::function_ref<void(llvm::StringRef)> word) const {
  const Step &step = steps[index];
  auto emit = [&](size_t begin, size_t end) {
    return runFrom(index + 1, text.slice(begin, end), atStart && begin == 0,
                   saver, word);
  };
  // Parts come in order and cover the text. All behaviours but one need at
  // most the part before, so nothing is collected: `open` is the range that
  // may still grow.
  bool opened = false, afterMatch = false;
  Part open = {0, 0, false};
  auto close = [&]() -> llvm::Error {
    if (!opened)
      return llvm::Error::success();
    opened = false;
    return emit(open.begin, open.end);
  };
  auto visit = [&](Part part) -> llvm::Error {
    if (part.begin == part.end)
      return llvm::Error::success();
    part.isMatch ^= step.spec.invert;
    bool joins = false;
    switch (step.spec.behavior) {
    case SplitBehavior::Removed:
      return part.isMatch ? llvm::Error::success() : emit(part.begin, part.end);
    case SplitBehavior::Isolated:
      return emit(part.begin, part.end);
    case SplitBehavior::MergedWithPrevious:
      joins = part.isMatch && !afterMatch;
      break;
    case SplitBehavior::MergedWithNext:
      // A match takes the text after it along, but no further match.
      joins = !part.isMatch && afterMatch;
      break;
    case SplitBehavior::Contiguous:
      joins = part.isMatch == afterMatch;
      break;
    }
    afterMatch = part.isMatch;
    if (opened && joins) {
      open.end = part.end;
      return llvm::Error::success();
    }
    MOEC_TRY(close());
    open = part;
    opened = true;
    return llvm::Error::success();
  };

  size_t pos = 0;
  if (step.spec.kind == Kind::SplitLiteral) {
    llvm::StringRef pattern = step.spec.pattern;
    for (size_t found; (found = text.find(pattern, pos)) != text.npos;) {
      MOEC_TRY(visit({pos, found, false}));
      MOEC_TRY(visit({found, found + pattern.size(), true}));
      pos = found + pattern.size();
    }
  } else {
    Regex::Matcher matcher(*step.regex, text);
    size_t begin = 0, end = 0;
    for (;;) {
      MOEC_ASSIGN(bool found, matcher.next(begin, end));
      if (!found)
        break;
      MOEC_TRY(visit({pos, begin, false}));
      MOEC_TRY(visit({begin, end, true}));
      pos = end;
    }
  }
  MOEC_TRY(visit({pos, text.size(), false}));
  return close();
}
