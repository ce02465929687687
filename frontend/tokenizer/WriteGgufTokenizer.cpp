#include "frontend/tokenizer/WriteGgufTokenizer.h"

#include "frontend/tokenizer/ByteAlphabet.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

static int32_t typeTag(PieceType type) {
  switch (type) {
  case PieceType::Normal:
    return 1;
  case PieceType::Unknown:
    return 2;
  case PieceType::Control:
    return 3;
  case PieceType::UserDefined:
    return 4;
  case PieceType::Unused:
    return 5;
  case PieceType::Byte:
    return 6;
  }
  llvm_unreachable("every type is listed");
}

/// Scores that order merges as their ranks do: a piece is as good as the first
/// merge that makes it.
static std::vector<float> scoresOfMerges(const TokenizerAsset &asset) {
  // Below every merge, since nothing leads to these pieces.
  std::vector<float> scores(asset.pieces.size(),
                            -float(asset.merges.size()) - 1);
  for (auto [rank, merge] : llvm::enumerate(asset.merges))
    scores[merge.result] = std::max(scores[merge.result], -float(rank));
  return scores;
}

static void addIds(const TokenizerAsset &asset, GgufTokenizerData &data) {
  auto idOf = [](int32_t id) {
    return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
  };
  data.bos = idOf(asset.bos);
  data.eos = idOf(asset.eos);
  data.unknown = idOf(asset.unknown);
  data.padding = idOf(asset.pad);
  for (int32_t stop : asset.stopIds)
    if (stop != asset.eos && !data.eot)
      data.eot = stop;
  data.addBos =
      llvm::equal(asset.prefixIds, llvm::ArrayRef(asset.bos)) && asset.bos >= 0;
  data.addEos =
      llvm::equal(asset.suffixIds, llvm::ArrayRef(asset.eos)) && asset.eos >= 0;
}

/// Whether the text is prepared as llama.cpp's tokenizer "llama" does: spaces
/// become U+2581, one of which is put first (`prefix`).
static bool isMetaspace(const TokenizerAsset &asset, bool &prefix) {
  using Kind = NormalizerStep::Kind;
  constexpr llvm::StringLiteral kMark = "\xE2\x96\x81";
  prefix = false;
  bool escapes = false;
  for (const NormalizerStep &step : asset.normalizer) {
    if (step.kind == Kind::SentencePiece && step.pattern.empty() &&
        !(step.flags & ~(kAddDummyPrefix | kEscapeSpaces))) {
      prefix |= (step.flags & kAddDummyPrefix) != 0;
      escapes |= (step.flags & kEscapeSpaces) != 0;
    } else if (step.kind == Kind::Prepend && step.text == kMark) {
      prefix = true;
    } else if (step.kind == Kind::ReplaceLiteral && step.pattern == " " &&
               step.text == kMark) {
      escapes = true;
    } else {
      return false;
    }
  }
  for (const PreTokenizerStep &step : asset.preTokenizer) {
    if (step.kind != PreTokenizerStep::Kind::Metaspace ||
        step.pattern != kMark || asset.preTokenizer.size() != 1)
      return false;
    prefix |= step.prepend != PreTokenizerStep::Prepend::Never;
    escapes = true;
  }
  return escapes;
}

llvm::Expected<GgufTokenizerData>
moec::makeGgufTokenizer(const TokenizerAsset &asset) {
  GgufTokenizerData data;
  bool byteLevel = asset.kind == TokenizerKind::ByteLevelBpe;
  if (asset.kind == TokenizerKind::Unigram)
    return error() << "llama.cpp's model files here hold no unigram tokenizer";
  for (const Piece &piece : asset.pieces) {
    data.tokens.push_back(byteLevel && piece.type == PieceType::Normal
                              ? spellingOfBytes(piece.text)
                              : piece.text);
    data.tokenTypes.push_back(typeTag(piece.type));
  }
  // A token that is looked for in the text is one of the special types.
  for (const AddedToken &token : asset.added) {
    int32_t &type = data.tokenTypes[size_t(token.id)];
    if (type == typeTag(PieceType::Normal)) {
      type =
          typeTag(token.special ? PieceType::Control : PieceType::UserDefined);
      data.tokens[size_t(token.id)] = token.content;
    }
  }
  addIds(asset, data);
  data.chatTemplate = asset.chat.source;
  if (byteLevel) {
    data.model = "gpt2";
    data.pre = ggufSplitting(asset);
    if (data.pre.empty())
      return error() << "llama.cpp has no name for how the tokenizer splits "
                        "text into words";
    if (asset.merges.empty())
      return error() << "llama.cpp reads no vocabulary without merges";
    for (const Merge &merge : asset.merges)
      data.merges.push_back(data.tokens[merge.left] + " " +
                            data.tokens[merge.right]);
    return data;
  }
  data.model = "llama";
  bool prefix = false;
  if (!isMetaspace(asset, prefix))
    return error() << "the tokenizer prepares text in another way than "
                      "llama.cpp's 'llama'";
  data.addSpacePrefix = prefix;
  if (asset.kind == TokenizerKind::MetaspaceBpe)
    data.scores = scoresOfMerges(asset);
  else
    for (const Piece &piece : asset.pieces)
      data.scores.push_back(piece.score);
  if (asset.unknown >= 0)
    data.tokenTypes[size_t(asset.unknown)] = typeTag(PieceType::Unknown);
  return data;
}
