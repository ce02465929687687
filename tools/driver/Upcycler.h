//===- Upcycler.h - upcycling with a receipt ------------------------------===//
#pragma once

#include "frontend/importer/Importer.h"
#include "passes/driver/PassManager.h"

namespace moec {

/// Runs a pipeline of passes over the module; what they remark goes to
/// `remarks`, if it is not null. `place` names the text in messages.
llvm::Error rewriteModule(Module &module, llvm::StringRef pipeline,
                          llvm::StringRef place,
                          std::vector<Remark> *remarks = nullptr);

/// Rewrites the module by the pass `upcycle` with these options (a pipeline
/// string such as `experts=8,top_k=2`).
llvm::Error upcycleModule(Module &module, llvm::StringRef options,
                          std::vector<Remark> *remarks = nullptr);

/// A copy of the graph, without assets, to compare with what it becomes.
llvm::Expected<std::unique_ptr<Module>> copyGraph(Module &module);

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
