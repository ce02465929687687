#include "frontend/tokenizer/TokenizerJson.h"

#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

const JsonValue *moec::findSet(const JsonValue &object, llvm::StringRef key) {
  const JsonValue *value = object.find(key);
  return value && !value->isNull() ? value : nullptr;
}

llvm::Expected<std::string> moec::stringAt(const JsonDocument &doc,
                                           const JsonValue &object,
                                           llvm::StringRef key) {
  const JsonValue *value = object.find(key);
  if (!value)
    return doc.errorAt(object) << "expected the key '" << key << "'";
  if (!value->isString())
    return doc.errorAt(*value) << "expected '" << key
                               << "' to be a string, got " << value->describe();
  return value->string;
}

llvm::Expected<bool> moec::boolAt(const JsonDocument &doc,
                                  const JsonValue &object, llvm::StringRef key,
                                  bool missing) {
  const JsonValue *value = findSet(object, key);
  if (!value)
    return missing;
  if (!value->isBoolean())
    return doc.errorAt(*value)
           << "expected '" << key << "' to be true or false, got "
           << value->describe();
  return value->boolean;
}

llvm::Expected<int32_t> moec::idOf(const JsonDocument &doc,
                                   const JsonValue &value) {
  if (!value.isInteger || value.integer < 0 || value.integer >= kMaxVocabulary)
    return doc.errorAt(value) << "expected an id in [0, " << kMaxVocabulary
                              << "), got " << value.describe();
  return int32_t(value.integer);
}

/// Ids may have gaps, but a file of few pieces with one huge id is no
/// vocabulary: it would only take memory.
static llvm::Error reserveId(const JsonDocument &doc, const JsonValue &value,
                             int32_t id, size_t entries,
                             TokenizerAsset &asset) {
  size_t limit = 2 * entries + (1 << 16);
  if (size_t(id) >= limit)
    return doc.errorAt(value)
           << "expected an id below " << limit << " in a vocabulary of "
           << entries << " entries, got " << id;
  if (size_t(id) >= asset.pieces.size()) {
    Piece gap;
    gap.type = PieceType::Unused;
    asset.pieces.resize(id + 1, gap);
  }
  return llvm::Error::success();
}

static llvm::Error readVocabulary(const JsonDocument &doc,
                                  const JsonValue &model, size_t addedCount,
                                  TokenizerAsset &asset) {
  const JsonValue *vocabulary = model.find("vocab");
  if (!vocabulary || !vocabulary->isObject())
    return doc.errorAt(vocabulary ? *vocabulary : model)
           << "expected 'vocab' to be an object from pieces to ids, got "
           << (vocabulary ? vocabulary->describe() : "none");
  size_t entries = vocabulary->members.size() + addedCount;
  asset.pieces.reserve(std::min<size_t>(entries, kMaxVocabulary));
  for (const JsonMember &member : vocabulary->members) {
    MOEC_ASSIGN(int32_t id, idOf(doc, member.value));
    MOEC_TRY(reserveId(doc, member.value, id, entries, asset));
    Piece &piece = asset.pieces[id];
    if (piece.type != PieceType::Unused)
      return doc.errorAt(member.value)
             << "expected every piece to have its own id, got " << id
             << " for both '" << piece.text << "' and '" << member.key << "'";
    piece.text = member.key;
    piece.type = PieceType::Normal;
  }
  return llvm::Error::success();
}

static llvm::Error readMerges(const JsonDocument &doc, const JsonValue &model,
                              const PieceIndex &index, TokenizerAsset &asset) {
  const JsonValue *merges = model.find("merges");
  if (!merges || !merges->isArray())
    return doc.errorAt(merges ? *merges : model)
           << "expected 'merges' to be an array, got "
           << (merges ? merges->describe() : "none");
  asset.merges.reserve(merges->items.size());
  for (const JsonValue &item : merges->items) {
    auto fail = [&] { return doc.errorAt(item); };
    if (item.isString()) {
      MOEC_ASSIGN(Merge merge, index.merge(item.string, fail));
      asset.merges.push_back(merge);
      continue;
    }
    if (!item.isArray() || item.items.size() != 2 ||
        !item.items[0].isString() || !item.items[1].isString())
      return fail() << "expected a merge as 'left right' or as two strings, "
                       "got "
                    << item.describe();
    MOEC_ASSIGN(Merge merge,
                index.merge(item.items[0].string, item.items[1].string, fail));
    asset.merges.push_back(merge);
  }
  return llvm::Error::success();
}

/// What an option of the model must be for the encoder to be right.
static llvm::Error refuseOption(const JsonDocument &doc, const JsonValue &model,
                                llvm::StringRef key) {
  const JsonValue *value = findSet(model, key);
  bool isOff = !value || (value->isString() && value->string.empty()) ||
               (value->isNumber() && value->number == 0);
  if (isOff)
    return llvm::Error::success();
  return doc.errorAt(*value) << "expected the model's '" << key
                             << "' to be unset, which is all that is "
                                "supported, got "
                             << value->describe();
}

static llvm::Error readModel(const JsonDocument &doc, const JsonValue &model,
                             TokenizerAsset &asset, const PieceIndex &index) {
  for (llvm::StringRef key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    MOEC_TRY(refuseOption(doc, model, key));
  MOEC_ASSIGN(asset.fuseUnknown, boolAt(doc, model, "fuse_unk", false));
  MOEC_ASSIGN(asset.byteFallback, boolAt(doc, model, "byte_fallback", false));
  MOEC_ASSIGN(asset.ignoreMerges, boolAt(doc, model, "ignore_merges", false));
  if (findSet(model, "unk_token")) {
    MOEC_ASSIGN(std::string unknown, stringAt(doc, model, "unk_token"));
    asset.unknown = index.find(unknown);
    if (asset.unknown < 0)
      return doc.errorAt(*model.find("unk_token"))
             << "expected 'unk_token' to be a piece of the vocabulary, got '"
             << unknown << "'";
  }
  return readMerges(doc, model, index, asset);
}

static llvm::Expected<AddedToken> readAddedToken(const JsonDocument &doc,
                                                 const JsonValue &item) {
  AddedToken token;
  const JsonValue *id = item.find("id");
  if (!id)
    return doc.errorAt(item)
           << "expected an added token to have the key 'id', got "
           << item.describe();
  MOEC_ASSIGN(token.id, idOf(doc, *id));
  MOEC_ASSIGN(token.content, stringAt(doc, item, "content"));
  if (token.content.empty())
    return doc.errorAt(item) << "expected an added token to have a text, got "
                                "an empty 'content'";
  MOEC_ASSIGN(token.special, boolAt(doc, item, "special", false));
  MOEC_ASSIGN(token.singleWord, boolAt(doc, item, "single_word", false));
  MOEC_ASSIGN(token.lstrip, boolAt(doc, item, "lstrip", false));
  MOEC_ASSIGN(token.rstrip, boolAt(doc, item, "rstrip", false));
  MOEC_ASSIGN(token.normalized,
              boolAt(doc, item, "normalized", !token.special));
  return token;
}

static llvm::Error readAddedTokens(const JsonDocument &doc,
                                   const JsonValue &list,
                                   const PieceIndex &index,
                                   TokenizerAsset &asset) {
  // Looked up before the vocabulary grows and its pieces move.
  std::vector<int32_t> known;
  for (const JsonValue &item : list.items) {
    MOEC_ASSIGN(AddedToken token, readAddedToken(doc, item));
    known.push_back(index.find(token.content));
    asset.added.push_back(std::move(token));
  }
  size_t entries = asset.pieces.size() + list.items.size();
  for (auto [item, token, inVocabulary] :
       llvm::zip(list.items, asset.added, known)) {
    const JsonValue &id = *item.find("id");
    if (inVocabulary >= 0 && inVocabulary != token.id)
      return doc.errorAt(id) << "expected the id " << inVocabulary
                             << " that the vocabulary gives '" << token.content
                             << "', got " << token.id;
    MOEC_TRY(reserveId(doc, id, token.id, entries, asset));
    Piece &piece = asset.pieces[token.id];
    if (inVocabulary >= 0) {
      // A single character may be what merges start from.
      if (token.special && token.content.size() > 1)
        piece.type = PieceType::Control;
      continue;
    }
    if (piece.type != PieceType::Unused)
      return doc.errorAt(id)
             << "expected an id that is free for '" << token.content
             << "', got " << token.id << ", which is '" << piece.text << "'";
    piece.text = token.content;
    piece.type = token.special ? PieceType::Control : PieceType::UserDefined;
  }
  return llvm::Error::success();
}

llvm::Expected<TokenizerAsset>
moec::importTokenizerJson(const JsonDocument &doc) {
  const JsonValue &root = doc.root();
  const JsonValue *model = root.find("model");
  if (!root.isObject() || !model || !model->isObject())
    return doc.errorAt(root) << "expected a tokenizer with an object 'model', "
                                "got "
                             << root.describe();
  const JsonValue *type = findSet(*model, "type");
  if (type && !(type->isString() && type->string == "BPE"))
    return doc.errorAt(*type)
           << "expected the model type 'BPE', which is all that is supported, "
              "got "
           << type->describe();
  static const JsonValue kNone = {};
  auto component = [&](llvm::StringRef key) -> const JsonValue & {
    const JsonValue *value = root.find(key);
    return value ? *value : kNone;
  };
  const JsonValue &added = component("added_tokens");
  if (!added.isArray() && !added.isNull())
    return doc.errorAt(added) << "expected 'added_tokens' to be an array, got "
                              << added.describe();

  TokenizerAsset asset;
  asset.kind = TokenizerKind::MetaspaceBpe;
  MOEC_TRY(readVocabulary(doc, *model, added.items.size(), asset));
  PieceIndex index(asset.pieces);
  MOEC_TRY(readModel(doc, *model, asset, index));
  MOEC_TRY(readAddedTokens(doc, added, index, asset));
  MOEC_TRY(readNormalizer(doc, component("normalizer"), asset));
  MOEC_TRY(readPreTokenizer(doc, component("pre_tokenizer"), asset));
  MOEC_TRY(readPostProcessor(doc, component("post_processor"), asset));
  MOEC_TRY(readDecoder(doc, component("decoder"), asset));
  if (asset.kind == TokenizerKind::ByteLevelBpe)
    spellOut(asset);
  else if (asset.byteFallback || asset.decoder.byteFallback)
    for (Piece &piece : asset.pieces)
      if (piece.type == PieceType::Normal && byteOfPiece(piece.text) >= 0)
        piece.type = PieceType::Byte;
  MOEC_TRY(checkAsset(asset, doc.path()));
  return asset;
}
