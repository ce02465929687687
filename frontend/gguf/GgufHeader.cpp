#include "frontend/gguf/GgufHeader.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <limits>
#include <tuple>

using namespace moec;
using namespace llvm::support;

static constexpr unsigned kTypes = 13;
static constexpr llvm::StringLiteral kTypeNames[kTypes] = {
    "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
    "bool", "string", "array", "u64", "i64", "f64"};
/// Bytes of a scalar; 0 for strings and arrays.
static constexpr uint64_t kTypeBytes[kTypes] = {1, 1, 2, 2, 4, 4, 4,
                                                1, 0, 0, 8, 8, 8};

/// Arrays of arrays are legal, and nobody writes them deeply.
static constexpr unsigned kMaxArrayDepth = 4;
static constexpr uint32_t kMaxRank = 4;

llvm::StringRef moec::ggufTypeName(GgufType type) {
  return kTypeNames[unsigned(type)];
}

namespace {
struct TensorTag {
  uint32_t tag;
  llvm::StringLiteral name;
  std::optional<ElementType> type;
};
} // namespace

/// All tags in use; those without a type are named in errors only.
static const TensorTag kTensorTags[] = {
    {0, "F32", ElementType::f32},    {1, "F16", ElementType::f16},
    {2, "Q4_0", ElementType::q4_0},  {3, "Q4_1", ElementType::q4_1},
    {6, "Q5_0", ElementType::q5_0},  {7, "Q5_1", ElementType::q5_1},
    {8, "Q8_0", ElementType::q8_0},  {9, "Q8_1", std::nullopt},
    {10, "Q2_K", std::nullopt},      {11, "Q3_K", std::nullopt},
    {12, "Q4_K", ElementType::q4_k}, {13, "Q5_K", ElementType::q5_k},
    {14, "Q6_K", ElementType::q6_k}, {15, "Q8_K", std::nullopt},
    {16, "IQ2_XXS", std::nullopt},   {17, "IQ2_XS", std::nullopt},
    {18, "IQ3_XXS", std::nullopt},   {19, "IQ1_S", std::nullopt},
    {20, "IQ4_NL", std::nullopt},    {21, "IQ3_S", std::nullopt},
    {22, "IQ2_S", std::nullopt},     {23, "IQ4_XS", std::nullopt},
    {24, "I8", ElementType::i8},     {25, "I16", std::nullopt},
    {26, "I32", ElementType::i32},   {27, "I64", ElementType::i64},
    {28, "F64", ElementType::f64},   {29, "IQ1_M", std::nullopt},
    {30, "BF16", ElementType::bf16}, {34, "TQ1_0", std::nullopt},
    {35, "TQ2_0", std::nullopt},     {39, "MXFP4", std::nullopt},
};

std::optional<uint32_t> moec::ggufTensorTag(ElementType type) {
  for (const TensorTag &entry : kTensorTags)
    if (entry.type == type)
      return entry.tag;
  return std::nullopt;
}

const GgufEntry *GgufHeader::find(llvm::StringRef key) const {
  auto it = llvm::find_if(
      metadata, [&](const GgufEntry &entry) { return entry.key == key; });
  return it == metadata.end() ? nullptr : &*it;
}

namespace {
class Parser {
public:
  Parser(llvm::ArrayRef<uint8_t> bytes, llvm::StringRef path)
      : bytes(bytes), path(path.str()) {}

  llvm::Expected<GgufHeader> parse();

private:
  ErrorBuilder errorAt(uint64_t offset, const std::string &object = "") const {
    Location loc = Location::atByte(path, int64_t(offset));
    loc.object = object;
    return error(std::move(loc));
  }

  /// Checks that `count` bytes follow.
  llvm::Error need(uint64_t count, const std::string &what) const {
    if (count > bytes.size() - at)
      return errorAt(at) << what << " needs " << count
                         << " bytes, but the file ends after "
                         << bytes.size() - at << "; it is truncated";
    return llvm::Error::success();
  }
  llvm::Expected<uint32_t> readU32(const std::string &what) {
    if (llvm::Error err = need(4, what))
      return err;
    at += 4;
    return endian::read32le(bytes.data() + at - 4);
  }
  llvm::Expected<uint64_t> readU64(const std::string &what) {
    if (llvm::Error err = need(8, what))
      return err;
    at += 8;
    return endian::read64le(bytes.data() + at - 8);
  }
  llvm::Expected<llvm::StringRef> readString(const std::string &what) {
    MOEC_ASSIGN(uint64_t length, readU64(what));
    if (llvm::Error err = need(length, what))
      return err;
    at += length;
    return llvm::StringRef(
        reinterpret_cast<const char *>(bytes.data() + at - length),
        size_t(length));
  }
  llvm::Expected<GgufType> readType(const std::string &what) {
    MOEC_ASSIGN(uint32_t tag, readU32(what));
    if (tag >= kTypes)
      return errorAt(at - 4) << what << " has the type tag " << tag
                             << ", expected at most " << kTypes - 1;
    return GgufType(tag);
  }

  llvm::Error skipArray(const std::string &what, GgufType &itemType,
                        uint64_t &items, uint64_t &firstItem, unsigned depth);
  llvm::Error parseEntry(GgufHeader &header);
  llvm::Error parseTensor(GgufHeader &header);
  llvm::Error placeTensors(GgufHeader &header);

  llvm::ArrayRef<uint8_t> bytes;
  std::string path;
  uint64_t at = 0;
};
} // namespace

llvm::Error Parser::skipArray(const std::string &what, GgufType &itemType,
                              uint64_t &items, uint64_t &firstItem,
                              unsigned depth) {
  if (depth > kMaxArrayDepth)
    return errorAt(at) << what << " nests arrays more than " << kMaxArrayDepth
                       << " deep";
  MOEC_ASSIGN(itemType, readType(what));
  MOEC_ASSIGN(items, readU64(what));
  firstItem = at;
  // Even an empty string has a length, and an empty array a head.
  uint64_t itemBytes = kTypeBytes[unsigned(itemType)];
  uint64_t least = itemType == GgufType::array ? 12 : 8;
  auto total = checkedMul(items, itemBytes ? itemBytes : least);
  if (!total || *total > bytes.size() - at)
    return errorAt(at - 8) << what << " claims " << items << " items of "
                           << ggufTypeName(itemType)
                           << ", more than the file's remaining "
                           << bytes.size() - at << " bytes hold";
  if (itemBytes) {
    at += *total;
    return llvm::Error::success();
  }
  for (uint64_t item = 0; item < items; ++item) {
    if (itemType == GgufType::string) {
      if (auto text = readString(what); !text)
        return text.takeError();
      continue;
    }
    GgufType innerType;
    uint64_t innerItems, innerFirst;
    MOEC_TRY(skipArray(what, innerType, innerItems, innerFirst, depth + 1));
  }
  return llvm::Error::success();
}

llvm::Error Parser::parseEntry(GgufHeader &header) {
  GgufEntry entry;
  uint64_t start = at;
  MOEC_ASSIGN(llvm::StringRef key,
              readString("the key of metadata entry " +
                         std::to_string(header.metadata.size())));
  entry.key = key.str();
  std::string what = "the value of '" + entry.key.substr(0, 80) + "'";
  MOEC_ASSIGN(entry.type, readType(what));
  entry.valueOffset = at;
  if (entry.type == GgufType::array) {
    MOEC_TRY(skipArray(what, entry.itemType, entry.items, entry.valueOffset,
                       /*depth=*/1));
  } else if (entry.type == GgufType::string) {
    if (auto text = readString(what); !text)
      return text.takeError();
  } else {
    uint64_t valueBytes = kTypeBytes[unsigned(entry.type)];
    MOEC_TRY(need(valueBytes, what));
    at += valueBytes;
  }
  if (entry.key.empty())
    return errorAt(start) << "expected a metadata key, found an empty string";
  header.metadata.push_back(std::move(entry));
  return llvm::Error::success();
}

llvm::Error Parser::parseTensor(GgufHeader &header) {
  GgufTensor tensor;
  std::string number = std::to_string(header.tensors.size());
  MOEC_ASSIGN(llvm::StringRef name, readString("the name of tensor " + number));
  tensor.name = name.str();
  std::string object = "tensor '" + tensor.name.substr(0, 80) + "'";
  MOEC_ASSIGN(uint32_t rank, readU32("the rank of " + object));
  if (rank > kMaxRank)
    return errorAt(at - 4, object)
           << "expected at most " << kMaxRank << " dimensions, found " << rank;
  uint64_t shapeOffset = at;
  for (uint32_t i = 0; i < rank; ++i) {
    MOEC_ASSIGN(uint64_t dim, readU64("a dimension of " + object));
    if (dim == 0 || dim > uint64_t(std::numeric_limits<int64_t>::max()))
      return errorAt(at - 8, object)
             << "expected a positive dimension, found " << dim;
    tensor.shape.insert(tensor.shape.begin(), int64_t(dim));
  }
  MOEC_ASSIGN(uint32_t tag, readU32("the type of " + object));
  const TensorTag *known = llvm::find_if(
      kTensorTags, [&](const TensorTag &entry) { return entry.tag == tag; });
  if (known == std::end(kTensorTags) || !known->type)
    return errorAt(at - 4, object)
           << "expected one of F32, F16, BF16, F64, I8, I32, I64, Q8_0, Q4_0, "
              "Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, found "
           << (known == std::end(kTensorTags)
                   ? "the unknown type tag " + std::to_string(tag)
                   : "the unsupported type " + known->name.str());
  tensor.type = *known->type;
  MOEC_ASSIGN(tensor.byteOffset, readU64("the offset of " + object));
  // Blocks run along the innermost dimension and do not cross it.
  int64_t inner = rank ? tensor.shape.back() : 1;
  if (inner % blockElements(tensor.type))
    return errorAt(shapeOffset, object)
           << "expected rows of a multiple of " << blockElements(tensor.type)
           << " elements for " << known->name << ", found " << inner;
  auto elements = elementCount(tensor.shape);
  auto size =
      elements ? byteSize(tensor.type, *elements) : std::optional<uint64_t>();
  if (!size)
    return errorAt(shapeOffset, object) << "the size of the shape overflows";
  tensor.byteSize = *size;
  header.tensors.push_back(std::move(tensor));
  return llvm::Error::success();
}

/// Makes offsets absolute and checks that the data lies in the file, each
/// tensor aligned and by itself.
llvm::Error Parser::placeTensors(GgufHeader &header) {
  header.dataOffset = llvm::alignTo(at, header.alignment);
  std::vector<const GgufTensor *> order;
  for (GgufTensor &tensor : header.tensors) {
    std::string object = "tensor '" + tensor.name + "'";
    if (tensor.byteOffset % header.alignment)
      return errorAt(at, object)
             << "expected an offset that is a multiple of the alignment "
             << header.alignment << ", found " << tensor.byteOffset;
    auto start = checkedAdd(header.dataOffset, tensor.byteOffset);
    auto end = start ? checkedAdd(*start, tensor.byteSize) : std::nullopt;
    if (!end || *end > bytes.size())
      return errorAt(start ? std::min<uint64_t>(*start, bytes.size()) : at,
                     object)
             << "the data needs " << tensor.byteSize
             << " bytes here, but the file has only " << bytes.size()
             << " in all; it is truncated";
    tensor.byteOffset = *start;
    order.push_back(&tensor);
  }
  llvm::sort(order, [](const GgufTensor *a, const GgufTensor *b) {
    return std::tie(a->byteOffset, a->name) < std::tie(b->byteOffset, b->name);
  });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->byteOffset <
        order[i - 1]->byteOffset + order[i - 1]->byteSize)
      return errorAt(order[i]->byteOffset, "tensor '" + order[i]->name + "'")
             << "the data overlaps that of tensor '" << order[i - 1]->name
             << "'";
  return llvm::Error::success();
}

llvm::Expected<GgufHeader> Parser::parse() {
  GgufHeader header;
  if (bytes.size() < 4 || llvm::toStringRef(bytes.take_front(4)) != "GGUF")
    return errorAt(0) << "expected a GGUF file, which starts with 'GGUF'";
  at = 4;
  MOEC_ASSIGN(header.version, readU32("the version"));
  if (header.version == 0x02000000 || header.version == 0x03000000)
    return errorAt(4) << "expected a little-endian GGUF file, found a "
                         "big-endian one";
  if (header.version < 2 || header.version > 3)
    return errorAt(4) << "expected GGUF version 2 or 3, found "
                      << header.version;
  MOEC_ASSIGN(uint64_t tensors, readU64("the number of tensors"));
  MOEC_ASSIGN(uint64_t entries, readU64("the number of metadata entries"));
  // The least that an entry and a tensor take in the file.
  if (entries > (bytes.size() - at) / 13)
    return errorAt(16) << "the file claims " << entries
                       << " metadata entries, more than its " << bytes.size()
                       << " bytes hold";
  if (tensors > (bytes.size() - at) / 24)
    return errorAt(8) << "the file claims " << tensors
                      << " tensors, more than its " << bytes.size()
                      << " bytes hold";
  llvm::StringSet<> keys, names;
  for (uint64_t i = 0; i < entries; ++i) {
    uint64_t start = at;
    MOEC_TRY(parseEntry(header));
    if (!keys.insert(header.metadata.back().key).second)
      return errorAt(start) << "the metadata key '"
                            << header.metadata.back().key << "' occurs twice";
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    uint64_t start = at;
    MOEC_TRY(parseTensor(header));
    if (!names.insert(header.tensors.back().name).second)
      return errorAt(start)
             << "two tensors are named '" << header.tensors.back().name << "'";
  }
  if (const GgufEntry *entry = header.find("general.alignment")) {
    MOEC_ASSIGN(int64_t alignment, GgufValues(bytes, path).integer(*entry));
    if (alignment < 8 || alignment > (1 << 24) ||
        !llvm::isPowerOf2_64(uint64_t(alignment)))
      return errorAt(entry->valueOffset)
             << "expected 'general.alignment' to be a power of two from 8 to "
             << (1 << 24) << ", found " << alignment;
    header.alignment = uint64_t(alignment);
  }
  MOEC_TRY(placeTensors(header));
  return header;
}

llvm::Expected<GgufHeader> moec::parseGguf(llvm::ArrayRef<uint8_t> bytes,
                                           llvm::StringRef path) {
  return Parser(bytes, path).parse();
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Location GgufValues::locationOf(const GgufEntry &entry) const {
  Location loc = Location::atByte(path, int64_t(entry.valueOffset));
  loc.object = "'" + entry.key + "'";
  return loc;
}

static std::string describe(const GgufEntry &entry) {
  if (entry.type != GgufType::array)
    return ("a " + ggufTypeName(entry.type)).str();
  return ("an array of " + ggufTypeName(entry.itemType)).str();
}

/// The integer at `from`, where it is one and fits in 63 bits.
static std::optional<int64_t> readInteger(GgufType type, const uint8_t *from) {
  switch (type) {
  case GgufType::u8:
    return int64_t(*from);
  case GgufType::i8:
    return int64_t(int8_t(*from));
  case GgufType::u16:
    return int64_t(endian::read16le(from));
  case GgufType::i16:
    return int64_t(int16_t(endian::read16le(from)));
  case GgufType::u32:
    return int64_t(endian::read32le(from));
  case GgufType::i32:
    return int64_t(int32_t(endian::read32le(from)));
  case GgufType::i64:
    return int64_t(endian::read64le(from));
  case GgufType::u64: {
    uint64_t value = endian::read64le(from);
    if (value > uint64_t(std::numeric_limits<int64_t>::max()))
      return std::nullopt;
    return int64_t(value);
  }
  default:
    return std::nullopt;
  }
}

static std::optional<double> readNumber(GgufType type, const uint8_t *from) {
  if (type == GgufType::f32)
    return double(llvm::bit_cast<float>(endian::read32le(from)));
  if (type == GgufType::f64)
    return llvm::bit_cast<double>(endian::read64le(from));
  if (auto value = readInteger(type, from))
    return double(*value);
  return std::nullopt;
}

llvm::Expected<int64_t> GgufValues::integer(const GgufEntry &entry) const {
  if (auto value = readInteger(entry.type, bytes.data() + entry.valueOffset))
    return *value;
  return error(locationOf(entry))
         << "expected an integer below 2^63, found " << describe(entry);
}

llvm::Expected<double> GgufValues::number(const GgufEntry &entry) const {
  if (auto value = readNumber(entry.type, bytes.data() + entry.valueOffset))
    return *value;
  return error(locationOf(entry))
         << "expected a number, found " << describe(entry);
}

llvm::Expected<bool> GgufValues::boolean(const GgufEntry &entry) const {
  if (entry.type != GgufType::boolean)
    return error(locationOf(entry))
           << "expected a bool, found " << describe(entry);
  return bytes[size_t(entry.valueOffset)] != 0;
}

/// The string at `from`, which is moved behind it.
static llvm::StringRef takeString(const uint8_t *&from) {
  uint64_t length = endian::read64le(from);
  llvm::StringRef text(reinterpret_cast<const char *>(from + 8),
                       size_t(length));
  from += 8 + length;
  return text;
}

llvm::Expected<llvm::StringRef>
GgufValues::string(const GgufEntry &entry) const {
  if (entry.type != GgufType::string)
    return error(locationOf(entry))
           << "expected a string, found " << describe(entry);
  const uint8_t *from = bytes.data() + entry.valueOffset;
  return takeString(from);
}

llvm::Expected<std::vector<std::string>>
GgufValues::strings(const GgufEntry &entry) const {
  if (entry.type != GgufType::array || entry.itemType != GgufType::string)
    return error(locationOf(entry))
           << "expected an array of strings, found " << describe(entry);
  std::vector<std::string> items;
  items.reserve(size_t(entry.items));
  const uint8_t *from = bytes.data() + entry.valueOffset;
  for (uint64_t i = 0; i < entry.items; ++i)
    items.push_back(takeString(from).str());
  return items;
}

llvm::Expected<std::vector<double>>
GgufValues::numbers(const GgufEntry &entry) const {
  bool isNumeric = entry.type == GgufType::array &&
                   kTypeBytes[unsigned(entry.itemType)] != 0 &&
                   entry.itemType != GgufType::boolean;
  if (!isNumeric)
    return error(locationOf(entry))
           << "expected an array of numbers, found " << describe(entry);
  std::vector<double> items;
  items.reserve(size_t(entry.items));
  const uint8_t *from = bytes.data() + entry.valueOffset;
  for (uint64_t i = 0; i < entry.items;
       ++i, from += kTypeBytes[unsigned(entry.itemType)]) {
    auto value = readNumber(entry.itemType, from);
    if (!value)
      return error(locationOf(entry))
             << "expected numbers below 2^63 in the array";
    items.push_back(*value);
  }
  return items;
}
