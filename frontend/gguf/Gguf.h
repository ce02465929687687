//===- Gguf.h - GGUF models -----------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "frontend/gguf/GgufTokenizerData.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <optional>

namespace moec {

/// Whether a file starts as GGUF files do.
bool isGguf(llvm::ArrayRef<uint8_t> start);

/// Opens a GGUF model. Its settings are the metadata, dots in keys and all,
/// without the tokenizer's arrays.
llvm::Expected<Checkpoint> openGguf(llvm::StringRef path);

/// The tokenizer that the file `path` holds; nothing where it has none.
llvm::Expected<std::optional<GgufTokenizerData>>
readGgufTokenizer(llvm::StringRef path);

} // namespace moec
