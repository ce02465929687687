#include "frontend/gguf/GgufTokenizerData.h"
#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/PieceIndex.h"
#include "frontend/tokenizer/WriteGgufTokenizer.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

namespace {

/// How the text of a byte-level model is split, by `tokenizer.ggml.pre`.
struct Splitting {
  /// Separated by spaces.
  llvm::StringLiteral names;
  /// Applied one after the other.
  llvm::SmallVector<llvm::StringLiteral, 5> expressions;
  bool ignoreMerges = false;
  bool addBos = false;
  bool nfc = false;
};

constexpr llvm::StringLiteral kDigit = R"(\p{N})";
constexpr llvm::StringLiteral kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr llvm::StringLiteral kQwen35Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral kDeepSeek3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

} // namespace

/// Models that were trained with NFC have it here: their GGUF form does not
/// mention it.
static llvm::ArrayRef<Splitting> splittings() {
  static const Splitting kTable[] = {
      {"default",
       {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Words, R"(\p{N}+)",
        R"([0-9][0-9][0-9])"}},
      {"dbrx smaug-bpe", {kLlama3Words}},
      {"deepseek-coder",
       {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
        R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)", kDigit}},
      {"deepseek-v3",
       {R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)",
        kDeepSeek3Words}},
      {"falcon",
       {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Words, R"([0-9][0-9][0-9])"}},
      {"gpt-2 gigachat jina-de jina-es mpt olmo phi-2 trillion", {kGpt2Words}},
      {"llama-bpe falcon-h1 falcon3 lfm2 llama-v3 llama3 midm-2.0 pixtral",
       {kLlama3Words},
       /*ignoreMerges=*/true,
       /*addBos=*/true},
      {"qwen2 deepseek-r1-qwen stablelm2",
       {kQwen2Words},
       /*ignoreMerges=*/false,
       /*addBos=*/false,
       /*nfc=*/true},
      {"qwen35", {kQwen35Words}},
      {"smollm codeshell command-r exaone minerva-7b refact starcoder",
       {kDigit, kGpt2Words}},
      {"tekken",
       {kTekkenWords},
       /*ignoreMerges=*/true,
       /*addBos=*/true},
  };
  return kTable;
}

static const Splitting *findSplitting(llvm::StringRef pre) {
  for (const Splitting &splitting : splittings()) {
    llvm::SmallVector<llvm::StringRef, 8> names;
    llvm::StringRef(splitting.names).split(names, ' ');
    if (llvm::is_contained(names, pre))
      return &splitting;
  }
  return nullptr;
}

std::string moec::ggufSplitting(const TokenizerAsset &asset) {
  for (const Splitting &splitting : splittings()) {
    std::vector<PreTokenizerStep> steps;
    for (llvm::StringRef expression : splitting.expressions)
      steps.push_back(splitIsolated(expression));
    if (steps != asset.preTokenizer ||
        splitting.ignoreMerges != asset.ignoreMerges)
      continue;
    bool normalizes = llvm::any_of(asset.normalizer, [](auto &step) {
      return step.kind != NormalizerStep::Kind::Nfc;
    });
    // llama.cpp normalises nothing, whatever the model was trained with.
    if (!normalizes)
      return llvm::StringRef(splitting.names).split(' ').first.str();
  }
  return "";
}

static llvm::Error readPieces(const GgufTokenizerData &metadata,
                              TokenizerAsset &asset) {
  size_t count = metadata.tokens.size();
  auto fail = [&] { return error(metadata.location); };
  if (count == 0 || count > kMaxVocabulary)
    return fail() << "expected 1 to " << kMaxVocabulary
                  << " tokens in 'tokenizer.ggml.tokens', got " << count;
  for (auto [key, size] : {std::pair("scores", metadata.scores.size()),
                           std::pair("token_type", metadata.tokenTypes.size())})
    if (size != 0 && size != count)
      return fail() << "expected " << count << " entries in 'tokenizer.ggml."
                    << key << "', as many as tokens, got " << size;
  asset.pieces.resize(count);
  for (size_t id = 0; id < count; ++id) {
    Piece &piece = asset.pieces[id];
    piece.text = metadata.tokens[id];
    if (!metadata.scores.empty())
      piece.score = metadata.scores[id];
    if (!std::isfinite(piece.score))
      return fail() << "expected token " << id
                    << " to have a finite score, got " << piece.score;
    constexpr PieceType kTypes[] = {PieceType::Normal,      PieceType::Normal,
                                    PieceType::Unknown,     PieceType::Control,
                                    PieceType::UserDefined, PieceType::Unused,
                                    PieceType::Byte};
    int32_t type = metadata.tokenTypes.empty() ? 1 : metadata.tokenTypes[id];
    if (type < 0 || type > 6)
      return fail() << "expected token " << id
                    << " to have a type in [0, 6], got " << type;
    piece.type = kTypes[type];
    if (piece.type == PieceType::Byte && byteOfPiece(piece.text) < 0)
      return fail() << "expected token " << id
                    << ", a byte, to be spelled '<0x00>' to '<0xFF>', got '"
                    << piece.text << "'";
    bool isAdded = piece.type == PieceType::Unknown ||
                   piece.type == PieceType::Control ||
                   piece.type == PieceType::UserDefined;
    if (!isAdded || piece.text.empty())
      continue;
    AddedToken token;
    token.id = int32_t(id);
    token.content = piece.text;
    token.special = piece.type != PieceType::UserDefined;
    asset.added.push_back(std::move(token));
  }
  return llvm::Error::success();
}

static llvm::Error readIds(const GgufTokenizerData &metadata,
                           TokenizerAsset &asset) {
  auto read = [&](const char *key, std::optional<int64_t> value,
                  int32_t &id) -> llvm::Error {
    if (!value)
      return llvm::Error::success();
    if (*value < 0 || size_t(*value) >= asset.pieces.size())
      return error(metadata.location)
             << "expected 'tokenizer.ggml." << key << "' in [0, "
             << asset.pieces.size() << "), got " << *value;
    id = int32_t(*value);
    return llvm::Error::success();
  };
  int32_t endOfTurn = -1;
  MOEC_TRY(read("bos_token_id", metadata.bos, asset.bos));
  MOEC_TRY(read("eos_token_id", metadata.eos, asset.eos));
  MOEC_TRY(read("eot_token_id", metadata.eot, endOfTurn));
  MOEC_TRY(read("unknown_token_id", metadata.unknown, asset.unknown));
  MOEC_TRY(read("padding_token_id", metadata.padding, asset.pad));
  auto addStop = [&](int32_t id) {
    if (id >= 0 && !llvm::is_contained(asset.stopIds, id))
      asset.stopIds.push_back(id);
  };
  addStop(asset.eos);
  addStop(endOfTurn);
  // Files that name one end only often mean several.
  for (const AddedToken &token : asset.added)
    for (llvm::StringRef end :
         {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
          "<|endoftext|>", "<|end_of_text|>"})
      if (token.special && token.content == end)
        addStop(token.id);
  return llvm::Error::success();
}

static void wrap(const GgufTokenizerData &metadata, bool addBos,
                 TokenizerAsset &asset) {
  if (metadata.addBos.value_or(addBos) && asset.bos >= 0)
    asset.prefixIds = {asset.bos};
  if (metadata.addEos.value_or(false) && asset.eos >= 0)
    asset.suffixIds = {asset.eos};
}

static llvm::Error readSentencePiece(const GgufTokenizerData &metadata,
                                     TokenizerAsset &asset) {
  if (metadata.scores.empty())
    return error(metadata.location)
           << "expected 'tokenizer.ggml.scores' for the tokenizer 'llama', "
              "got none";
  asset.kind = TokenizerKind::ScoreBpe;
  asset.fuseUnknown = true;
  asset.byteFallback = llvm::any_of(asset.pieces, [](const Piece &piece) {
    return piece.type == PieceType::Byte;
  });
  bool prefix = metadata.addSpacePrefix.value_or(true);
  NormalizerStep step;
  step.kind = NormalizerStep::Kind::SentencePiece;
  step.flags = kEscapeSpaces;
  if (prefix)
    step.flags |= kAddDummyPrefix;
  if (metadata.removeExtraWhitespaces.value_or(false))
    step.flags |= kRemoveExtraSpaces;
  asset.normalizer.push_back(step);
  asset.decoder.byteFallback = asset.byteFallback;
  asset.decoder.replace.push_back({"\xE2\x96\x81", " "});
  if (prefix) {
    asset.decoder.stripStart = " ";
    asset.decoder.stripCount = 1;
  }
  wrap(metadata, /*addBos=*/true, asset);
  return llvm::Error::success();
}

static llvm::Error readByteLevel(const GgufTokenizerData &metadata,
                                 TokenizerAsset &asset) {
  asset.kind = TokenizerKind::ByteLevelBpe;
  llvm::StringRef pre = metadata.pre;
  if (pre.empty())
    pre = "default";
  const Splitting *splitting = findSplitting(pre);
  if (!splitting) {
    std::string names;
    for (const Splitting &known : splittings())
      names += (names.empty() ? "" : " ") + known.names.str();
    return error(metadata.location)
           << "expected 'tokenizer.ggml.pre' to be one of " << names
           << ", got '" << pre << "'";
  }
  if (metadata.merges.empty())
    return error(metadata.location)
           << "expected 'tokenizer.ggml.merges' for the tokenizer 'gpt2', got "
              "none";
  PieceIndex index(asset.pieces);
  for (auto [rank, line] : llvm::enumerate(metadata.merges)) {
    auto fail = [&, rank = rank] {
      Location loc = metadata.location;
      loc.object = ("tokenizer.ggml.merges[" + llvm::Twine(rank) + "]").str();
      return error(loc);
    };
    MOEC_ASSIGN(Merge merge, index.merge(line, fail));
    asset.merges.push_back(merge);
  }
  spellOut(asset);
  if (splitting->nfc) {
    NormalizerStep step;
    step.kind = NormalizerStep::Kind::Nfc;
    asset.normalizer.push_back(step);
  }
  for (llvm::StringRef expression : splitting->expressions)
    asset.preTokenizer.push_back(splitIsolated(expression));
  asset.ignoreMerges = splitting->ignoreMerges;
  // These models have no unknown piece: a byte that the vocabulary lacks (in
  // SmolLM2's, 21 are missing) vanishes. The key is only a name.
  asset.unknown = -1;
  wrap(metadata, splitting->addBos, asset);
  return llvm::Error::success();
}

llvm::Expected<TokenizerAsset>
moec::importGgufTokenizer(const GgufTokenizerData &metadata) {
  TokenizerAsset asset;
  if (metadata.model != "llama" && metadata.model != "gpt2")
    return error(metadata.location)
           << "expected 'tokenizer.ggml.model' to be 'llama' or 'gpt2', got '"
           << metadata.model << "'";
  MOEC_TRY(readPieces(metadata, asset));
  MOEC_TRY(readIds(metadata, asset));
  MOEC_TRY(metadata.model == "llama" ? readSentencePiece(metadata, asset)
                                     : readByteLevel(metadata, asset));
  asset.chat = recogniseChatTemplate(metadata.chatTemplate);
  MOEC_TRY(checkAsset(asset, metadata.location.str()));
  return asset;
}
