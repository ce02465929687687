#include "frontend/tokenizer/ByteAlphabet.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/TokenizerJson.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

static llvm::Error readVocabulary(const JsonDocument &doc,
                                  TokenizerAsset &asset) {
  const JsonValue &root = doc.root();
  if (!root.isObject() || root.members.empty())
    return doc.errorAt(root)
           << "expected an object from pieces to ids, got " << root.describe();
  // Ids have no gaps here, so none can be larger than the list.
  Piece unset;
  unset.type = PieceType::Unused;
  asset.pieces.resize(root.members.size(), unset);
  for (const JsonMember &member : root.members) {
    MOEC_ASSIGN(int32_t id, idOf(doc, member.value));
    if (size_t(id) >= asset.pieces.size() ||
        asset.pieces[id].type != PieceType::Unused)
      return doc.errorAt(member.value)
             << "expected ids from 0 to " << asset.pieces.size() - 1
             << ", each once, got " << id << " for '" << member.key << "'";
    asset.pieces[id].text = member.key;
    asset.pieces[id].type = PieceType::Normal;
  }
  return llvm::Error::success();
}

llvm::Expected<TokenizerAsset>
moec::importGpt2Files(const JsonDocument &vocabulary, llvm::StringRef merges,
                      llvm::StringRef mergesName) {
  TokenizerAsset asset;
  asset.kind = TokenizerKind::ByteLevelBpe;
  MOEC_TRY(readVocabulary(vocabulary, asset));

  PieceIndex index(asset.pieces);
  unsigned line = 0;
  while (!merges.empty()) {
    llvm::StringRef text;
    std::tie(text, merges) = merges.split('\n');
    ++line;
    text.consume_back("\r");
    if (text.empty() || (line == 1 && text.starts_with("#version")))
      continue;
    MOEC_ASSIGN(Merge merge, index.merge(text, [&] {
      return error(Location::atLine(mergesName.str(), line, 1));
    }));
    asset.merges.push_back(merge);
  }

  int32_t end = index.find("<|endoftext|>");
  if (end >= 0) {
    asset.pieces[end].type = PieceType::Control;
    AddedToken token;
    token.id = end;
    token.content = asset.pieces[end].text;
    token.special = true;
    asset.added.push_back(std::move(token));
    asset.bos = asset.eos = end;
    asset.stopIds = {end};
  }
  spellOut(asset);
  asset.preTokenizer.push_back(splitIsolated(kGpt2Words));
  MOEC_TRY(checkAsset(asset, vocabulary.path()));
  return asset;
}
