#include "frontend/tokenizer/Companions.h"

#include "frontend/tokenizer/TokenizerJson.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moec;

static std::string inFolder(llvm::StringRef folder, llvm::StringRef name) {
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  return std::string(path);
}

/// The document, or null where there is no such file.
static llvm::Expected<std::shared_ptr<const JsonDocument>>
loadIfThere(llvm::StringRef folder, llvm::StringRef name) {
  std::string path = inFolder(folder, name);
  if (!llvm::sys::fs::exists(path))
    return nullptr;
  MOEC_ASSIGN(auto doc, JsonDocument::load(path));
  if (!doc->root().isObject())
    return doc->errorAt(doc->root())
           << "expected an object, got " << doc->root().describe();
  return doc;
}

static int32_t findToken(const TokenizerAsset &asset, llvm::StringRef content) {
  for (const AddedToken &token : asset.added)
    if (token.content == content)
      return token.id;
  for (auto [id, piece] : llvm::enumerate(asset.pieces))
    if (piece.text == content)
      return int32_t(id);
  return -1;
}

/// "bos_token" and its like: a string, or an object with a 'content'.
static llvm::Error readNamedTokens(const JsonDocument &doc,
                                   TokenizerAsset &asset) {
  const std::pair<const char *, int32_t *> named[] = {
      {"bos_token", &asset.bos},
      {"eos_token", &asset.eos},
      {"unk_token", &asset.unknown},
      {"pad_token", &asset.pad}};
  for (auto [key, id] : named) {
    const JsonValue *value = findSet(doc.root(), key);
    if (!value)
      continue;
    const JsonValue *text = value->isObject() ? value->find("content") : value;
    if (!text || !text->isString())
      return doc.errorAt(*value) << "expected '" << key
                                 << "' to be a string or an object with one, "
                                    "got "
                                 << value->describe();
    int32_t found = findToken(asset, text->string);
    // Padding and unknown may name tokens that the vocabulary lacks: nothing
    // reads the one, and the model's own unknown piece is what encoding uses.
    if (found < 0 && (id == &asset.bos || id == &asset.eos))
      return doc.errorAt(*text) << "expected '" << key
                                << "' to be a token of the vocabulary, got '"
                                << text->string << "'";
    if (found >= 0 && (id != &asset.unknown || asset.unknown >= 0))
      *id = found;
  }
  return llvm::Error::success();
}

static llvm::Error readGeneration(const JsonDocument &doc,
                                  TokenizerAsset &asset) {
  const JsonValue *eos = findSet(doc.root(), "eos_token_id");
  if (!eos)
    return llvm::Error::success();
  llvm::ArrayRef<JsonValue> ids(*eos);
  if (eos->isArray())
    ids = eos->items;
  for (const JsonValue &value : ids) {
    MOEC_ASSIGN(int32_t id, idOf(doc, value));
    if (size_t(id) >= asset.pieces.size())
      return doc.errorAt(value) << "expected an id below the vocabulary's size "
                                << asset.pieces.size() << ", got " << id;
    if (!llvm::is_contained(asset.stopIds, id))
      asset.stopIds.push_back(id);
  }
  return llvm::Error::success();
}

/// A string, or a list of named templates with one called "default".
static llvm::Expected<std::string> readChatTemplate(const JsonDocument &doc,
                                                    const JsonValue &value) {
  if (value.isString())
    return value.string;
  if (value.isArray())
    for (const JsonValue &item : value.items) {
      const JsonValue *name = item.find("name");
      const JsonValue *text = item.find("template");
      if (name && name->isString() && name->string == "default" && text &&
          text->isString())
        return text->string;
    }
  return doc.errorAt(value) << "expected 'chat_template' to be a string or a "
                               "list with a template 'default', got "
                            << value.describe();
}

/// "added_tokens_decoder": an object from ids to tokens. For a SentencePiece
/// model these extend the vocabulary.
static llvm::Error readAddedTokens(const JsonDocument &doc,
                                   TokenizerAsset &asset) {
  const JsonValue *table = findSet(doc.root(), "added_tokens_decoder");
  if (!table)
    return llvm::Error::success();
  if (!table->isObject())
    return doc.errorAt(*table)
           << "expected 'added_tokens_decoder' to be an object, got "
           << table->describe();
  size_t limit = asset.pieces.size() + 2 * table->members.size();
  for (const JsonMember &member : table->members) {
    AddedToken token;
    if (llvm::StringRef(member.key).getAsInteger(10, token.id) ||
        token.id < 0 || size_t(token.id) >= limit)
      return doc.errorAt(member.keyOffset) << "expected an id in [0, " << limit
                                           << "), got '" << member.key << "'";
    MOEC_ASSIGN(token.content, stringAt(doc, member.value, "content"));
    MOEC_ASSIGN(token.special, boolAt(doc, member.value, "special", false));
    MOEC_ASSIGN(token.singleWord,
                boolAt(doc, member.value, "single_word", false));
    MOEC_ASSIGN(token.lstrip, boolAt(doc, member.value, "lstrip", false));
    MOEC_ASSIGN(token.rstrip, boolAt(doc, member.value, "rstrip", false));
    if (token.content.empty())
      return doc.errorAt(member.value) << "expected an added token to have a "
                                          "text, got an empty 'content'";
    if (size_t(token.id) >= asset.pieces.size()) {
      Piece gap;
      gap.type = PieceType::Unused;
      asset.pieces.resize(token.id + 1, gap);
    }
    Piece &piece = asset.pieces[token.id];
    if (piece.text.empty()) {
      piece.text = token.content;
      piece.type = token.special ? PieceType::Control : PieceType::UserDefined;
    } else if (piece.text != token.content) {
      return doc.errorAt(member.value)
             << "expected token " << token.id << " to be '" << piece.text
             << "', as the model says, got '" << token.content << "'";
    }
    llvm::erase_if(asset.added, [&](const AddedToken &known) {
      return known.id == token.id;
    });
    asset.added.push_back(std::move(token));
  }
  return llvm::Error::success();
}

/// Whether to add a BOS or an EOS, where the tokenizer's file does not say.
static llvm::Error readAffixes(const JsonDocument &doc, bool fromModelFile,
                               TokenizerAsset &asset) {
  const JsonValue *type = findSet(doc.root(), "tokenizer_class");
  bool isLlama = type && type->isString() &&
                 llvm::StringRef(type->string).starts_with("Llama");
  const JsonValue *addsBos = findSet(doc.root(), "add_bos_token");
  const JsonValue *addsEos = findSet(doc.root(), "add_eos_token");
  MOEC_ASSIGN(bool bos, boolAt(doc, doc.root(), "add_bos_token", false));
  MOEC_ASSIGN(bool eos, boolAt(doc, doc.root(), "add_eos_token", false));
  if (fromModelFile) {
    if (addsBos)
      asset.prefixIds.clear();
    if (addsEos)
      asset.suffixIds.clear();
  } else if (!isLlama) {
    // Other classes leave it to the tokenizer's own template.
    return llvm::Error::success();
  }
  if (bos && asset.prefixIds.empty() && asset.bos >= 0)
    asset.prefixIds = {asset.bos};
  if (eos && asset.suffixIds.empty() && asset.eos >= 0)
    asset.suffixIds = {asset.eos};
  return llvm::Error::success();
}

static llvm::Error readConfig(const JsonDocument &doc, bool fromModelFile,
                              TokenizerAsset &asset) {
  if (fromModelFile)
    MOEC_TRY(readAddedTokens(doc, asset));
  MOEC_TRY(readNamedTokens(doc, asset));
  MOEC_TRY(readAffixes(doc, fromModelFile, asset));
  if (const JsonValue *value = findSet(doc.root(), "chat_template")) {
    MOEC_ASSIGN(std::string source, readChatTemplate(doc, *value));
    asset.chat = recogniseChatTemplate(source);
  }
  // "No limit" is written as a number of thirty digits.
  const JsonValue *length = findSet(doc.root(), "model_max_length");
  if (length && length->isInteger && length->integer > 0 &&
      length->integer <= INT32_MAX)
    asset.contextHint = uint32_t(length->integer);
  return llvm::Error::success();
}

llvm::Error moec::readCompanions(llvm::StringRef folder, bool fromModelFile,
                                 TokenizerAsset &asset) {
  MOEC_ASSIGN(auto map, loadIfThere(folder, "special_tokens_map.json"));
  MOEC_ASSIGN(auto config, loadIfThere(folder, "tokenizer_config.json"));
  MOEC_ASSIGN(auto generation, loadIfThere(folder, "generation_config.json"));
  // The configuration may extend the vocabulary that the map speaks of.
  if (config)
    MOEC_TRY(readConfig(*config, fromModelFile, asset));
  if (map)
    MOEC_TRY(readNamedTokens(*map, asset));
  if (asset.eos >= 0 && !llvm::is_contained(asset.stopIds, asset.eos))
    asset.stopIds.push_back(asset.eos);
  if (generation)
    MOEC_TRY(readGeneration(*generation, asset));
  std::string path = inFolder(folder, "chat_template.jinja");
  if (llvm::sys::fs::exists(path)) {
    auto text = llvm::MemoryBuffer::getFile(path);
    if (!text)
      return error(Location::inFile(path))
             << "cannot be read: " << text.getError().message();
    asset.chat = recogniseChatTemplate((*text)->getBuffer());
  }
  return checkAsset(asset, folder);
}
