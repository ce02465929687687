#include "runtime/text/Tokenizer.h"
#include "runtime/text/Unicode.h"

using namespace moec;

static std::string replaceIn(llvm::StringRef text,
                             const DecoderSpec::Replacement &replacement) {
  std::string out;
  while (!text.empty()) {
    size_t found = replacement.from.empty() ? llvm::StringRef::npos
                                            : text.find(replacement.from);
    out += text.substr(0, found);
    if (found == llvm::StringRef::npos)
      break;
    out += replacement.to;
    text = text.substr(found + replacement.from.size());
  }
  return out;
}

std::string StreamDecoder::emit(std::string text) {
  llvm::StringRef strip = tokenizer.asset().decoder.stripStart;
  llvm::StringRef rest = text;
  while (stripsLeft > 0 && !rest.empty()) {
    if (!strip.empty() && rest.consume_front(strip))
      --stripsLeft;
    else
      stripsLeft = 0;
  }
  return rest.str();
}

std::string StreamDecoder::endByteRun() {
  if (held.empty())
    return {};
  std::string text;
  if (isUtf8(held)) {
    text = held;
  } else if (tokenizer.asset().decoder.wholeByteRuns) {
    for (size_t i = 0; i < held.size(); ++i)
      text += kReplacementChar;
  } else {
    text = replaceBadBytes(held);
  }
  held.clear();
  return emit(std::move(text));
}

std::string StreamDecoder::push(int32_t id) {
  const TokenizerAsset &asset = tokenizer.asset();
  const DecoderSpec &decoder = asset.decoder;
  if (id < 0 || size_t(id) >= asset.pieces.size() ||
      (options.skipSpecial && tokenizer.isSpecial(id)))
    return {};
  const Piece &piece = asset.pieces[id];
  if (asset.kind == TokenizerKind::ByteLevelBpe) {
    held += piece.text;
    std::string text;
    held.erase(0, appendLossyUtf8(text, held, /*final=*/false));
    return emit(std::move(text));
  }
  bool isFirst = first;
  first = false;
  if (decoder.byteFallback && piece.type == PieceType::Byte) {
    held += char(byteOfPiece(piece.text));
    return {};
  }
  std::string out = endByteRun();
  if (id == asset.unknown && !decoder.unknown.empty()) {
    // Its spaces are its own, at the beginning too.
    stripsLeft = 0;
    return out + decoder.unknown;
  }
  std::string text = piece.text;
  for (auto [index, replacement] : llvm::enumerate(decoder.replace)) {
    if (isFirst && decoder.dropInFirst && index == 0)
      text = replaceIn(text, {replacement.from, ""});
    else
      text = replaceIn(text, replacement);
  }
  if (!isFirst && !decoder.separator.empty())
    text = decoder.separator + text;
  return out + emit(std::move(text));
}

std::string StreamDecoder::finish() {
  if (tokenizer.asset().kind != TokenizerKind::ByteLevelBpe)
    return endByteRun();
  std::string text;
  appendLossyUtf8(text, held, /*final=*/true);
  held.clear();
  return emit(std::move(text));
}

std::string Tokenizer::decode(llvm::ArrayRef<int32_t> ids,
                              DecodeOptions options) const {
  StreamDecoder decoder(*this, options);
  std::string text;
  for (int32_t id : ids)
    text += decoder.push(id);
  return text + decoder.finish();
}
