#include "ir/support/Safetensors.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

#include <algorithm>
#include <tuple>

using namespace moec;

namespace {
struct TypeName {
  llvm::StringLiteral name;
  ElementType type;
};
} // namespace

static constexpr TypeName kTypeNames[] = {
    {"BF16", ElementType::bf16}, {"BOOL", ElementType::boolean},
    {"F16", ElementType::f16},   {"F32", ElementType::f32},
    {"F64", ElementType::f64},   {"I32", ElementType::i32},
    {"I64", ElementType::i64},   {"I8", ElementType::i8},
    {"U8", ElementType::u8},
};

/// The format's own limit of a header.
static constexpr uint64_t kMaxHeaderBytes = 100'000'000;

const SafetensorsEntry *SafetensorsHeader::find(llvm::StringRef name) const {
  auto it = llvm::partition_point(entries, [&](const SafetensorsEntry &entry) {
    return llvm::StringRef(entry.name) < name;
  });
  return it != entries.end() && it->name == name ? &*it : nullptr;
}

std::optional<llvm::StringRef>
SafetensorsHeader::metadataOf(llvm::StringRef key) const {
  for (const auto &[name, value] : metadata)
    if (name == key)
      return llvm::StringRef(value);
  return std::nullopt;
}

std::optional<llvm::StringRef> moec::safetensorsTypeName(ElementType type) {
  for (const TypeName &entry : kTypeNames)
    if (entry.type == type)
      return llvm::StringRef(entry.name);
  return std::nullopt;
}

/// An error at a place in the header, with the tensor that it concerns.
static ErrorBuilder errorIn(const JsonDocument &json, const JsonValue &value,
                            llvm::StringRef tensor) {
  Location loc = json.locate(value);
  loc.object = "tensor '" + tensor.str() + "'";
  return error(std::move(loc));
}

static llvm::Expected<const JsonValue *> requireField(const JsonDocument &json,
                                                      const JsonMember &tensor,
                                                      llvm::StringRef field) {
  if (const JsonValue *value = tensor.value.find(field))
    return value;
  return errorIn(json, tensor.value, tensor.key)
         << "expected the field '" << field << "', found none";
}

/// Reads an array of integers in [0, 2^63).
static llvm::Expected<std::vector<int64_t>> readSizes(const JsonDocument &json,
                                                      const JsonMember &tensor,
                                                      llvm::StringRef field) {
  MOEC_ASSIGN(const JsonValue *array, requireField(json, tensor, field));
  if (!array->isArray())
    return errorIn(json, *array, tensor.key)
           << "expected '" << field << "' to be an array, found "
           << array->describe();
  std::vector<int64_t> sizes;
  for (const JsonValue &item : array->items) {
    if (!item.isInteger || item.integer < 0)
      return errorIn(json, item, tensor.key)
             << "expected a non-negative integer in '" << field << "', found "
             << item.describe();
    sizes.push_back(item.integer);
  }
  return sizes;
}

static std::string shapeText(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(shape))
    text += (i ? ", " : "") + std::to_string(dim);
  return text + "]";
}

static llvm::Expected<SafetensorsEntry> readEntry(const JsonDocument &json,
                                                  const JsonMember &tensor,
                                                  uint64_t dataOffset,
                                                  uint64_t dataBytes) {
  SafetensorsEntry entry;
  entry.name = tensor.key;
  if (!tensor.value.isObject())
    return errorIn(json, tensor.value, tensor.key)
           << "expected an object, found " << tensor.value.describe();
  MOEC_ASSIGN(const JsonValue *dtype, requireField(json, tensor, "dtype"));
  const TypeName *type =
      llvm::find_if(kTypeNames, [&](const TypeName &candidate) {
        return dtype->isString() && candidate.name == dtype->string;
      });
  if (type == std::end(kTypeNames))
    return errorIn(json, *dtype, tensor.key)
           << "expected one of BF16, BOOL, F16, F32, F64, I32, I64, I8, U8 as "
              "'dtype', found "
           << dtype->describe();
  entry.type = type->type;
  MOEC_ASSIGN(entry.shape, readSizes(json, tensor, "shape"));
  MOEC_ASSIGN(std::vector<int64_t> offsets,
              readSizes(json, tensor, "data_offsets"));
  const JsonValue &place = *tensor.value.find("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    return errorIn(json, place, tensor.key)
           << "expected 'data_offsets' to be [begin, end] with begin <= end, "
              "found "
           << shapeText(offsets);
  if (uint64_t(offsets[1]) > dataBytes)
    return errorIn(json, place, tensor.key)
           << "the data ends at " << offsets[1] << ", but the file has only "
           << dataBytes << " bytes of data";
  auto elements = elementCount(entry.shape);
  auto needed =
      elements ? byteSize(entry.type, *elements) : std::optional<uint64_t>();
  if (!needed)
    return errorIn(json, *tensor.value.find("shape"), tensor.key)
           << "the size of shape " << shapeText(entry.shape) << " overflows";
  uint64_t found = uint64_t(offsets[1] - offsets[0]);
  if (found != *needed)
    return errorIn(json, place, tensor.key)
           << "shape " << shapeText(entry.shape) << " of "
           << elementTypeName(entry.type) << " needs " << *needed
           << " bytes, but 'data_offsets' spans " << found;
  entry.byteOffset = dataOffset + uint64_t(offsets[0]);
  entry.byteSize = found;
  return entry;
}

/// Checks that the tensors cover the data, each byte once.
static llvm::Error checkCoverage(llvm::ArrayRef<SafetensorsEntry> entries,
                                 uint64_t dataOffset, uint64_t fileBytes,
                                 llvm::StringRef path) {
  std::vector<const SafetensorsEntry *> byOffset;
  for (const SafetensorsEntry &entry : entries)
    byOffset.push_back(&entry);
  llvm::sort(byOffset,
             [](const SafetensorsEntry *a, const SafetensorsEntry *b) {
               return std::tie(a->byteOffset, a->byteSize, a->name) <
                      std::tie(b->byteOffset, b->byteSize, b->name);
             });
  uint64_t expected = dataOffset;
  const SafetensorsEntry *previous = nullptr;
  for (const SafetensorsEntry *entry : byOffset) {
    if (entry->byteOffset != expected) {
      Location loc = Location::atByte(path.str(), int64_t(entry->byteOffset));
      loc.object = "tensor '" + entry->name + "'";
      if (entry->byteOffset < expected)
        return error(loc) << "the data overlaps that of tensor '"
                          << previous->name << "', which ends at byte "
                          << expected;
      return error(loc) << "expected the data to start at byte " << expected
                        << ", where the data before it ends";
    }
    expected += entry->byteSize;
    previous = entry;
  }
  if (expected != fileBytes)
    return error(Location::atByte(path.str(), int64_t(expected)))
           << "expected the file to end here, after the last tensor, but it "
              "has "
           << fileBytes << " bytes";
  return llvm::Error::success();
}

llvm::Expected<SafetensorsHeader>
moec::parseSafetensors(llvm::ArrayRef<uint8_t> bytes, uint64_t fileBytes,
                       llvm::StringRef path) {
  if (bytes.size() < 8)
    return error(Location::atByte(path.str(), 0))
           << "expected a safetensors file, which starts with 8 bytes of "
              "header length; found only "
           << bytes.size() << " bytes";
  uint64_t headerBytes = llvm::support::endian::read64le(bytes.data());
  if (headerBytes > kMaxHeaderBytes)
    return error(Location::atByte(path.str(), 0))
           << "expected a header of at most " << kMaxHeaderBytes
           << " bytes, found a length of " << headerBytes
           << "; this is no safetensors file";
  if (headerBytes > bytes.size() - 8)
    return error(Location::atByte(path.str(), 0))
           << "the header needs " << headerBytes
           << " bytes, but the file has only " << bytes.size() - 8
           << " after its length; it is truncated";
  SafetensorsHeader header;
  header.dataOffset = 8 + headerBytes;
  std::string text = llvm::toStringRef(bytes.slice(8, headerBytes)).str();
  MOEC_ASSIGN(std::shared_ptr<const JsonDocument> json,
              JsonDocument::parse(std::move(text), path, /*byteBase=*/8));
  const JsonValue &root = json->root();
  if (!root.isObject())
    return json->errorAt(root)
           << "expected the header to be an object, found " << root.describe();
  uint64_t dataBytes = fileBytes - header.dataOffset;
  for (const JsonMember &member : root.members) {
    if (member.key != "__metadata__") {
      MOEC_ASSIGN(SafetensorsEntry entry,
                  readEntry(*json, member, header.dataOffset, dataBytes));
      header.entries.push_back(std::move(entry));
      continue;
    }
    if (!member.value.isObject())
      return json->errorAt(member.value)
             << "expected '__metadata__' to be an object, found "
             << member.value.describe();
    for (const JsonMember &item : member.value.members) {
      if (!item.value.isString())
        return json->errorAt(item.value)
               << "expected a string in '__metadata__', found "
               << item.value.describe();
      header.metadata.emplace_back(item.key, item.value.string);
    }
  }
  llvm::sort(header.metadata);
  llvm::sort(header.entries,
             [](const SafetensorsEntry &a, const SafetensorsEntry &b) {
               return a.name < b.name;
             });
  if (llvm::Error err =
          checkCoverage(header.entries, header.dataOffset, fileBytes, path))
    return err;
  return header;
}

llvm::Expected<SafetensorsFile> SafetensorsFile::open(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  MOEC_ASSIGN(SafetensorsHeader header,
              parseSafetensors(file->bytes(), file->size(), path));
  return SafetensorsFile(std::move(file), std::move(header));
}

Location SafetensorsFile::locationOf(const SafetensorsEntry &entry) const {
  Location loc = Location::atByte(path(), int64_t(entry.byteOffset));
  loc.object = "tensor '" + entry.name + "'";
  return loc;
}
