//===- Companions.h - the files that stand beside a tokenizer's -----------===//
#pragma once

#include "runtime/text/TokenizerAsset.h"

namespace moec {

/// Reads tokenizer_config.json, special_tokens_map.json,
/// generation_config.json and chat_template.jinja in `folder`, where they are,
/// and completes `asset`: named special tokens, the ids that stop a
/// generation, what is put around a text, the chat template, the context.
/// `fromModelFile` says that the tokenizer's own file had no added tokens and
/// no template, so that the configuration decides.
llvm::Error readCompanions(llvm::StringRef folder, bool fromModelFile,
                           TokenizerAsset &asset);

} // namespace moec
