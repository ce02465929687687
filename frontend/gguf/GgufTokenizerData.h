//===- GgufTokenizerData.h - the tokenizer inside a GGUF file -------------===//
#pragma once

#include "ir/support/Location.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

/// What the `tokenizer.*` keys of a GGUF file hold, types checked, contents
/// not: ids may lie outside the vocabulary, pieces need not be UTF-8.
struct GgufTokenizerData {
  /// The file, for messages; its byte offset is that of
  /// `tokenizer.ggml.tokens`.
  Location location;
  /// `tokenizer.ggml.model`: "llama" (SentencePiece BPE), "gpt2" (byte-level
  /// BPE), and others.
  std::string model;
  /// `tokenizer.ggml.pre`: how text is split, such as "smollm" or "qwen2";
  /// empty where the key is missing.
  std::string pre;
  std::vector<std::string> tokens;
  /// As long as `tokens`, or empty.
  std::vector<float> scores;
  /// As long as `tokens`, or empty. 1 normal, 2 unknown, 3 control, 4 user
  /// defined, 5 unused, 6 byte.
  std::vector<int32_t> tokenTypes;
  /// Pairs "left right".
  std::vector<std::string> merges;

  std::optional<int64_t> bos;
  std::optional<int64_t> eos;
  std::optional<int64_t> eot;
  std::optional<int64_t> unknown;
  std::optional<int64_t> padding;
  std::optional<bool> addBos;
  std::optional<bool> addEos;
  std::optional<bool> addSpacePrefix;
  std::optional<bool> removeExtraWhitespaces;
  /// `tokenizer.chat_template`, a Jinja text; empty where there is none.
  std::string chatTemplate;
};

} // namespace moec
