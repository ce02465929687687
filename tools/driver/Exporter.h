//===- Exporter.h - a module into another program's files -----------------===//
#pragma once

#include "frontend/exporter/ExportPlan.h"
#include "frontend/importer/Importer.h"

namespace moec {

struct ExportOptions {
  ExportRequest request;
  uint64_t maxShardBytes = 5'000'000'000;
  unsigned threads = 0;
  /// Plan only.
  bool dryRun = false;
};

struct ExportedFile {
  std::string name;
  uint64_t bytes = 0;
};

struct ExportReport {
  /// The target's name.
  std::string architecture;
  /// As in ExportPlan; of the files beside the tensors too.
  std::vector<std::string> changes, notes;
  /// Files that hold tensors.
  std::vector<ExportedFile> files;
  uint64_t tensors = 0, parameters = 0, bytes = 0;
  uint64_t resumedTensors = 0;
};

/// The element type that loses least: that of the sources where all matrices
/// share one, f32 beside f32, bf16 (GGUF: f16) of quantised ones.
ElementType naturalElement(const Module &module, ExportFormat format);

/// Writes `module` to the folder (Hugging Face) or file (GGUF) `path`, which
/// appears whole or not at all. A folder whose writing was interrupted is
/// taken up again.
llvm::Expected<ExportReport>
exportModel(Module &module, llvm::StringRef path, CheckpointReader &reader,
            const ExportOptions &options,
            llvm::function_ref<void(uint64_t, uint64_t)> progress);

} // namespace moec
