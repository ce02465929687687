//===- WriteGgufTokenizer.h - a tokenizer for GGUF files ------------------===//
#pragma once

#include "frontend/gguf/GgufTokenizerData.h"
#include "runtime/text/TokenizerAsset.h"
#include "llvm/Support/Error.h"

namespace moec {

/// The reverse of `importGgufTokenizer`. llama.cpp knows ways of splitting text
/// by name: an asset that splits in another way is an error, and so is one
/// that is neither byte-level BPE nor made of scored pieces or metaspace
/// merges.
llvm::Expected<GgufTokenizerData>
makeGgufTokenizer(const TokenizerAsset &asset);

/// The name in `tokenizer.ggml.pre` of an asset's way of splitting text; empty
/// where none is it.
std::string ggufSplitting(const TokenizerAsset &asset);

} // namespace moec
