//===- TokenizerAsset.h - what a plan stores of a tokenizer ---------------===//
//
// Every tokenizer, wherever it comes from, becomes this one structure. It says
// what to do and owns no index; runtime/text/Tokenizer.h turns it into
// something that encodes. The stored form is little-endian, versioned and
// bounds-checked on reading.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/text/ChatTemplate.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// How text becomes pieces once it is normalised and split.
enum class TokenizerKind : uint8_t {
  /// Merges by rank over bytes; pieces hold raw bytes.
  ByteLevelBpe,
  /// Merges by rank over characters, spaces written as U+2581.
  MetaspaceBpe,
  /// Any two neighbours that form a piece merge, best score first, leftmost
  /// first among equals: SentencePiece's BPE and llama2.c.
  ScoreBpe,
  /// The path of the best total score: SentencePiece's unigram model.
  Unigram,
};

enum class PieceType : uint8_t {
  Normal,
  Unknown,
  Control,
  /// Matched in the text as it stands, before anything merges.
  UserDefined,
  /// An id with no text, or a piece that is never put out.
  Unused,
  /// One byte, spelled `<0xE2>`.
  Byte,
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::Normal;

  friend bool operator==(const Piece &, const Piece &) = default;
};

/// `left` and `right` become `result`; the rank is the place in the list.
struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t result = 0;

  friend bool operator==(const Merge &, const Merge &) = default;
};

/// A token found in the text before the model sees it.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  /// Left out of decoded text on request; matched only if specials are parsed.
  bool special = false;
  /// Matches only between characters that are no part of a word.
  bool singleWord = false;
  /// Takes the white space to its left or right along.
  bool lstrip = false;
  bool rstrip = false;
  /// Is looked for in the normalised text, in its own normalised form.
  bool normalized = false;

  friend bool operator==(const AddedToken &, const AddedToken &) = default;
};

/// One rewrite of the text; steps run in order.
struct NormalizerStep {
  enum class Kind : uint8_t {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    /// Puts `text` before a text that is not empty.
    Prepend,
    /// Every `pattern` (a literal) becomes `text`.
    ReplaceLiteral,
    /// Every match of the expression `pattern` becomes `text`, taken literally.
    ReplaceRegex,
    StripLeft,
    StripRight,
    /// What SentencePiece does: `pattern` is its compiled character map (may
    /// be empty), `flags` a set of SentencePieceFlags.
    SentencePiece,
  };
  Kind kind = Kind::Nfc;
  std::string pattern;
  std::string text;
  uint8_t flags = 0;

  friend bool operator==(const NormalizerStep &,
                         const NormalizerStep &) = default;
};

/// Flags of NormalizerStep::Kind::SentencePiece.
enum SentencePieceFlags : uint8_t {
  kAddDummyPrefix = 1,
  kRemoveExtraSpaces = 2,
  kEscapeSpaces = 4,
  kSpaceAsSuffix = 8,
};

/// What becomes of a match and of the text between matches.
enum class SplitBehavior : uint8_t {
  Isolated,
  Removed,
  MergedWithPrevious,
  MergedWithNext,
  Contiguous,
};

/// One way of cutting the text into words; steps run in order, each on every
/// word of the one before.
struct PreTokenizerStep {
  enum class Kind : uint8_t {
    SplitRegex,
    SplitLiteral,
    /// Puts a space before a word that does not start with one.
    PrefixSpace,
    /// Spaces become `pattern`, which is also put first, as `prepend` says.
    Metaspace,
  };
  enum class Prepend : uint8_t { Never, First, Always };

  Kind kind = Kind::SplitRegex;
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::Isolated;
  /// The text between matches counts as the match.
  bool invert = false;
  Prepend prepend = Prepend::Never;

  friend bool operator==(const PreTokenizerStep &,
                         const PreTokenizerStep &) = default;
};

/// How ids become text.
struct DecoderSpec {
  struct Replacement {
    std::string from, to;
    friend bool operator==(const Replacement &, const Replacement &) = default;
  };
  /// In every piece, in order. What is put in is not longer than what it
  /// replaces.
  std::vector<Replacement> replace;
  /// Byte pieces become bytes.
  bool byteFallback = false;
  /// A run of byte pieces is text or, if it is not UTF-8, one U+FFFD a byte;
  /// otherwise what is valid in it stays.
  bool wholeByteRuns = false;
  /// In the first piece the first replacement's `from` vanishes.
  bool dropInFirst = false;
  /// Up to `stripCount` times `stripStart` is taken from the text's beginning.
  std::string stripStart;
  uint32_t stripCount = 0;
  /// Between two pieces.
  std::string separator;
  /// What the unknown piece becomes; empty means its own text.
  std::string unknown;

  friend bool operator==(const DecoderSpec &, const DecoderSpec &) = default;
};

struct TokenizerAsset {
  TokenizerKind kind = TokenizerKind::ByteLevelBpe;
  /// Indexed by id.
  std::vector<Piece> pieces;
  /// In rank order; only the two kinds that merge by rank have them.
  std::vector<Merge> merges;
  /// Characters that no piece covers become byte pieces.
  bool byteFallback = false;
  /// Neighbouring unknown characters become one unknown piece.
  bool fuseUnknown = false;
  /// A word that is a piece is taken whole, whatever the merges say.
  bool ignoreMerges = false;

  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> preTokenizer;
  std::vector<AddedToken> added;

  /// -1 where there is none.
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
  /// Every id that ends a generation; holds `eos` where there is one.
  std::vector<int32_t> stopIds;
  /// Put around an encoded text when special tokens are asked for.
  std::vector<int32_t> prefixIds, suffixIds;

  DecoderSpec decoder;
  ChatTemplate chat;
  /// The longest text, in tokens, that the tokenizer's files speak of; 0 where
  /// they do not.
  uint32_t contextHint = 0;

  friend bool operator==(const TokenizerAsset &,
                         const TokenizerAsset &) = default;
};

/// The version that `serialize` writes. A reader takes any minor of its major.
inline constexpr uint16_t kTokenizerAssetMajor = 1;
inline constexpr uint16_t kTokenizerAssetMinor = 0;

/// Ids are below this, which bounds what a hostile file makes us allocate.
inline constexpr uint32_t kMaxVocabulary = 1u << 22;

/// Pieces and added tokens are at most this long, which bounds the time that
/// looking for them takes.
inline constexpr uint32_t kMaxPieceBytes = 4096;

/// Checks that every id is in range, byte pieces are spelled as such, and
/// scores are numbers. Importers and readers call it last. `name` is what
/// messages call the tokenizer.
llvm::Error checkAsset(const TokenizerAsset &asset, llvm::StringRef name);

std::string serialize(const TokenizerAsset &asset);

/// Reads what `serialize` wrote; `name` is what messages call the blob.
llvm::Expected<TokenizerAsset> deserializeTokenizer(llvm::StringRef blob,
                                                    llvm::StringRef name);

/// The byte that a piece spelled `<0xE2>` stands for, or -1.
int byteOfPiece(llvm::StringRef text);

} // namespace moec
