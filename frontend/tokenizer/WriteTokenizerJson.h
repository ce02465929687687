//===- WriteTokenizerJson.h - Hugging Face's tokenizer files --------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"

namespace moec {

/// tokenizer.json of an asset that merges: byte-level and metaspace BPE as they
/// are, SentencePiece's BPE as the merges that its scores mean. Others are an
/// error.
llvm::Expected<std::string> writeTokenizerJson(const TokenizerAsset &asset);

/// tokenizer_config.json: special tokens and the chat template.
std::string writeTokenizerConfig(const TokenizerAsset &asset);

/// The merges of a vocabulary with scores, by rank: every way to split a piece
/// into two others, best score first.
std::vector<Merge> mergesOfScores(const TokenizerAsset &asset);

} // namespace moec
