//===- Llama2c.h - llama2.c's first checkpoint format ---------------------===//
//
// Version 0: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
// vocab_size, seq_len), then f32 tensors in a fixed order, each kind for all
// layers together. A negative vocab_size says that the head's weight follows
// the legacy rope tables; otherwise it is the embedding's. Rope pairs are
// interleaved; theta is 10000 and the norms' eps 1e-5.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moec {

struct Llama2cHeader {
  int64_t dim = 0;
  int64_t ffn = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t vocab = 0;
  int64_t context = 0;
  bool tied = true;
};

inline constexpr uint64_t kLlama2cHeaderBytes = 28;

/// Whether a file that starts so and has this size may be a v0 checkpoint: the
/// size is what the header asks for.
bool isLlama2c(llvm::ArrayRef<uint8_t> start, uint64_t fileBytes);

/// Checks the header and that the file has just the size that it asks for;
/// gives the tensors, by layer, under the names that llama2.c's exporter uses
/// (`layers.0.attention.wq.weight`, ...).
llvm::Expected<std::vector<CheckpointTensor>>
parseLlama2c(llvm::ArrayRef<uint8_t> start, uint64_t fileBytes,
             llvm::StringRef path, Llama2cHeader &header);

llvm::Expected<Checkpoint> openLlama2c(llvm::StringRef path);

} // namespace moec
