//===- Decoder.h - a decoder-only transformer as a graph ------------------===//
//
// One builder serves every family: what differs between them is in ModelConfig.
// It reads like the forward pass of the papers: embed, then per layer
// x += attention(norm(x)), x += ffn(norm(x)), then norm and head. Latent
// attention (MLA) runs expanded: keys and values are cached, not latents.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/models/ModelConfig.h"
#include "ir/core/Builder.h"
#include "ir/core/Module.h"

namespace moec {

struct DecoderOptions {
  /// Positions in one block of the paged cache.
  int64_t blockSize = 32;
  /// Largest number of tokens, sequences and cache blocks of one step.
  int64_t maxTokens = 512;
  int64_t maxSeqs = 64;
};

/// Builds program `step` into `module`, whose weights (canonical names,
/// frontend/models/WeightMap.h) exist. Names the facts of
/// runtime/schema/Facts.h.
llvm::Error buildDecoder(Module &module, const ModelConfig &config,
                         const DecoderOptions &options = {});

} // namespace moec
