#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/SentencePieceLibrary.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"

#include <optional>

using namespace moec;

namespace {

/// The library's interface gives pieces, but neither the model's type nor the
/// normalizer's flags, which are fields of the file's protocol buffer. This
/// walks the fields of one message; nothing is trusted.
class Fields {
public:
  struct Field {
    uint32_t number = 0;
    uint64_t value = 0;
    llvm::StringRef bytes;
    /// Where the field starts in the file.
    size_t offset = 0;
  };

  Fields(llvm::StringRef message, size_t base, llvm::StringRef name)
      : message(message), base(base), name(name) {}

  /// The next field, or nothing at the message's end.
  llvm::Expected<std::optional<Field>> next() {
    if (pos == message.size())
      return std::nullopt;
    Field field;
    field.offset = base + pos;
    MOEC_ASSIGN(uint64_t key, varint());
    field.number = uint32_t(key >> 3);
    switch (key & 7) {
    case 0: {
      MOEC_ASSIGN(field.value, varint());
      return field;
    }
    case 1:
    case 5: {
      MOEC_ASSIGN(field.bytes, take((key & 7) == 1 ? 8 : 4));
      return field;
    }
    case 2: {
      MOEC_ASSIGN(uint64_t length, varint());
      MOEC_ASSIGN(field.bytes, take(length));
      return field;
    }
    default:
      return error(Location::atByte(name.str(), int64_t(field.offset)))
             << "expected a field of a SentencePiece model, got the wire type "
             << (key & 7);
    }
  }

  /// Where the bytes of `field` start in the file.
  size_t baseOf(const Field &field) const {
    return base + size_t(field.bytes.data() - message.data());
  }

private:
  llvm::Expected<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      MOEC_ASSIGN(llvm::StringRef byte, take(1));
      value |= uint64_t(byte[0] & 0x7F) << shift;
      if (!(byte[0] & 0x80))
        return value;
    }
    return error(Location::atByte(name.str(), int64_t(base + pos)))
           << "expected a number of at most 64 bits";
  }
  llvm::Expected<llvm::StringRef> take(uint64_t length) {
    if (length > message.size() - pos)
      return error(Location::atByte(name.str(), int64_t(base + pos)))
             << "expected " << length << " more bytes of the SentencePiece "
             << "model, got " << message.size() - pos;
    llvm::StringRef bytes = message.substr(pos, length);
    pos += length;
    return bytes;
  }

  llvm::StringRef message;
  size_t base;
  llvm::StringRef name;
  size_t pos = 0;
};

/// Numbers of the fields that are read, and values of the enumerations.
namespace field {
enum Model { Pieces = 1, Trainer = 2, Normalizer = 3 };
enum Piece { Text = 1, Score = 2, Type = 3 };
enum TrainerSpec {
  ModelType = 3,
  SpaceAsSuffix = 24,
  ByteFallback = 35,
  UnknownSurface = 44
};
enum NormalizerSpec {
  CharsMap = 2,
  DummyPrefix = 3,
  RemoveSpaces = 4,
  EscapeSpaces = 5
};
} // namespace field
constexpr uint64_t kUnigram = 1, kBpe = 2;
constexpr uint64_t kUserDefined = 4;

struct Description {
  std::vector<bool> userDefined;
  uint64_t modelType = kUnigram;
  bool byteFallback = false;
  std::string unknownSurface = " \xE2\x81\x87 ";
  std::string charsMap;
  uint8_t flags = kAddDummyPrefix | kRemoveExtraSpaces | kEscapeSpaces;
};

} // namespace

static llvm::Error readTrainer(Fields fields, Description &description) {
  for (;;) {
    MOEC_ASSIGN(std::optional<Fields::Field> field, fields.next());
    if (!field)
      return llvm::Error::success();
    if (field->number == field::ModelType)
      description.modelType = field->value;
    else if (field->number == field::ByteFallback)
      description.byteFallback = field->value != 0;
    else if (field->number == field::UnknownSurface)
      description.unknownSurface = field->bytes.str();
    else if (field->number == field::SpaceAsSuffix && field->value != 0)
      description.flags |= kSpaceAsSuffix;
  }
}

static llvm::Error readNormalizer(Fields fields, Description &description) {
  auto set = [&](uint8_t flag, uint64_t value) {
    description.flags &= uint8_t(~flag);
    if (value)
      description.flags |= flag;
  };
  for (;;) {
    MOEC_ASSIGN(std::optional<Fields::Field> field, fields.next());
    if (!field)
      return llvm::Error::success();
    if (field->number == field::CharsMap)
      description.charsMap = field->bytes.str();
    else if (field->number == field::DummyPrefix)
      set(kAddDummyPrefix, field->value);
    else if (field->number == field::RemoveSpaces)
      set(kRemoveExtraSpaces, field->value);
    else if (field->number == field::EscapeSpaces)
      set(kEscapeSpaces, field->value);
  }
}

static llvm::Expected<bool> isUserDefined(Fields fields) {
  uint64_t type = 0;
  for (;;) {
    MOEC_ASSIGN(std::optional<Fields::Field> field, fields.next());
    if (!field)
      return type == kUserDefined;
    if (field->number == field::Type)
      type = field->value;
  }
}

static llvm::Expected<Description> describe(llvm::StringRef bytes,
                                            llvm::StringRef name) {
  Description description;
  Fields fields(bytes, 0, name);
  for (;;) {
    MOEC_ASSIGN(std::optional<Fields::Field> field, fields.next());
    if (!field)
      return description;
    Fields inner(field->bytes, field->bytes.empty() ? 0 : fields.baseOf(*field),
                 name);
    if (field->number == field::Pieces) {
      if (description.userDefined.size() == kMaxVocabulary)
        return error(Location::atByte(name.str(), int64_t(field->offset)))
               << "expected at most " << kMaxVocabulary << " pieces";
      MOEC_ASSIGN(bool userDefined, isUserDefined(inner));
      description.userDefined.push_back(userDefined);
    } else if (field->number == field::Trainer) {
      MOEC_TRY(readTrainer(inner, description));
    } else if (field->number == field::Normalizer) {
      MOEC_TRY(readNormalizer(inner, description));
    }
  }
}

static void setDecoder(const Description &description, TokenizerAsset &asset) {
  DecoderSpec &decoder = asset.decoder;
  decoder.byteFallback = description.byteFallback;
  if (description.flags & kEscapeSpaces)
    decoder.replace.push_back({"\xE2\x96\x81", " "});
  decoder.unknown = description.unknownSurface;
  if ((description.flags & (kAddDummyPrefix | kRemoveExtraSpaces)) &&
      !(description.flags & kSpaceAsSuffix)) {
    decoder.stripStart = " ";
    // Where the normalizer leaves no leading space, none is decoded either.
    decoder.stripCount =
        description.flags & kRemoveExtraSpaces ? UINT32_MAX : 1;
  }
}

llvm::Expected<TokenizerAsset> moec::importSentencePiece(llvm::StringRef bytes,
                                                         llvm::StringRef name) {
  Location loc = Location::inFile(name.str());
  MOEC_ASSIGN(Description description, describe(bytes, name));
  if (description.userDefined.empty())
    return error(loc) << "expected a SentencePiece model with pieces, got none";
  if (description.modelType != kUnigram && description.modelType != kBpe)
    return error(loc) << "expected a SentencePiece model of type unigram (1) "
                         "or BPE (2), got type "
                      << description.modelType;
  MOEC_ASSIGN(SentencePieceVocabulary vocabulary,
              loadWithSentencePiece(bytes, name));
  if (vocabulary.pieces.size() != description.userDefined.size())
    return error(loc) << "expected " << description.userDefined.size()
                      << " pieces, the library finds "
                      << vocabulary.pieces.size();

  TokenizerAsset asset;
  asset.kind = description.modelType == kBpe ? TokenizerKind::ScoreBpe
                                             : TokenizerKind::Unigram;
  for (auto [id, entry] : llvm::enumerate(vocabulary.pieces)) {
    PieceType type = description.userDefined[id] ? PieceType::UserDefined
                     : entry.isUnknown           ? PieceType::Unknown
                     : entry.isControl           ? PieceType::Control
                     : entry.isUnused            ? PieceType::Unused
                     : entry.isByte              ? PieceType::Byte
                                                 : PieceType::Normal;
    asset.pieces.push_back({entry.text, entry.score, type});
    if (type != PieceType::Control && type != PieceType::Unknown)
      continue;
    AddedToken token;
    token.id = int32_t(id);
    token.content = entry.text;
    token.special = true;
    asset.added.push_back(std::move(token));
  }
  asset.byteFallback = description.byteFallback;
  asset.fuseUnknown = true;
  asset.bos = vocabulary.bos;
  asset.eos = vocabulary.eos;
  asset.unknown = vocabulary.unknown;
  asset.pad = vocabulary.pad;
  if (asset.eos >= 0)
    asset.stopIds = {asset.eos};
  // What models with such a file were trained with, unless a configuration
  // beside it says otherwise.
  if (asset.bos >= 0)
    asset.prefixIds = {asset.bos};
  NormalizerStep step;
  step.kind = NormalizerStep::Kind::SentencePiece;
  step.pattern = description.charsMap;
  step.flags = description.flags;
  asset.normalizer.push_back(std::move(step));
  setDecoder(description, asset);
  MOEC_TRY(checkAsset(asset, name));
  return asset;
}
