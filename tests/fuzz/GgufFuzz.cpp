#include "frontend/gguf/GgufHeader.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"

#include <cstdlib>

using namespace moec;

template <typename T> static void drop(llvm::Expected<T> value) {
  if (!value)
    (void)toText(value.takeError());
}

/// Every accepted value can be read, and every tensor decoded.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  // A heap copy of the exact size, so that a sanitizer sees each overrun.
  std::vector<uint8_t> copy(bytes, bytes + size);
  auto header = parseGguf(copy, "fuzz");
  if (!header) {
    (void)toText(header.takeError());
    return 0;
  }
  GgufValues values(copy, "fuzz");
  for (const GgufEntry &entry : header->metadata) {
    drop(values.integer(entry));
    drop(values.number(entry));
    drop(values.boolean(entry));
    drop(values.string(entry));
    drop(values.strings(entry));
    drop(values.numbers(entry));
  }
  for (const GgufTensor &tensor : header->tensors) {
    auto elements = elementCount(tensor.shape);
    if (!elements || byteSize(tensor.type, *elements) != tensor.byteSize)
      std::abort();
    std::vector<float> decoded(*elements);
    decodeToF32(
        tensor.type,
        llvm::ArrayRef<uint8_t>(copy).slice(tensor.byteOffset, tensor.byteSize),
        decoded);
  }
  return 0;
}
