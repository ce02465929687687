// The normalizer, pre-tokenizer, post-processor and decoder of a
// tokenizer.json, each a component or a Sequence of components.

#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/TokenizerJson.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace moec;

using NormKind = NormalizerStep::Kind;
using PreKind = PreTokenizerStep::Kind;
using Prepend = PreTokenizerStep::Prepend;

/// Calls `visit` for a component, or for each one of a Sequence.
static llvm::Error
forEachComponent(const JsonDocument &doc, const JsonValue &value,
                 llvm::StringRef role, llvm::StringRef listKey,
                 llvm::function_ref<llvm::Error(llvm::StringRef type,
                                                const JsonValue &component)>
                     visit) {
  if (value.isNull())
    return llvm::Error::success();
  if (!value.isObject())
    return doc.errorAt(value)
           << "expected the " << role << " to be null or an object, got "
           << value.describe();
  MOEC_ASSIGN(std::string type, stringAt(doc, value, "type"));
  if (type != "Sequence")
    return visit(type, value);
  const JsonValue *list = value.find(listKey);
  if (!list || !list->isArray())
    return doc.errorAt(value)
           << "expected a Sequence to have an array '" << listKey << "'";
  for (const JsonValue &item : list->items)
    MOEC_TRY(forEachComponent(doc, item, role, listKey, visit));
  return llvm::Error::success();
}

static ErrorBuilder unsupported(const JsonDocument &doc, const JsonValue &value,
                                llvm::StringRef role, llvm::StringRef type,
                                llvm::StringRef supported) {
  return doc.errorAt(value)
         << "the " << role << " '" << type
         << "' is not supported, expected one of " << supported;
}

/// A pattern is {"String": text} or {"Regex": text}.
static llvm::Expected<std::pair<bool, std::string>>
readPattern(const JsonDocument &doc, const JsonValue &component) {
  const JsonValue *pattern = component.find("pattern");
  if (pattern && pattern->isObject() && pattern->members.size() == 1) {
    const JsonMember &member = pattern->members.front();
    bool isRegex = member.key == "Regex";
    if ((isRegex || member.key == "String") && member.value.isString()) {
      if (member.value.string.empty())
        return doc.errorAt(member.value) << "expected a pattern that looks for "
                                            "something, got an empty one";
      return std::pair(isRegex, member.value.string);
    }
  }
  return doc.errorAt(pattern ? *pattern : component)
         << "expected 'pattern' to be an object with a string 'String' or "
            "'Regex'";
}

/// A string of one character, the usual mark for spaces where it is missing.
static llvm::Expected<std::string> readReplacement(const JsonDocument &doc,
                                                   const JsonValue &component) {
  if (!findSet(component, "replacement"))
    return std::string("\xE2\x96\x81");
  MOEC_ASSIGN(std::string mark, stringAt(doc, component, "replacement"));
  if (mark.empty())
    return doc.errorAt(component)
           << "expected 'replacement' to be a character, got none";
  return mark;
}

static llvm::Expected<Prepend> readPrepend(const JsonDocument &doc,
                                           const JsonValue &component) {
  // Files from before there was a scheme say add_prefix_space.
  if (!findSet(component, "prepend_scheme")) {
    MOEC_ASSIGN(bool adds, boolAt(doc, component, "add_prefix_space", true));
    return adds ? Prepend::Always : Prepend::Never;
  }
  MOEC_ASSIGN(std::string scheme, stringAt(doc, component, "prepend_scheme"));
  auto prepend = llvm::StringSwitch<std::optional<Prepend>>(scheme)
                     .Case("always", Prepend::Always)
                     .Case("first", Prepend::First)
                     .Case("never", Prepend::Never)
                     .Default(std::nullopt);
  if (!prepend)
    return doc.errorAt(component) << "expected 'prepend_scheme' to be always, "
                                     "first or never, got '"
                                  << scheme << "'";
  return *prepend;
}

llvm::Error moec::readNormalizer(const JsonDocument &doc,
                                 const JsonValue &value,
                                 TokenizerAsset &asset) {
  auto add = [&](NormKind kind, std::string pattern = "",
                 std::string text = "") {
    NormalizerStep step;
    step.kind = kind;
    step.pattern = std::move(pattern);
    step.text = std::move(text);
    asset.normalizer.push_back(std::move(step));
    return llvm::Error::success();
  };
  return forEachComponent(
      doc, value, "normalizer", "normalizers",
      [&](llvm::StringRef type, const JsonValue &component) -> llvm::Error {
        auto simple = llvm::StringSwitch<std::optional<NormKind>>(type)
                          .Case("NFC", NormKind::Nfc)
                          .Case("NFD", NormKind::Nfd)
                          .Case("NFKC", NormKind::Nfkc)
                          .Case("NFKD", NormKind::Nfkd)
                          .Case("Lowercase", NormKind::Lowercase)
                          .Default(std::nullopt);
        if (simple)
          return add(*simple);
        if (type == "Prepend") {
          MOEC_ASSIGN(std::string text, stringAt(doc, component, "prepend"));
          return add(NormKind::Prepend, "", text);
        }
        if (type == "Replace") {
          MOEC_ASSIGN(auto pattern, readPattern(doc, component));
          MOEC_ASSIGN(std::string text, stringAt(doc, component, "content"));
          return add(pattern.first ? NormKind::ReplaceRegex
                                   : NormKind::ReplaceLiteral,
                     pattern.second, text);
        }
        if (type == "Strip") {
          MOEC_ASSIGN(bool left, boolAt(doc, component, "strip_left", true));
          MOEC_ASSIGN(bool right, boolAt(doc, component, "strip_right", true));
          if (left)
            MOEC_TRY(add(NormKind::StripLeft));
          return right ? add(NormKind::StripRight) : llvm::Error::success();
        }
        return unsupported(doc, component, "normalizer", type,
                           "NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, "
                           "Strip, Sequence");
      });
}

static llvm::Expected<PreTokenizerStep> readSplit(const JsonDocument &doc,
                                                  const JsonValue &component) {
  PreTokenizerStep step;
  MOEC_ASSIGN(auto pattern, readPattern(doc, component));
  step.kind = pattern.first ? PreKind::SplitRegex : PreKind::SplitLiteral;
  step.pattern = pattern.second;
  MOEC_ASSIGN(std::string behavior, stringAt(doc, component, "behavior"));
  auto known =
      llvm::StringSwitch<std::optional<SplitBehavior>>(behavior)
          .Case("Isolated", SplitBehavior::Isolated)
          .Case("Removed", SplitBehavior::Removed)
          .Case("MergedWithPrevious", SplitBehavior::MergedWithPrevious)
          .Case("MergedWithNext", SplitBehavior::MergedWithNext)
          .Case("Contiguous", SplitBehavior::Contiguous)
          .Default(std::nullopt);
  if (!known)
    return doc.errorAt(component)
           << "expected 'behavior' to be Isolated, Removed, "
              "MergedWithPrevious, MergedWithNext or Contiguous, got '"
           << behavior << "'";
  step.behavior = *known;
  MOEC_ASSIGN(step.invert, boolAt(doc, component, "invert", false));
  return step;
}

llvm::Error moec::readPreTokenizer(const JsonDocument &doc,
                                   const JsonValue &value,
                                   TokenizerAsset &asset) {
  auto visit = [&](llvm::StringRef type,
                   const JsonValue &component) -> llvm::Error {
    auto &steps = asset.preTokenizer;
    // Bytes are spelled with letters from here on, which nothing but the
    // vocabulary expects.
    if (asset.kind == TokenizerKind::ByteLevelBpe)
      return doc.errorAt(component)
             << "expected no pre-tokenizer after ByteLevel, got '" << type
             << "'";
    if (type == "ByteLevel") {
      MOEC_ASSIGN(bool prefix,
                  boolAt(doc, component, "add_prefix_space", true));
      MOEC_ASSIGN(bool words, boolAt(doc, component, "use_regex", true));
      if (prefix) {
        PreTokenizerStep step;
        step.kind = PreKind::PrefixSpace;
        steps.push_back(step);
      }
      if (words)
        steps.push_back(splitIsolated(kGpt2Words));
      asset.kind = TokenizerKind::ByteLevelBpe;
      return llvm::Error::success();
    }
    if (type == "Split") {
      MOEC_ASSIGN(PreTokenizerStep step, readSplit(doc, component));
      steps.push_back(std::move(step));
      return llvm::Error::success();
    }
    if (type == "Digits") {
      MOEC_ASSIGN(bool single,
                  boolAt(doc, component, "individual_digits", false));
      PreTokenizerStep step = splitIsolated("\\p{N}");
      if (!single)
        step.behavior = SplitBehavior::Contiguous;
      steps.push_back(step);
      return llvm::Error::success();
    }
    if (type == "Metaspace") {
      PreTokenizerStep step;
      step.kind = PreKind::Metaspace;
      MOEC_ASSIGN(step.pattern, readReplacement(doc, component));
      MOEC_ASSIGN(step.prepend, readPrepend(doc, component));
      MOEC_ASSIGN(bool splits, boolAt(doc, component, "split", true));
      steps.push_back(step);
      if (splits) {
        PreTokenizerStep split;
        split.kind = PreKind::SplitLiteral;
        split.pattern = step.pattern;
        split.behavior = SplitBehavior::MergedWithNext;
        steps.push_back(split);
      }
      return llvm::Error::success();
    }
    return unsupported(doc, component, "pre-tokenizer", type,
                       "ByteLevel, Split, Digits, Metaspace, Sequence");
  };
  return forEachComponent(doc, value, "pre-tokenizer", "pretokenizers", visit);
}

/// The ids of a special token of a template, which names an entry of the
/// template's own table.
static llvm::Error templateIds(const JsonDocument &doc,
                               const JsonValue &component,
                               const JsonValue &special,
                               std::vector<int32_t> &ids) {
  MOEC_ASSIGN(std::string name, stringAt(doc, special, "id"));
  const JsonValue *table = component.find("special_tokens");
  const JsonValue *entry = table ? table->find(name) : nullptr;
  const JsonValue *list = entry ? entry->find("ids") : nullptr;
  if (!list || !list->isArray())
    return doc.errorAt(special) << "expected 'special_tokens' to give the ids "
                                   "of '"
                                << name << "'";
  for (const JsonValue &item : list->items) {
    MOEC_ASSIGN(int32_t id, idOf(doc, item));
    ids.push_back(id);
  }
  return llvm::Error::success();
}

static llvm::Error readTemplate(const JsonDocument &doc,
                                const JsonValue &component,
                                TokenizerAsset &asset) {
  const JsonValue *single = component.find("single");
  if (!single || !single->isArray())
    return doc.errorAt(component)
           << "expected TemplateProcessing to have an array 'single'";
  bool afterText = false;
  std::vector<int32_t> prefix, suffix;
  for (const JsonValue &part : single->items) {
    if (part.find("Sequence")) {
      if (afterText)
        return doc.errorAt(part)
               << "expected the text once in the template, got it twice";
      afterText = true;
    } else if (const JsonValue *special = part.find("SpecialToken")) {
      MOEC_TRY(
          templateIds(doc, component, *special, afterText ? suffix : prefix));
    } else {
      return doc.errorAt(part) << "expected a Sequence or a SpecialToken, got "
                               << part.describe();
    }
  }
  if (!afterText)
    return doc.errorAt(*single) << "expected the text in the template, got "
                                   "special tokens only";
  // The outer processor of a sequence puts its tokens outside.
  asset.prefixIds.insert(asset.prefixIds.begin(), prefix.begin(), prefix.end());
  asset.suffixIds.insert(asset.suffixIds.end(), suffix.begin(), suffix.end());
  return llvm::Error::success();
}

llvm::Error moec::readPostProcessor(const JsonDocument &doc,
                                    const JsonValue &value,
                                    TokenizerAsset &asset) {
  return forEachComponent(
      doc, value, "post-processor", "processors",
      [&](llvm::StringRef type, const JsonValue &component) -> llvm::Error {
        // ByteLevel moves offsets only.
        if (type == "ByteLevel")
          return llvm::Error::success();
        if (type == "TemplateProcessing")
          return readTemplate(doc, component, asset);
        return unsupported(doc, component, "post-processor", type,
                           "ByteLevel, TemplateProcessing, Sequence");
      });
}

/// The parts of a decoder stand in one order: replacements, bytes, the joining
/// of pieces, what is taken from the joined text's beginning.
llvm::Error moec::readDecoder(const JsonDocument &doc, const JsonValue &value,
                              TokenizerAsset &asset) {
  DecoderSpec &decoder = asset.decoder;
  bool byteLevel = asset.kind == TokenizerKind::ByteLevelBpe;
  if (value.isNull()) {
    if (!byteLevel)
      decoder.separator = " ";
    return llvm::Error::success();
  }
  enum Stage { Pieces, Bytes, Joined, Stripped } stage = Pieces;
  auto visit = [&](llvm::StringRef type,
                   const JsonValue &component) -> llvm::Error {
    auto advance = [&](Stage latest, Stage next) -> llvm::Error {
      if (stage > latest)
        return doc.errorAt(component) << "expected the decoder '" << type
                                      << "' before what changes joined text";
      stage = std::max(stage, next);
      return llvm::Error::success();
    };
    if (type == "ByteLevel" && byteLevel)
      return llvm::Error::success();
    if (type == "Fuse")
      return advance(Joined, Joined);
    if (type == "ByteFallback" && !byteLevel) {
      decoder.byteFallback = decoder.wholeByteRuns = true;
      return advance(Bytes, Bytes);
    }
    if (type == "Replace" && !byteLevel) {
      MOEC_ASSIGN(auto pattern, readPattern(doc, component));
      MOEC_ASSIGN(std::string text, stringAt(doc, component, "content"));
      if (pattern.first)
        return unsupported(doc, component, "decoder", "Replace by Regex",
                           "Replace by String");
      decoder.replace.push_back({pattern.second, text});
      return advance(Pieces, Pieces);
    }
    if (type == "Strip" && !byteLevel) {
      MOEC_ASSIGN(decoder.stripStart, stringAt(doc, component, "content"));
      const JsonValue *start = component.find("start");
      const JsonValue *stop = component.find("stop");
      if (!start || !start->isInteger || start->integer < 0 ||
          start->integer > 1000 || (stop && stop->number != 0) ||
          stage != Joined)
        return doc.errorAt(component)
               << "expected the decoder Strip after Fuse, with 'start' in [0, "
                  "1000] and 'stop' 0";
      decoder.stripCount = uint32_t(start->integer);
      return advance(Joined, Stripped);
    }
    if (type == "Metaspace" && !byteLevel) {
      MOEC_ASSIGN(std::string mark, readReplacement(doc, component));
      MOEC_ASSIGN(Prepend prepend, readPrepend(doc, component));
      decoder.dropInFirst = prepend != Prepend::Never;
      decoder.replace.insert(decoder.replace.begin(), {mark, " "});
      return advance(Pieces, Joined);
    }
    return unsupported(doc, component, "decoder", type,
                       byteLevel ? "ByteLevel, Fuse, Sequence"
                                 : "Replace, ByteFallback, Fuse, Strip, "
                                   "Metaspace, Sequence");
  };
  return forEachComponent(doc, value, "decoder", "decoders", visit);
}
