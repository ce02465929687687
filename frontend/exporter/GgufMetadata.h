//===- GgufMetadata.h - what a GGUF file says of its model ----------------===//
#pragma once

#include "frontend/exporter/Targets.h"
#include "frontend/gguf/GgufTokenizerData.h"
#include "frontend/gguf/GgufWriter.h"

namespace moec {

/// The keys `general.*` and those of the architecture. `element` is the type
/// of matrices.
void addGgufSettings(GgufWriter &writer, const ExportTarget &target,
                     const ModelConfig &config, ElementType element);

/// The keys `tokenizer.*`. The list of tokens becomes as long as the model's
/// vocabulary, which llama.cpp takes from it.
void addGgufTokenizer(GgufWriter &writer, GgufTokenizerData tokenizer,
                      int64_t vocabulary);

/// Says that there is no tokenizer.
void addNoGgufTokenizer(GgufWriter &writer);

} // namespace moec
