#include "runtime/text/TokenizerAsset.h"

#include "ir/support/Diagnostic.h"
#include "runtime/text/Unicode.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <cstring>

using namespace moec;

static constexpr llvm::StringLiteral kMagic("MOECTOK");

int moec::byteOfPiece(llvm::StringRef text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>')
    return -1;
  unsigned high = llvm::hexDigitValue(text[3]);
  unsigned low = llvm::hexDigitValue(text[4]);
  return high > 15 || low > 15 ? -1 : int(high * 16 + low);
}

/// Text that is put into or cut out of other text must be UTF-8, since what
/// splits words relies on it.
static llvm::Error checkTexts(const TokenizerAsset &asset, Location loc) {
  auto check = [&](const std::string &text, const llvm::Twine &what,
                   size_t index) -> llvm::Error {
    if (isUtf8(text))
      return llvm::Error::success();
    loc.object = (what + llvm::Twine(index)).str();
    return error(loc) << "expected UTF-8, got '" << replaceBadBytes(text)
                      << "'";
  };
  for (auto [index, step] : llvm::enumerate(asset.normalizer)) {
    MOEC_TRY(check(step.text, "normalizer step ", index));
    if (step.kind != NormalizerStep::Kind::SentencePiece)
      MOEC_TRY(check(step.pattern, "normalizer step ", index));
  }
  for (auto [index, step] : llvm::enumerate(asset.preTokenizer))
    MOEC_TRY(check(step.pattern, "pre-tokenizer step ", index));
  for (auto [index, token] : llvm::enumerate(asset.added))
    MOEC_TRY(check(token.content, "added token ", index));
  for (auto [id, piece] : llvm::enumerate(asset.pieces))
    if (piece.type == PieceType::UserDefined)
      MOEC_TRY(check(piece.text, "piece ", id));
  return llvm::Error::success();
}

llvm::Error moec::checkAsset(const TokenizerAsset &asset,
                             llvm::StringRef name) {
  auto fail = [&](const llvm::Twine &object) {
    Location loc = Location::inFile(name.str());
    loc.object = object.str();
    return error(loc);
  };
  size_t count = asset.pieces.size();
  if (count == 0 || count > kMaxVocabulary)
    return fail("vocabulary")
           << "has " << count << " pieces, expected 1 to " << kMaxVocabulary;
  for (auto [id, piece] : llvm::enumerate(asset.pieces)) {
    if (!std::isfinite(piece.score))
      return fail("piece " + llvm::Twine(id))
             << "expected a finite score, got " << piece.score;
    if (piece.text.size() > kMaxPieceBytes)
      return fail("piece " + llvm::Twine(id))
             << "expected at most " << kMaxPieceBytes << " bytes, got "
             << piece.text.size();
    if (piece.type == PieceType::Byte && byteOfPiece(piece.text) < 0)
      return fail("piece " + llvm::Twine(id))
             << "expected a byte piece spelled '<0x00>' to '<0xFF>', got '"
             << piece.text << "'";
  }
  bool ranked = asset.kind == TokenizerKind::ByteLevelBpe ||
                asset.kind == TokenizerKind::MetaspaceBpe;
  if (!ranked && !asset.merges.empty())
    return fail("merges") << "expected none for a model that merges by score";
  for (auto [rank, merge] : llvm::enumerate(asset.merges))
    if (merge.left >= count || merge.right >= count || merge.result >= count)
      return fail("merge " + llvm::Twine(rank))
             << "expected ids below " << count << ", got " << merge.left << ", "
             << merge.right << " and " << merge.result;
  for (auto [index, token] : llvm::enumerate(asset.added)) {
    if (token.id < 0 || size_t(token.id) >= count)
      return fail("added token " + llvm::Twine(index))
             << "expected an id in [0, " << count << "), got " << token.id;
    if (token.content.empty() || token.content.size() > kMaxPieceBytes)
      return fail("added token " + llvm::Twine(index))
             << "expected 1 to " << kMaxPieceBytes << " bytes of text, got "
             << token.content.size();
  }
  MOEC_TRY(checkTexts(asset, Location::inFile(name.str())));
  for (const DecoderSpec::Replacement &replacement : asset.decoder.replace)
    if (replacement.from.empty() ||
        replacement.to.size() > replacement.from.size())
      return fail("decoder")
             << "expected replacements no longer than what they replace, got '"
             << replacement.to << "' for '" << replacement.from << "'";
  for (const std::string *text :
       {&asset.decoder.separator, &asset.decoder.unknown,
        &asset.decoder.stripStart})
    if (text->size() > 64)
      return fail("decoder")
             << "expected texts of at most 64 bytes, got " << text->size();
  const std::pair<const char *, int32_t> named[] = {{"bos", asset.bos},
                                                    {"eos", asset.eos},
                                                    {"unknown", asset.unknown},
                                                    {"pad", asset.pad}};
  for (auto [role, id] : named)
    if (id < -1 || id >= int64_t(count))
      return fail(role) << "expected an id in [-1, " << count << "), got "
                        << id;
  for (const auto *ids : {&asset.stopIds, &asset.prefixIds, &asset.suffixIds})
    for (int32_t id : *ids)
      if (id < 0 || size_t(id) >= count)
        return fail("special ids")
               << "expected ids in [0, " << count << "), got " << id;
  return llvm::Error::success();
}

namespace {

class Writer {
public:
  std::string blob;

  void u8(uint8_t value) { blob.push_back(char(value)); }
  void u16(uint16_t value) {
    u8(value & 0xff);
    u8(value >> 8);
  }
  void u32(uint32_t value) {
    u16(value & 0xffff);
    u16(value >> 16);
  }
  /// Seven bits a byte, low ones first.
  void count(uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      u8(uint8_t(value) | 0x80);
    u8(uint8_t(value));
  }
  void text(llvm::StringRef value) {
    count(value.size());
    blob += value;
  }
  /// Ids from -1 on.
  void id(int32_t value) { count(uint64_t(int64_t(value) + 1)); }
  void ids(llvm::ArrayRef<int32_t> values) {
    count(values.size());
    for (int32_t value : values)
      id(value);
  }
  void flags(std::initializer_list<bool> values) {
    uint8_t bits = 0;
    unsigned shift = 0;
    for (bool value : values)
      bits |= uint8_t(value) << shift++;
    u8(bits);
  }
};

/// Reads with a sticky error: after the first failure every read gives zeros
/// and `take` returns that failure.
class Reader {
public:
  Reader(llvm::StringRef blob, llvm::StringRef name) : blob(blob), name(name) {}

  bool failed() const { return !failure.empty(); }
  llvm::Error take() const {
    return error(Location::atByte(name.str(), failedAt)) << failure;
  }
  size_t left() const { return blob.size() - pos; }

  template <typename... Parts> void fail(const Parts &...parts) {
    if (failed())
      return;
    llvm::raw_string_ostream os(failure);
    (os << ... << parts);
    failedAt = int64_t(pos);
    pos = blob.size();
  }

  uint8_t u8(const char *what) {
    if (left() < 1) {
      fail("the tokenizer asset ends inside ", what);
      return 0;
    }
    return uint8_t(blob[pos++]);
  }
  uint16_t u16(const char *what) {
    uint16_t low = u8(what);
    return uint16_t(low | u8(what) << 8);
  }
  uint32_t u32(const char *what) {
    uint32_t low = u16(what);
    return low | uint32_t(u16(what)) << 16;
  }
  uint64_t count(const char *what) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
      uint8_t part = u8(what);
      value |= uint64_t(part & 0x7f) << shift;
      if (!(part & 0x80) && value <= UINT32_MAX)
        return value;
    }
    fail("expected a number of 32 bits in ", what);
    return 0;
  }
  /// A number of items, each of which takes at least `leastBytes`.
  size_t items(const char *what, size_t leastBytes) {
    uint64_t value = count(what);
    if (value > left() / leastBytes) {
      fail("expected at most ", left() / leastBytes, " ", what, ", which is ",
           "what the rest of the asset can hold, got ", value);
      return 0;
    }
    return size_t(value);
  }
  std::string text(const char *what) {
    size_t length = items(what, 1);
    std::string value = blob.substr(pos, length).str();
    pos += length;
    return value;
  }
  int32_t id(const char *what) {
    uint64_t value = count(what);
    if (value > kMaxVocabulary) {
      fail("expected an id below ", kMaxVocabulary, " in ", what, ", got ",
           value - 1);
      return -1;
    }
    return int32_t(value) - 1;
  }
  std::vector<int32_t> ids(const char *what) {
    std::vector<int32_t> values(items(what, 1));
    for (int32_t &value : values)
      value = id(what);
    return values;
  }
  template <typename Enum> Enum choice(const char *what, Enum last) {
    uint8_t value = u8(what);
    if (value > uint8_t(last)) {
      --pos;
      fail("expected ", what, " in [0, ", unsigned(last), "], got ",
           unsigned(value));
      return Enum();
    }
    return Enum(value);
  }
  bool bit() {
    bool value = bits & 1;
    bits >>= 1;
    return value;
  }
  void flags(const char *what) { bits = u8(what); }

private:
  llvm::StringRef blob, name;
  size_t pos = 0;
  uint8_t bits = 0;
  std::string failure;
  int64_t failedAt = 0;
};

} // namespace

std::string moec::serialize(const TokenizerAsset &asset) {
  Writer w;
  w.blob.append(kMagic.data(), kMagic.size() + 1);
  w.u16(kTokenizerAssetMajor);
  w.u16(kTokenizerAssetMinor);
  w.u8(uint8_t(asset.kind));
  w.flags({asset.byteFallback, asset.fuseUnknown, asset.ignoreMerges});
  w.count(asset.pieces.size());
  for (const Piece &piece : asset.pieces) {
    w.u8(uint8_t(piece.type));
    w.text(piece.text);
    uint32_t score;
    static_assert(sizeof(score) == sizeof(piece.score));
    std::memcpy(&score, &piece.score, sizeof(score));
    w.u32(score);
  }
  w.count(asset.merges.size());
  for (const Merge &merge : asset.merges) {
    w.count(merge.left);
    w.count(merge.right);
    w.count(merge.result);
  }
  w.count(asset.normalizer.size());
  for (const NormalizerStep &step : asset.normalizer) {
    w.u8(uint8_t(step.kind));
    w.text(step.pattern);
    w.text(step.text);
    w.u8(step.flags);
  }
  w.count(asset.preTokenizer.size());
  for (const PreTokenizerStep &step : asset.preTokenizer) {
    w.u8(uint8_t(step.kind));
    w.text(step.pattern);
    w.u8(uint8_t(step.behavior));
    w.u8(uint8_t(step.prepend));
    w.flags({step.invert});
  }
  w.count(asset.added.size());
  for (const AddedToken &token : asset.added) {
    w.id(token.id);
    w.text(token.content);
    w.flags({token.special, token.singleWord, token.lstrip, token.rstrip,
             token.normalized});
  }
  for (int32_t id : {asset.bos, asset.eos, asset.unknown, asset.pad})
    w.id(id);
  w.ids(asset.stopIds);
  w.ids(asset.prefixIds);
  w.ids(asset.suffixIds);
  const DecoderSpec &decoder = asset.decoder;
  w.flags({decoder.byteFallback, decoder.wholeByteRuns, decoder.dropInFirst});
  w.count(decoder.replace.size());
  for (const DecoderSpec::Replacement &replacement : decoder.replace) {
    w.text(replacement.from);
    w.text(replacement.to);
  }
  w.text(decoder.stripStart);
  w.count(decoder.stripCount);
  w.text(decoder.separator);
  w.text(decoder.unknown);
  w.u8(uint8_t(asset.chat.family));
  w.text(asset.chat.source);
  w.text(asset.chat.defaultSystem);
  w.flags({asset.chat.hasDefaultSystem, asset.chat.alwaysPrompts});
  w.count(asset.contextHint);
  return std::move(w.blob);
}

static void readVocabulary(Reader &r, TokenizerAsset &asset) {
  asset.pieces.resize(r.items("pieces", 6));
  for (Piece &piece : asset.pieces) {
    piece.type = r.choice("a piece's type", PieceType::Byte);
    piece.text = r.text("a piece's text");
    uint32_t score = r.u32("a piece's score");
    std::memcpy(&piece.score, &score, sizeof(score));
    if (r.failed())
      return;
  }
  asset.merges.resize(r.items("merges", 3));
  for (Merge &merge : asset.merges)
    for (uint32_t *id : {&merge.left, &merge.right, &merge.result})
      *id = uint32_t(r.count("a merge"));
}

static void readSteps(Reader &r, TokenizerAsset &asset) {
  asset.normalizer.resize(r.items("normalizer steps", 4));
  for (NormalizerStep &step : asset.normalizer) {
    step.kind = r.choice("a normalizer step's kind",
                         NormalizerStep::Kind::SentencePiece);
    step.pattern = r.text("a normalizer step");
    step.text = r.text("a normalizer step");
    step.flags = r.u8("a normalizer step");
  }
  asset.preTokenizer.resize(r.items("pre-tokenizer steps", 5));
  for (PreTokenizerStep &step : asset.preTokenizer) {
    step.kind = r.choice("a pre-tokenizer step's kind",
                         PreTokenizerStep::Kind::Metaspace);
    step.pattern = r.text("a pre-tokenizer step");
    step.behavior = r.choice("a split behaviour", SplitBehavior::Contiguous);
    step.prepend =
        r.choice("a prepend scheme", PreTokenizerStep::Prepend::Always);
    r.flags("a pre-tokenizer step");
    step.invert = r.bit();
  }
  asset.added.resize(r.items("added tokens", 3));
  for (AddedToken &token : asset.added) {
    token.id = r.id("an added token");
    token.content = r.text("an added token");
    r.flags("an added token");
    for (bool *flag : {&token.special, &token.singleWord, &token.lstrip,
                       &token.rstrip, &token.normalized})
      *flag = r.bit();
  }
}

static void readDecoder(Reader &r, DecoderSpec &decoder) {
  r.flags("the decoder");
  decoder.byteFallback = r.bit();
  decoder.wholeByteRuns = r.bit();
  decoder.dropInFirst = r.bit();
  decoder.replace.resize(r.items("decoder replacements", 2));
  for (DecoderSpec::Replacement &replacement : decoder.replace) {
    replacement.from = r.text("a decoder replacement");
    replacement.to = r.text("a decoder replacement");
  }
  decoder.stripStart = r.text("the decoder");
  decoder.stripCount = uint32_t(r.count("the decoder"));
  decoder.separator = r.text("the decoder");
  decoder.unknown = r.text("the decoder");
}

llvm::Expected<TokenizerAsset>
moec::deserializeTokenizer(llvm::StringRef blob, llvm::StringRef name) {
  Reader r(blob, name);
  for (char expected : llvm::StringRef(kMagic.data(), kMagic.size() + 1))
    if (r.u8("the magic") != uint8_t(expected))
      return error(Location::atByte(name.str(), 0))
             << "expected a tokenizer asset, which starts with '" << kMagic
             << "'";
  uint16_t major = r.u16("the version");
  uint16_t minor = r.u16("the version");
  if (!r.failed() && major != kTokenizerAssetMajor)
    return error(Location::atByte(name.str(), int64_t(kMagic.size()) + 1))
           << "tokenizer asset has version " << major << "." << minor
           << ", this program reads " << kTokenizerAssetMajor << ".x";
  TokenizerAsset asset;
  asset.kind = r.choice("the tokenizer's kind", TokenizerKind::Unigram);
  r.flags("the tokenizer's flags");
  asset.byteFallback = r.bit();
  asset.fuseUnknown = r.bit();
  asset.ignoreMerges = r.bit();
  readVocabulary(r, asset);
  readSteps(r, asset);
  for (int32_t *id : {&asset.bos, &asset.eos, &asset.unknown, &asset.pad})
    *id = r.id("the special ids");
  for (auto *ids : {&asset.stopIds, &asset.prefixIds, &asset.suffixIds})
    *ids = r.ids("special ids");
  readDecoder(r, asset.decoder);
  asset.chat.family = r.choice("the chat family", ChatFamily::Zephyr);
  asset.chat.source = r.text("the chat template");
  asset.chat.defaultSystem = r.text("the chat template");
  r.flags("the chat template");
  asset.chat.hasDefaultSystem = r.bit();
  asset.chat.alwaysPrompts = r.bit();
  asset.contextHint = uint32_t(r.count("the context hint"));
  // A newer minor may have appended fields, the same one has not.
  if (minor == kTokenizerAssetMinor && r.left() != 0)
    r.fail("expected the end of the tokenizer asset, got ", r.left(),
           " more bytes");
  if (r.failed())
    return r.take();
  MOEC_TRY(checkAsset(asset, name));
  return asset;
}
