//===- Upcycler.h - upcycling with a receipt ------------------------------===//
#pragma once

#include "frontend/importer/Importer.h"
#include "passes/driver/PassManager.h"

namespace moec {

/// What was done to one layer, and what it did to the layer's output.
struct LayerReceipt {
  int64_t layer = 0;
  /// ||moe(x) - ffn(x)|| / ||ffn(x)|| over the probe tokens.
  double outputError = 0;
  /// Probe tokens whose k-th and (k+1)-th scores are equal, so that the
  /// tie-break decided.
  int64_t ties = 0;
  /// Probe tokens that chose each expert.
  std::vector<int64_t> load;
};

struct UpcycleReceipt {
  /// As the pass prints them.
  std::string options;
  std::string source, sourceSha256;
  int64_t probeTokens = 0;
  std::vector<LayerReceipt> layers;
  /// The largest output error is rounding: the result is the dense model until
  /// it is trained.
  bool equalsDense = false;
};

/// Rewrites the module by the pass `upcycle` with these options (a pipeline
/// string such as `experts=8,top_k=2`).
llvm::Error upcycleModule(Module &module, llvm::StringRef options);

/// Compares every MoE block of `sparse` with the FFN of `dense`, from whose
/// forward pass over `tokens` the inputs are taken. Layer by layer and expert
/// by expert, so that a few matrices are in memory at a time.
llvm::Error probeLayers(const Module &dense, const Module &sparse,
                        llvm::ArrayRef<int32_t> tokens, TensorReader &reader,
                        UpcycleReceipt &receipt,
                        llvm::function_ref<void(uint64_t, uint64_t)> progress);

struct FolderOptions {
  /// Element type of matrices; norms, biases and routers stay f32.
  ElementType element = ElementType::bf16;
  uint64_t maxShardBytes = 5'000'000'000;
  unsigned threads = 0;
  /// Says all that decides the bytes, for resuming.
  std::string identity;
};

struct FolderReport {
  uint64_t bytes = 0;
  uint64_t resumedTensors = 0;
  /// Whether config.json names a Hugging Face architecture that computes the
  /// same function, and if not, why.
  std::string architecture, whyNone;
};

/// Writes a module and its weights as a folder: safetensors, config.json and
/// `module.moe`, which reads the weights from the folder. Streams: a few
/// tensors are in memory at a time. Under a temporary name until it is whole;
/// an interrupted run is taken up again.
llvm::Expected<FolderReport>
writeModelFolder(Module &module, llvm::StringRef path, CheckpointReader &reader,
                 const FolderOptions &options,
                 llvm::function_ref<void(uint64_t, uint64_t)> progress);

} // namespace moec
