//===- HfDirectory.h - Hugging Face model directories ---------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace moec {

/// Opens a directory with config.json and either model.safetensors or
/// model.safetensors.index.json with its shards. Shared tensors that a file's
/// metadata lists ("removed name" -> "kept name") become aliases.
llvm::Expected<Checkpoint> openHfDirectory(llvm::StringRef path);

/// Opens one safetensors file as a checkpoint without settings.
llvm::Expected<Checkpoint> openTensorFile(llvm::StringRef path);

/// generation_config.json of a model directory; empty settings where there is
/// none.
llvm::Expected<Config> loadGenerationConfig(llvm::StringRef directory);

} // namespace moec
