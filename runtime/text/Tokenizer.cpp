#include "runtime/text/Tokenizer.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "runtime/text/AddedTokens.h"
#include "runtime/text/Bpe.h"
#include "runtime/text/Normalizer.h"
#include "runtime/text/PreTokenizer.h"
#include "runtime/text/Unicode.h"
#include "runtime/text/Unigram.h"
#include "llvm/ADT/StringMap.h"

#include <optional>

using namespace moec;

struct Tokenizer::Impl {
  TokenizerAsset asset;
  Trie userDefined;
  Normalizer normalizer;
  PreTokenizer preTokenizer;
  std::optional<BpeModel> bpe;
  std::optional<UnigramModel> unigram;
  /// Looked for in the text as given, and in the normalised text.
  AddedTokens rawTokens, normalizedTokens;
  llvm::DenseMap<llvm::CachedHashStringRef, int32_t> idOf;
  std::vector<bool> special;

  llvm::Error build(llvm::StringRef name);

  /// What one call to encode needs.
  struct Run {
    explicit Run(bool parseSpecial) : parseSpecial(parseSpecial) {}
    bool parseSpecial;
    std::vector<int32_t> ids;
    llvm::BumpPtrAllocator memory;
    llvm::StringSaver saver{memory};
    BpeModel::Scratch scratch;
    /// Where in `ids` a word was encoded before.
    llvm::DenseMap<llvm::CachedHashStringRef, std::pair<uint32_t, uint32_t>>
        seen;
  };
  llvm::Error encodeText(llvm::StringRef text, bool atStart, Run &run) const;
  llvm::Error encodeNormalized(llvm::StringRef text, bool atStart,
                               Run &run) const;
  void encodeWord(llvm::StringRef word, Run &run) const;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

const TokenizerAsset &Tokenizer::asset() const { return impl->asset; }

llvm::Error Tokenizer::Impl::build(llvm::StringRef name) {
  bool fromSentencePiece = asset.kind == TokenizerKind::ScoreBpe ||
                           asset.kind == TokenizerKind::Unigram;
  special.resize(asset.pieces.size());
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    if (fromSentencePiece && piece.type == PieceType::UserDefined)
      userDefined.insert(piece.text, int32_t(id));
    special[id] = piece.type == PieceType::Control;
    if (!piece.text.empty())
      idOf.try_emplace(llvm::CachedHashStringRef(piece.text), int32_t(id));
  }
  MOEC_ASSIGN(normalizer, Normalizer::create(asset, userDefined, name));
  MOEC_ASSIGN(preTokenizer, PreTokenizer::create(asset, name));
  for (const AddedToken &token : asset.added) {
    special[token.id] = special[token.id] || token.special;
    idOf[llvm::CachedHashStringRef(token.content)] = token.id;
    if (!token.normalized || normalizer.isIdentity()) {
      // Both lists would find it; in a text without a normalizer the order of
      // the two searches is the only difference.
      (token.normalized ? normalizedTokens : rawTokens)
          .insert(token, token.content);
      continue;
    }
    std::string content =
        isUtf8(token.content) ? token.content : replaceBadBytes(token.content);
    MOEC_ASSIGN(std::string pattern, normalizer.run(content));
    if (!pattern.empty())
      normalizedTokens.insert(token, pattern);
  }
  if (asset.kind == TokenizerKind::Unigram)
    unigram.emplace(asset);
  else
    bpe.emplace(asset, userDefined);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<Tokenizer>>
Tokenizer::create(TokenizerAsset asset, llvm::StringRef name) {
  MOEC_TRY(checkAsset(asset, name));
  auto impl = std::make_unique<Impl>();
  impl->asset = std::move(asset);
  MOEC_TRY(impl->build(name));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

llvm::Expected<std::unique_ptr<Tokenizer>>
Tokenizer::load(llvm::StringRef blob, llvm::StringRef name) {
  MOEC_ASSIGN(TokenizerAsset asset, deserializeTokenizer(blob, name));
  return create(std::move(asset), name);
}

//===----------------------------------------------------------------------===//
// Encoding
//===----------------------------------------------------------------------===//

void Tokenizer::Impl::encodeWord(llvm::StringRef word, Run &run) const {
  if (unigram) {
    unigram->encode(word, run.ids);
    return;
  }
  // A long part is rarely met twice, and hashing it costs.
  constexpr size_t kLongestKept = 64;
  auto encodePart = [&](llvm::StringRef part) {
    if (part.size() > kLongestKept) {
      bpe->encode(part, run.scratch, run.ids);
      return;
    }
    auto [seen, isNew] = run.seen.try_emplace(llvm::CachedHashStringRef(part),
                                              uint32_t(run.ids.size()), 0u);
    if (isNew) {
      bpe->encode(part, run.scratch, run.ids);
      seen->second.second = uint32_t(run.ids.size()) - seen->second.first;
      return;
    }
    auto [begin, count] = seen->second;
    for (uint32_t i = 0; i < count; ++i)
      run.ids.push_back(int32_t(run.ids[begin + i]));
  };
  // A word that may be a piece as it stands must not be taken apart.
  if (asset.ignoreMerges)
    encodePart(word);
  else
    bpe->forEachIndependentPart(word, encodePart);
}

llvm::Error Tokenizer::Impl::encodeNormalized(llvm::StringRef text,
                                              bool atStart, Run &run) const {
  auto encodeWords = [&](llvm::StringRef part,
                         bool partAtStart) -> llvm::Error {
    MOEC_TRY(preTokenizer.run(part, partAtStart, run.saver,
                              [&](llvm::StringRef word) {
                                if (!interruptRequested())
                                  encodeWord(word, run);
                              }));
    return checkInterrupt();
  };
  if (normalizedTokens.empty())
    return encodeWords(text, atStart);
  for (const AddedTokens::Part &part :
       normalizedTokens.split(text, run.parseSpecial)) {
    if (part.id >= 0)
      run.ids.push_back(part.id);
    else
      MOEC_TRY(encodeWords(text.slice(part.begin, part.end),
                           atStart && part.begin == 0));
  }
  return llvm::Error::success();
}

llvm::Error Tokenizer::Impl::encodeText(llvm::StringRef text, bool atStart,
                                        Run &run) const {
  if (normalizer.isIdentity())
    return encodeNormalized(text, atStart, run);
  MOEC_ASSIGN(std::string normalized, normalizer.run(text));
  return encodeNormalized(run.saver.save(normalized), atStart, run);
}

llvm::Expected<std::vector<int32_t>>
Tokenizer::encode(llvm::StringRef text, EncodeOptions options) const {
  std::string repaired;
  if (!isUtf8(text)) {
    repaired = replaceBadBytes(text);
    text = repaired;
  }
  // Offsets into the text and the ids are kept in 32 bits.
  if (text.size() > INT32_MAX / 4)
    return error() << "expected a text of at most " << INT32_MAX / 4
                   << " bytes to encode at once, got " << text.size();
  const TokenizerAsset &spec = impl->asset;
  Impl::Run run(options.parseSpecial);
  if (options.addSpecial)
    run.ids = spec.prefixIds;
  for (const AddedTokens::Part &part :
       impl->rawTokens.split(text, options.parseSpecial)) {
    if (part.id >= 0)
      run.ids.push_back(part.id);
    else
      MOEC_TRY(impl->encodeText(text.slice(part.begin, part.end),
                                part.begin == 0, run));
  }
  if (options.addSpecial)
    run.ids.insert(run.ids.end(), spec.suffixIds.begin(), spec.suffixIds.end());
  return std::move(run.ids);
}

//===----------------------------------------------------------------------===//
// Looking up
//===----------------------------------------------------------------------===//

llvm::StringRef Tokenizer::idToPiece(int32_t id) const {
  if (id < 0 || size_t(id) >= vocabularySize())
    return {};
  return asset().pieces[id].text;
}

int32_t Tokenizer::pieceToId(llvm::StringRef piece) const {
  auto found = impl->idOf.find(llvm::CachedHashStringRef(piece));
  return found == impl->idOf.end() ? -1 : found->second;
}

bool Tokenizer::isSpecial(int32_t id) const {
  return id >= 0 && size_t(id) < vocabularySize() && impl->special[id];
}

bool Tokenizer::isStop(int32_t id) const {
  return llvm::is_contained(asset().stopIds, id);
}

llvm::Expected<std::string>
Tokenizer::renderChat(llvm::ArrayRef<ChatMessage> messages,
                      ChatOptions options) const {
  options.bos = idToPiece(asset().bos).str();
  options.eos = idToPiece(asset().eos).str();
  return moec::renderChat(asset().chat, messages, options);
}
