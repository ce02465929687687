//===- ImportTokenizer.h - tokenizer files to the one asset ---------------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"

#include <memory>
#include <string>

namespace moec {

class JsonDocument;
struct GgufTokenizerData;

/// Imports a tokenizer from a file, or from a folder that holds one. A file's
/// kind is recognised from its content: tokenizer.json, vocab.json (with
/// merges.txt beside it), a SentencePiece model, llama2.c's tokenizer.bin, or
/// a stored asset. For the first three, tokenizer_config.json,
/// special_tokens_map.json, generation_config.json and chat_template.jinja in
/// the same folder are read too.
llvm::Expected<TokenizerAsset> importTokenizer(llvm::StringRef path);

/// Hugging Face's tokenizer.json with a BPE model.
llvm::Expected<TokenizerAsset> importTokenizerJson(const JsonDocument &doc);

/// GPT-2's pair of files, given their text.
llvm::Expected<TokenizerAsset> importGpt2Files(const JsonDocument &vocabulary,
                                               llvm::StringRef merges,
                                               llvm::StringRef mergesName);

/// A SentencePiece model (BPE or unigram), given its bytes.
llvm::Expected<TokenizerAsset> importSentencePiece(llvm::StringRef bytes,
                                                   llvm::StringRef name);

/// llama2.c's tokenizer.bin, given its bytes.
llvm::Expected<TokenizerAsset> importLlama2cTokenizer(llvm::StringRef bytes,
                                                      llvm::StringRef name);

/// The tokenizer inside a GGUF file: the models "llama" and "gpt2".
llvm::Expected<TokenizerAsset>
importGgufTokenizer(const GgufTokenizerData &metadata);

} // namespace moec
