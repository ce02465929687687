#include "frontend/llama2c/Llama2c.h"
#include "ir/support/Diagnostic.h"

#include <cstdlib>

using namespace moec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  Llama2cHeader header;
  // A larger file lets small inputs claim more than they hold.
  for (uint64_t fileBytes : {uint64_t(size), uint64_t(size) << 8}) {
    auto tensors = parseLlama2c(llvm::ArrayRef<uint8_t>(bytes, size), fileBytes,
                                "fuzz", header);
    if (!tensors) {
      (void)toText(tensors.takeError());
      continue;
    }
    for (const CheckpointTensor &tensor : *tensors)
      if (tensor.byteOffset + tensor.byteSize > fileBytes)
        std::abort();
  }
  return 0;
}
