#include "frontend/gguf/Gguf.h"

#include "frontend/gguf/GgufHeader.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/StringExtras.h"

#include <limits>

using namespace moec;

/// Settings hold what describes a model; longer arrays are data.
static constexpr uint64_t kMaxSettingItems = 4096;

bool moec::isGguf(llvm::ArrayRef<uint8_t> start) {
  return llvm::toStringRef(start).starts_with("GGUF");
}

static JsonValue numberValue(double number) {
  JsonValue value;
  value.kind = JsonValue::Kind::number;
  value.number = number;
  return value;
}

/// A scalar, or a short array of numbers or strings, as a JSON value; nothing
/// for other arrays.
static llvm::Expected<std::optional<JsonValue>>
settingOf(const GgufValues &values, const GgufEntry &entry) {
  JsonValue value;
  switch (entry.type) {
  case GgufType::boolean: {
    value.kind = JsonValue::Kind::boolean;
    MOEC_ASSIGN(value.boolean, values.boolean(entry));
    break;
  }
  case GgufType::string: {
    value.kind = JsonValue::Kind::string;
    MOEC_ASSIGN(llvm::StringRef text, values.string(entry));
    value.string = text.str();
    break;
  }
  case GgufType::f32:
  case GgufType::f64: {
    MOEC_ASSIGN(double number, values.number(entry));
    value = numberValue(number);
    break;
  }
  case GgufType::array: {
    if (entry.items > kMaxSettingItems || entry.itemType == GgufType::array ||
        entry.itemType == GgufType::boolean)
      return std::nullopt;
    value.kind = JsonValue::Kind::array;
    if (entry.itemType == GgufType::string) {
      MOEC_ASSIGN(std::vector<std::string> items, values.strings(entry));
      for (std::string &item : items) {
        JsonValue text;
        text.kind = JsonValue::Kind::string;
        text.string = std::move(item);
        value.items.push_back(std::move(text));
      }
      break;
    }
    MOEC_ASSIGN(std::vector<double> items, values.numbers(entry));
    bool isWhole =
        entry.itemType != GgufType::f32 && entry.itemType != GgufType::f64;
    for (double item : items) {
      JsonValue number = numberValue(item);
      // Exact: larger integers than 2^53 describe no model.
      number.isInteger = isWhole && item >= -0x1p53 && item <= 0x1p53;
      number.integer = number.isInteger ? int64_t(item) : 0;
      value.items.push_back(std::move(number));
    }
    break;
  }
  default: {
    auto integer = values.integer(entry);
    if (!integer) {
      // Above 2^63: a hash or a seed, which describes no model.
      llvm::consumeError(integer.takeError());
      return std::nullopt;
    }
    value = numberValue(double(*integer));
    value.isInteger = true;
    value.integer = *integer;
    break;
  }
  }
  value.offset = entry.valueOffset;
  for (JsonValue &item : value.items)
    item.offset = entry.valueOffset;
  return std::optional<JsonValue>(std::move(value));
}

llvm::Expected<Checkpoint> moec::openGguf(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  MOEC_ASSIGN(GgufHeader header, parseGguf(file->bytes(), path));
  GgufValues values(file->bytes(), path.str());
  JsonValue settings;
  settings.kind = JsonValue::Kind::object;
  for (const GgufEntry &entry : header.metadata) {
    MOEC_ASSIGN(std::optional<JsonValue> value, settingOf(values, entry));
    if (value)
      settings.members.push_back(
          {entry.key, entry.valueOffset, std::move(*value)});
  }
  Config config(path.str(), std::move(settings));
  MOEC_ASSIGN(std::optional<int64_t> parts, config.integer("split.count"));
  if (parts.value_or(0) > 1)
    return config.errorAt("split.count")
           << "expected a whole model, found one of " << *parts
           << " parts; merge them into one file first";
  Checkpoint checkpoint(CheckpointFormat::gguf, path.str(), std::move(config));
  checkpoint.addFile(std::move(file));
  for (GgufTensor &tensor : header.tensors)
    checkpoint.addTensor({std::move(tensor.name), tensor.type,
                          std::move(tensor.shape), /*file=*/0,
                          tensor.byteOffset, tensor.byteSize});
  return std::move(checkpoint);
}

//===----------------------------------------------------------------------===//
// Tokenizer
//===----------------------------------------------------------------------===//

namespace {
/// Reads optional `tokenizer.*` keys.
class TokenizerReader {
public:
  TokenizerReader(const GgufHeader &header, const GgufValues &values)
      : header(header), values(values) {}

  llvm::Error read(llvm::StringRef key, std::string &out) const {
    return with(key, [&](const GgufEntry &entry) -> llvm::Error {
      MOEC_ASSIGN(llvm::StringRef text, values.string(entry));
      out = text.str();
      return llvm::Error::success();
    });
  }
  llvm::Error read(llvm::StringRef key, std::vector<std::string> &out) const {
    return with(key, [&](const GgufEntry &entry) -> llvm::Error {
      MOEC_ASSIGN(out, values.strings(entry));
      return llvm::Error::success();
    });
  }
  llvm::Error read(llvm::StringRef key, std::optional<int64_t> &out) const {
    return with(key, [&](const GgufEntry &entry) -> llvm::Error {
      MOEC_ASSIGN(out, values.integer(entry));
      return llvm::Error::success();
    });
  }
  llvm::Error read(llvm::StringRef key, std::optional<bool> &out) const {
    return with(key, [&](const GgufEntry &entry) -> llvm::Error {
      MOEC_ASSIGN(out, values.boolean(entry));
      return llvm::Error::success();
    });
  }
  /// One number for each of `expected` tokens.
  template <typename T>
  llvm::Error readPerToken(llvm::StringRef key, size_t expected,
                           std::vector<T> &out) const {
    return with(key, [&](const GgufEntry &entry) -> llvm::Error {
      MOEC_ASSIGN(std::vector<double> numbers, values.numbers(entry));
      if (numbers.size() != expected)
        return error(values.locationOf(entry))
               << "expected an item for each of the " << expected
               << " tokens, found " << numbers.size();
      for (double number : numbers) {
        if (std::is_integral_v<T> &&
            !(number >= double(std::numeric_limits<T>::min()) &&
              number <= double(std::numeric_limits<T>::max())))
          return error(values.locationOf(entry))
                 << "expected 32-bit integers, found " << double(number);
        out.push_back(T(number));
      }
      return llvm::Error::success();
    });
  }

private:
  template <typename Fn> llvm::Error with(llvm::StringRef key, Fn fn) const {
    const GgufEntry *entry = header.find(key);
    return entry ? fn(*entry) : llvm::Error::success();
  }

  const GgufHeader &header;
  const GgufValues &values;
};
} // namespace

llvm::Expected<std::optional<GgufTokenizerData>>
moec::readGgufTokenizer(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  MOEC_ASSIGN(GgufHeader header, parseGguf(file->bytes(), path));
  const GgufEntry *tokens = header.find("tokenizer.ggml.tokens");
  if (!tokens)
    return std::nullopt;
  GgufValues values(file->bytes(), path.str());
  TokenizerReader reader(header, values);
  GgufTokenizerData out;
  out.location = values.locationOf(*tokens);
  MOEC_TRY(reader.read("tokenizer.ggml.model", out.model));
  MOEC_TRY(reader.read("tokenizer.ggml.pre", out.pre));
  MOEC_TRY(reader.read("tokenizer.ggml.tokens", out.tokens));
  MOEC_TRY(reader.readPerToken("tokenizer.ggml.scores", out.tokens.size(),
                               out.scores));
  MOEC_TRY(reader.readPerToken("tokenizer.ggml.token_type", out.tokens.size(),
                               out.tokenTypes));
  MOEC_TRY(reader.read("tokenizer.ggml.merges", out.merges));
  MOEC_TRY(reader.read("tokenizer.ggml.bos_token_id", out.bos));
  MOEC_TRY(reader.read("tokenizer.ggml.eos_token_id", out.eos));
  MOEC_TRY(reader.read("tokenizer.ggml.eot_token_id", out.eot));
  MOEC_TRY(reader.read("tokenizer.ggml.unknown_token_id", out.unknown));
  MOEC_TRY(reader.read("tokenizer.ggml.padding_token_id", out.padding));
  MOEC_TRY(reader.read("tokenizer.ggml.add_bos_token", out.addBos));
  MOEC_TRY(reader.read("tokenizer.ggml.add_eos_token", out.addEos));
  MOEC_TRY(reader.read("tokenizer.ggml.add_space_prefix", out.addSpacePrefix));
  MOEC_TRY(reader.read("tokenizer.ggml.remove_extra_whitespaces",
                       out.removeExtraWhitespaces));
  MOEC_TRY(reader.read("tokenizer.chat_template", out.chatTemplate));
  return std::optional<GgufTokenizerData>(std::move(out));
}
