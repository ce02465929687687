//===- Tokenizer.h - text to ids and back ---------------------------------===//
//
// Encoding: added tokens are cut out of the text, what is between them is
// normalised, cut at the tokens that are looked for in normalised text, split
// into words, and the model encodes each word. Given a tokenizer.json this
// yields the ids of Hugging Face's `tokenizers`; given a SentencePiece model,
// those of its library.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"

#include <memory>

namespace moec {

struct EncodeOptions {
  /// Puts the asset's prefix and suffix ids (a BOS, mostly) around the text.
  bool addSpecial = true;
  /// Special tokens that the text spells out become their ids.
  bool parseSpecial = true;
};

struct DecodeOptions {
  /// Leaves special tokens out.
  bool skipSpecial = true;
};

/// Safe to use from many threads.
class Tokenizer {
public:
  /// Builds the indexes; `name` is what messages call the tokenizer.
  static llvm::Expected<std::unique_ptr<Tokenizer>>
  create(TokenizerAsset asset, llvm::StringRef name);
  /// The same from an asset's stored form.
  static llvm::Expected<std::unique_ptr<Tokenizer>> load(llvm::StringRef blob,
                                                         llvm::StringRef name);
  ~Tokenizer();

  /// Bytes that are no UTF-8 are read as U+FFFD, one each. Fails only where
  /// one of the asset's expressions cannot be matched within its limits.
  llvm::Expected<std::vector<int32_t>> encode(llvm::StringRef text,
                                              EncodeOptions options = {}) const;

  /// Ids outside the vocabulary are left out.
  std::string decode(llvm::ArrayRef<int32_t> ids,
                     DecodeOptions options = {}) const;

  size_t vocabularySize() const { return asset().pieces.size(); }
  /// The piece's text, raw bytes for a byte-level tokenizer; empty for an id
  /// outside the vocabulary.
  llvm::StringRef idToPiece(int32_t id) const;
  /// The id of an added token or a piece of that text, or -1.
  int32_t pieceToId(llvm::StringRef piece) const;
  /// Whether the id stands for no text of its own: control tokens, special
  /// added tokens.
  bool isSpecial(int32_t id) const;
  /// Whether the id ends a generation.
  bool isStop(int32_t id) const;

  /// Renders a conversation as the model's template does; `options.bos` and
  /// `eos` are filled in from the vocabulary.
  llvm::Expected<std::string> renderChat(llvm::ArrayRef<ChatMessage> messages,
                                         ChatOptions options = {}) const;

  const TokenizerAsset &asset() const;

private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

/// Decodes ids as they come. What is not yet a whole character is held back;
/// the texts of all calls, one after the other, are `Tokenizer::decode` of all
/// ids.
class StreamDecoder {
public:
  /// `tokenizer` must outlive the decoder.
  explicit StreamDecoder(const Tokenizer &tokenizer, DecodeOptions options = {})
      : tokenizer(tokenizer), options(options),
        stripsLeft(tokenizer.asset().decoder.stripCount) {}

  /// The text that is certain once `id` is known; may be empty.
  std::string push(int32_t id);
  /// What was held back.
  std::string finish();

private:
  std::string emit(std::string text);
  std::string endByteRun();

  const Tokenizer &tokenizer;
  DecodeOptions options;
  /// Byte-level: the start of a character; otherwise a run of byte pieces.
  std::string held;
  uint32_t stripsLeft;
  bool first = true;
};

} // namespace moec
