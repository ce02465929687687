//===- TokenizerJson.h - the parts of a tokenizer.json --------------------===//
#pragma once

#include "frontend/tokenizer/PieceIndex.h"
#include "ir/support/Json.h"
#include "runtime/text/TokenizerAsset.h"

namespace moec {

/// The member `key` of an object where it is there and not null.
const JsonValue *findSet(const JsonValue &object, llvm::StringRef key);

/// Members of a given kind; the error names the key and what was found.
llvm::Expected<std::string>
stringAt(const JsonDocument &doc, const JsonValue &object, llvm::StringRef key);
llvm::Expected<bool> boolAt(const JsonDocument &doc, const JsonValue &object,
                            llvm::StringRef key, bool missing);
/// An id below kMaxVocabulary.
llvm::Expected<int32_t> idOf(const JsonDocument &doc, const JsonValue &value);

/// The components of a tokenizer.json beside its model. Each takes the
/// component's value, null or an object with a type, and fails for a type that
/// is not supported, which it names.
llvm::Error readNormalizer(const JsonDocument &doc, const JsonValue &value,
                           TokenizerAsset &asset);
/// Sets the kind to byte-level where a ByteLevel component is met.
llvm::Error readPreTokenizer(const JsonDocument &doc, const JsonValue &value,
                             TokenizerAsset &asset);
llvm::Error readPostProcessor(const JsonDocument &doc, const JsonValue &value,
                              TokenizerAsset &asset);
llvm::Error readDecoder(const JsonDocument &doc, const JsonValue &value,
                        TokenizerAsset &asset);

} // namespace moec
