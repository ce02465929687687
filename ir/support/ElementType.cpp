#include "ir/support/ElementType.h"

#include <array>
#include <limits>

using namespace moec;

namespace {
struct TypeInfo {
  llvm::StringLiteral name;
  uint16_t blockElements;
  uint16_t blockBytes;
};
} // namespace

static constexpr std::array<TypeInfo, kElementTypes> kTypes = {{
    {"f32", 1, 4},
    {"bf16", 1, 2},
    {"f16", 1, 2},
    {"f64", 1, 8},
    {"i8", 1, 1},
    {"u8", 1, 1},
    {"i32", 1, 4},
    {"i64", 1, 8},
    {"bool", 1, 1},
    {"q8_0", 32, 34},
    {"q4_0", 32, 18},
    {"q4_1", 32, 20},
    {"q5_0", 32, 22},
    {"q5_1", 32, 24},
    {"q4_k", 256, 144},
    {"q5_k", 256, 176},
    {"q6_k", 256, 210},
}};

llvm::StringRef moec::elementTypeName(ElementType type) {
  return kTypes[size_t(type)].name;
}

std::optional<ElementType> moec::parseElementType(llvm::StringRef name) {
  for (unsigned index = 0; index < kElementTypes; ++index)
    if (kTypes[index].name == name)
      return ElementType(index);
  return std::nullopt;
}

unsigned moec::blockElements(ElementType type) {
  return kTypes[size_t(type)].blockElements;
}

unsigned moec::blockBytes(ElementType type) {
  return kTypes[size_t(type)].blockBytes;
}

std::optional<uint64_t> moec::byteSize(ElementType type, uint64_t elements) {
  unsigned perBlock = blockElements(type);
  if (elements % perBlock)
    return std::nullopt;
  return checkedMul(elements / perBlock, blockBytes(type));
}

std::optional<uint64_t> moec::elementCount(llvm::ArrayRef<int64_t> shape) {
  uint64_t count = 1;
  bool isEmpty = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return std::nullopt;
    // A zero elsewhere must not hide an overflow of the other dimensions.
    if (dim == 0) {
      isEmpty = true;
      continue;
    }
    auto product = checkedMul(count, uint64_t(dim));
    if (!product || *product > uint64_t(std::numeric_limits<int64_t>::max()))
      return std::nullopt;
    count = *product;
  }
  return isEmpty ? 0 : count;
}
