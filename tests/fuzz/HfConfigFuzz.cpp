#include "frontend/models/ModelConfig.h"
#include "frontend/models/WeightMap.h"
#include "ir/support/Diagnostic.h"

using namespace moec;

/// Settings of any kind give a model or one error; without tensors the weight
/// map gives an error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  auto document = JsonDocument::parse(
      std::string(reinterpret_cast<const char *>(bytes), size), "config.json");
  if (!document) {
    (void)toText(document.takeError());
    return 0;
  }
  if (!(*document)->root().isObject())
    return 0;
  Checkpoint checkpoint(CheckpointFormat::huggingFace, "/nonexistent",
                        Config(std::move(*document)));
  auto result = readModelConfig(checkpoint);
  if (!result) {
    (void)toText(result.takeError());
    return 0;
  }
  (void)result->config.rope.frequencies();
  auto map = WeightMap::create(checkpoint, result->config);
  if (map)
    __builtin_trap();
  (void)toText(map.takeError());
  return 0;
}
