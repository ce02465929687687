#include "frontend/tokenizer/WriteTokenizerJson.h"

#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/PieceIndex.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

using namespace moec;

using llvm::json::Array;
using llvm::json::Object;
using PreKind = PreTokenizerStep::Kind;

static constexpr llvm::StringLiteral kMark = "\xE2\x96\x81";

std::vector<Merge> moec::mergesOfScores(const TokenizerAsset &asset) {
  PieceIndex index(asset.pieces);
  std::vector<Merge> merges;
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    if (piece.type != PieceType::Normal)
      continue;
    llvm::StringRef text = piece.text;
    for (size_t at = 1; at < text.size(); ++at) {
      // Not inside a character.
      if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80)
        continue;
      int32_t left = index.find(text.take_front(at));
      int32_t right = index.find(text.drop_front(at));
      if (left >= 0 && right >= 0)
        merges.push_back({uint32_t(left), uint32_t(right), uint32_t(id)});
    }
  }
  llvm::sort(merges, [&](const Merge &a, const Merge &b) {
    float x = asset.pieces[a.result].score, y = asset.pieces[b.result].score;
    return x != y ? x > y
                  : std::pair(a.left, a.right) < std::pair(b.left, b.right);
  });
  return merges;
}

namespace {
class JsonWriter {
public:
  explicit JsonWriter(const TokenizerAsset &asset) : asset(asset) {}
  llvm::Expected<std::string> run();

private:
  bool byteLevel() const { return asset.kind == TokenizerKind::ByteLevelBpe; }
  /// A piece as the vocabulary has it.
  std::string textOf(size_t id) const {
    const Piece &piece = asset.pieces[id];
    return byteLevel() && piece.type == PieceType::Normal
               ? spellingOfBytes(piece.text)
               : piece.text;
  }
  llvm::Expected<Object> model() const;
  Array addedTokens() const;
  llvm::Expected<llvm::json::Value> normalizer() const;
  llvm::Expected<llvm::json::Value> preTokenizer() const;
  llvm::json::Value postProcessor() const;
  llvm::json::Value decoder() const;

  const TokenizerAsset &asset;
};
} // namespace

/// One component, or a sequence of them; null for none.
static llvm::json::Value sequence(Array list, llvm::StringRef key) {
  if (list.empty())
    return nullptr;
  if (list.size() == 1)
    return std::move(list[0]);
  return Object{{"type", "Sequence"}, {key, std::move(list)}};
}

llvm::Expected<Object> JsonWriter::model() const {
  Object vocabulary;
  llvm::SmallVector<bool> isAdded(asset.pieces.size(), false);
  for (const AddedToken &token : asset.added)
    isAdded[size_t(token.id)] = true;
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    // What is no token has an id only.
    if (piece.type == PieceType::Unused && piece.text.empty())
      continue;
    std::string text = textOf(id);
    if (!llvm::json::isUTF8(text))
      return error() << "token " << id << " is no UTF-8, which JSON needs";
    if (!vocabulary.try_emplace(std::move(text), int64_t(id)).second &&
        !isAdded[id])
      return error() << "tokens of one text, '" << piece.text
                     << "', have several ids";
  }
  std::vector<Merge> own;
  if (asset.kind == TokenizerKind::ScoreBpe)
    own = mergesOfScores(asset);
  Array merges;
  for (const Merge &merge :
       asset.kind == TokenizerKind::ScoreBpe ? own : asset.merges)
    merges.push_back(Array{textOf(merge.left), textOf(merge.right)});
  Object model{{"type", "BPE"},
               {"dropout", nullptr},
               {"unk_token", nullptr},
               {"continuing_subword_prefix", nullptr},
               {"end_of_word_suffix", nullptr},
               {"fuse_unk", asset.fuseUnknown},
               {"byte_fallback", asset.byteFallback},
               {"ignore_merges", asset.ignoreMerges},
               {"vocab", std::move(vocabulary)},
               {"merges", std::move(merges)}};
  if (asset.unknown >= 0)
    model["unk_token"] = textOf(size_t(asset.unknown));
  return std::move(model);
}

Array JsonWriter::addedTokens() const {
  Array list;
  for (const AddedToken &token : asset.added)
    list.push_back(Object{{"id", token.id},
                          {"content", token.content},
                          {"single_word", token.singleWord},
                          {"lstrip", token.lstrip},
                          {"rstrip", token.rstrip},
                          {"normalized", token.normalized},
                          {"special", token.special}});
  return list;
}

llvm::Expected<llvm::json::Value> JsonWriter::normalizer() const {
  using Kind = NormalizerStep::Kind;
  Array list;
  auto addPlain = [&](llvm::StringRef type) {
    list.push_back(Object{{"type", type}});
  };
  auto addReplace = [&](llvm::StringRef kind, llvm::StringRef pattern,
                        llvm::StringRef text) {
    list.push_back(Object{{"type", "Replace"},
                          {"pattern", Object{{kind, pattern}}},
                          {"content", text}});
  };
  auto addPrepend = [&](llvm::StringRef text) {
    list.push_back(Object{{"type", "Prepend"}, {"prepend", text}});
  };
  for (const NormalizerStep &step : asset.normalizer)
    switch (step.kind) {
    case Kind::Nfc:
      addPlain("NFC");
      break;
    case Kind::Nfd:
      addPlain("NFD");
      break;
    case Kind::Nfkc:
      addPlain("NFKC");
      break;
    case Kind::Nfkd:
      addPlain("NFKD");
      break;
    case Kind::Lowercase:
      addPlain("Lowercase");
      break;
    case Kind::Prepend:
      addPrepend(step.text);
      break;
    case Kind::ReplaceLiteral:
      addReplace("String", step.pattern, step.text);
      break;
    case Kind::ReplaceRegex:
      addReplace("Regex", step.pattern, step.text);
      break;
    case Kind::StripLeft:
    case Kind::StripRight:
      list.push_back(Object{{"type", "Strip"},
                            {"strip_left", step.kind == Kind::StripLeft},
                            {"strip_right", step.kind == Kind::StripRight}});
      break;
    case Kind::SentencePiece:
      if (!step.pattern.empty() ||
          (step.flags & ~(kAddDummyPrefix | kEscapeSpaces)))
        return error() << "the text is normalised by a SentencePiece model";
      if (step.flags & kAddDummyPrefix)
        addPrepend(step.flags & kEscapeSpaces ? kMark : " ");
      if (step.flags & kEscapeSpaces)
        addReplace("String", " ", kMark);
      break;
    }
  return sequence(std::move(list), "normalizers");
}

static llvm::StringRef behaviorName(SplitBehavior behavior) {
  switch (behavior) {
  case SplitBehavior::Isolated:
    return "Isolated";
  case SplitBehavior::Removed:
    return "Removed";
  case SplitBehavior::MergedWithPrevious:
    return "MergedWithPrevious";
  case SplitBehavior::MergedWithNext:
    return "MergedWithNext";
  case SplitBehavior::Contiguous:
    return "Contiguous";
  }
  llvm_unreachable("every behaviour is listed");
}

static llvm::StringRef schemeName(PreTokenizerStep::Prepend prepend) {
  switch (prepend) {
  case PreTokenizerStep::Prepend::Never:
    return "never";
  case PreTokenizerStep::Prepend::First:
    return "first";
  case PreTokenizerStep::Prepend::Always:
    return "always";
  }
  llvm_unreachable("every scheme is listed");
}

llvm::Expected<llvm::json::Value> JsonWriter::preTokenizer() const {
  Array list;
  llvm::ArrayRef<PreTokenizerStep> steps = asset.preTokenizer;
  // ByteLevel comes last and may itself find words, and put a space first.
  bool words = byteLevel() && !steps.empty() &&
               steps.back() == splitIsolated(kGpt2Words);
  if (words)
    steps = steps.drop_back();
  bool prefix = byteLevel() && !steps.empty() &&
                steps.back().kind == PreKind::PrefixSpace;
  if (prefix)
    steps = steps.drop_back();
  while (!steps.empty()) {
    const PreTokenizerStep &step = steps.front();
    steps = steps.drop_front();
    switch (step.kind) {
    case PreKind::SplitRegex:
    case PreKind::SplitLiteral:
      list.push_back(
          Object{{"type", "Split"},
                 {"pattern",
                  Object{{step.kind == PreKind::SplitRegex ? "Regex" : "String",
                          step.pattern}}},
                 {"behavior", behaviorName(step.behavior)},
                 {"invert", step.invert}});
      break;
    case PreKind::PrefixSpace:
      return error() << "a space is put before words in the middle of "
                        "splitting";
    case PreKind::Metaspace: {
      bool splits = !steps.empty() &&
                    steps.front().kind == PreKind::SplitLiteral &&
                    steps.front().pattern == step.pattern &&
                    steps.front().behavior == SplitBehavior::MergedWithNext;
      if (splits)
        steps = steps.drop_front();
      list.push_back(Object{{"type", "Metaspace"},
                            {"replacement", step.pattern},
                            {"prepend_scheme", schemeName(step.prepend)},
                            {"split", splits}});
      break;
    }
    }
  }
  if (byteLevel())
    list.push_back(Object{{"type", "ByteLevel"},
                          {"add_prefix_space", prefix},
                          {"trim_offsets", true},
                          {"use_regex", words}});
  return sequence(std::move(list), "pretokenizers");
}

llvm::json::Value JsonWriter::postProcessor() const {
  if (asset.prefixIds.empty() && asset.suffixIds.empty())
    return nullptr;
  Object table;
  auto special = [&](int32_t id, int64_t type) {
    std::string text = textOf(size_t(id));
    table[text] =
        Object{{"id", text}, {"ids", Array{id}}, {"tokens", Array{text}}};
    return Object{{"SpecialToken", Object{{"id", text}, {"type_id", type}}}};
  };
  Array single, pair;
  for (int64_t type : {0, 1}) {
    auto addTo = [&](Array &list) {
      for (int32_t id : asset.prefixIds)
        list.push_back(special(id, type));
      list.push_back(Object{
          {"Sequence", Object{{"id", type ? "B" : "A"}, {"type_id", type}}}});
      for (int32_t id : asset.suffixIds)
        list.push_back(special(id, type));
    };
    if (!type)
      addTo(single);
    addTo(pair);
  }
  return Object{{"type", "TemplateProcessing"},
                {"single", std::move(single)},
                {"pair", std::move(pair)},
                {"special_tokens", std::move(table)}};
}

llvm::json::Value JsonWriter::decoder() const {
  if (byteLevel())
    return Object{{"type", "ByteLevel"},
                  {"add_prefix_space", true},
                  {"trim_offsets", true},
                  {"use_regex", true}};
  const DecoderSpec &spec = asset.decoder;
  if (spec.dropInFirst && spec.replace.size() == 1 && !spec.byteFallback)
    return Object{{"type", "Metaspace"},
                  {"replacement", spec.replace[0].from},
                  {"prepend_scheme", "always"},
                  {"split", true}};
  Array list;
  for (const DecoderSpec::Replacement &item : spec.replace)
    list.push_back(Object{{"type", "Replace"},
                          {"pattern", Object{{"String", item.from}}},
                          {"content", item.to}});
  if (spec.byteFallback)
    list.push_back(Object{{"type", "ByteFallback"}});
  list.push_back(Object{{"type", "Fuse"}});
  if (spec.stripCount)
    list.push_back(Object{{"type", "Strip"},
                          {"content", spec.stripStart},
                          {"start", spec.stripCount},
                          {"stop", 0}});
  return sequence(std::move(list), "decoders");
}

llvm::Expected<std::string> JsonWriter::run() {
  if (asset.kind == TokenizerKind::Unigram)
    return error() << "a unigram model has no merges";
  if (!byteLevel() &&
      (!asset.decoder.separator.empty() || !asset.decoder.unknown.empty()))
    return error() << "tokens become text in a way that tokenizer.json lacks";
  MOEC_ASSIGN(Object bpe, model());
  MOEC_ASSIGN(llvm::json::Value normal, normalizer());
  MOEC_ASSIGN(llvm::json::Value pre, preTokenizer());
  Object root{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", addedTokens()},
              {"normalizer", std::move(normal)},
              {"pre_tokenizer", std::move(pre)},
              {"post_processor", postProcessor()},
              {"decoder", decoder()},
              {"model", std::move(bpe)}};
  return llvm::formatv("{0:2}\n", llvm::json::Value(std::move(root))).str();
}

llvm::Expected<std::string>
moec::writeTokenizerJson(const TokenizerAsset &asset) {
  return JsonWriter(asset).run();
}

std::string moec::writeTokenizerConfig(const TokenizerAsset &asset) {
  Object object{{"tokenizer_class", "PreTrainedTokenizerFast"},
                {"clean_up_tokenization_spaces", false}};
  for (auto [key, id] :
       {std::pair("bos_token", asset.bos), std::pair("eos_token", asset.eos),
        std::pair("unk_token", asset.unknown),
        std::pair("pad_token", asset.pad)})
    if (id >= 0 && llvm::json::isUTF8(asset.pieces[size_t(id)].text))
      object[key] = asset.pieces[size_t(id)].text;
  if (asset.contextHint)
    object["model_max_length"] = int64_t(asset.contextHint);
  if (!asset.chat.source.empty() && llvm::json::isUTF8(asset.chat.source))
    object["chat_template"] = asset.chat.source;
  return llvm::formatv("{0:2}\n", llvm::json::Value(std::move(object))).str();
}
