#include "frontend/gguf/GgufWriter.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

#include <cassert>

using namespace moec;
using namespace llvm::support;

static constexpr uint64_t kAlignment = 32;

template <typename T> static void put(std::string &out, T value) {
  char bytes[sizeof(T)];
  endian::write<T, llvm::endianness::little>(bytes, value);
  out.append(bytes, sizeof(T));
}

static void putString(std::string &out, llvm::StringRef text) {
  put<uint64_t>(out, text.size());
  out += text;
}

void GgufWriter::addKey(llvm::StringRef key, GgufType type) {
  putString(metadata, key);
  put<uint32_t>(metadata, uint32_t(type));
  ++entries;
}

void GgufWriter::addArray(llvm::StringRef key, GgufType itemType,
                          uint64_t items) {
  addKey(key, GgufType::array);
  put<uint32_t>(metadata, uint32_t(itemType));
  put<uint64_t>(metadata, items);
}

void GgufWriter::addU32(llvm::StringRef key, uint32_t value) {
  addKey(key, GgufType::u32);
  put<uint32_t>(metadata, value);
}

void GgufWriter::addU64(llvm::StringRef key, uint64_t value) {
  addKey(key, GgufType::u64);
  put<uint64_t>(metadata, value);
}

void GgufWriter::addI32(llvm::StringRef key, int32_t value) {
  addKey(key, GgufType::i32);
  put<int32_t>(metadata, value);
}

void GgufWriter::addF32(llvm::StringRef key, float value) {
  addKey(key, GgufType::f32);
  put<uint32_t>(metadata, llvm::bit_cast<uint32_t>(value));
}

void GgufWriter::addBool(llvm::StringRef key, bool value) {
  addKey(key, GgufType::boolean);
  put<uint8_t>(metadata, value);
}

void GgufWriter::addString(llvm::StringRef key, llvm::StringRef value) {
  addKey(key, GgufType::string);
  putString(metadata, value);
}

void GgufWriter::addStrings(llvm::StringRef key,
                            llvm::ArrayRef<std::string> values) {
  addArray(key, GgufType::string, values.size());
  for (const std::string &value : values)
    putString(metadata, value);
}

void GgufWriter::addF32s(llvm::StringRef key, llvm::ArrayRef<float> values) {
  addArray(key, GgufType::f32, values.size());
  for (float value : values)
    put<uint32_t>(metadata, llvm::bit_cast<uint32_t>(value));
}

void GgufWriter::addI32s(llvm::StringRef key, llvm::ArrayRef<int32_t> values) {
  addArray(key, GgufType::i32, values.size());
  for (int32_t value : values)
    put<int32_t>(metadata, value);
}

size_t GgufWriter::addTensor(llvm::StringRef name, ElementType type,
                             llvm::ArrayRef<int64_t> shape) {
  auto tag = ggufTensorTag(type);
  auto elements = elementCount(shape);
  auto bytes = elements ? moec::byteSize(type, *elements) : std::nullopt;
  assert(tag && bytes && "callers choose types and shapes that GGUF has");
  uint64_t offset = 0;
  if (!tensors.empty())
    offset =
        llvm::alignTo(tensors.back().offset + tensors.back().bytes, kAlignment);
  tensors.push_back({name.str(), *tag, shape.vec(), offset, *bytes});
  return tensors.size() - 1;
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  put<uint32_t>(out, 3);
  put<uint64_t>(out, tensors.size());
  put<uint64_t>(out, entries);
  out += metadata;
  for (const Tensor &tensor : tensors) {
    putString(out, tensor.name);
    put<uint32_t>(out, uint32_t(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;)
      put<uint64_t>(out, uint64_t(tensor.shape[i]));
    put<uint32_t>(out, tensor.tag);
    put<uint64_t>(out, tensor.offset);
  }
  out.resize(llvm::alignTo(out.size(), kAlignment), '\0');
  return out;
}

uint64_t GgufWriter::byteOffset(size_t tensor) const {
  return header().size() + tensors[tensor].offset;
}

uint64_t GgufWriter::fileBytes() const {
  uint64_t data =
      tensors.empty() ? 0 : tensors.back().offset + tensors.back().bytes;
  return header().size() + llvm::alignTo(data, kAlignment);
}

llvm::Error
GgufWriter::write(llvm::StringRef path,
                  llvm::ArrayRef<llvm::ArrayRef<uint8_t>> data) const {
  MOEC_ASSIGN(AtomicFile file, AtomicFile::create(path));
  std::string start = header();
  MOEC_TRY(file.preallocate(fileBytes()));
  MOEC_TRY(file.append(start));
  for (size_t i = 0; i < tensors.size(); ++i) {
    assert(data[i].size() == tensors[i].bytes && "sizes must agree");
    MOEC_TRY(file.writeAt(start.size() + tensors[i].offset, data[i]));
  }
  return file.commit();
}
