//===- Paging.h - from a token to its place in the paged cache ------------===//
#pragma once

#include "codegen/cpu/Emitter.h"

namespace moec::cpu {

struct Paging {
  Value *seqOffsets, *blockTable, *seqs, *blocksPerRow;

  /// The sequence that holds `token`: the last whose offset is not above it
  /// and that is not empty, by halving.
  Value *sequence(Emitter &e, Value *token) const;
  /// The cache block of a sequence's logical block `number`.
  Value *block(Emitter &e, Value *sequence, Value *number) const;
};

} // namespace moec::cpu
