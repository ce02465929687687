//===- OpenModel.h - any model file or directory --------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace moec {

/// Opens a Hugging Face directory, a GGUF file or a llama2.c checkpoint, told
/// apart by their contents.
llvm::Expected<Checkpoint> openModel(llvm::StringRef path);

} // namespace moec
