//===- Importer.h - a model file to a module ------------------------------===//
#pragma once

#include "frontend/checkpoint/Checkpoint.h"
#include "frontend/layers/Decoder.h"
#include "ir/weights/Materialize.h"

#include <map>
#include <mutex>

namespace moec {

struct ImportOptions {
  /// A tokenizer file or folder, for models that bring none.
  std::string tokenizer;
  /// longrope has two sets of rotary factors, and a program holds one: those
  /// for sequences up to the context before the scaling, which then is the
  /// context, or (if this is set) those for longer ones, for all sequences.
  bool longContext = false;
  DecoderOptions decoder;
};

struct ImportedModel {
  std::unique_ptr<Module> module;
  std::vector<std::string> warnings;
};

/// Reads a model into a module: program `step`, weights as expressions over the
/// checkpoint's tensors, the tokenizer as asset `tokenizer`.
llvm::Expected<ImportedModel> importModel(llvm::StringRef path,
                                          const ImportOptions &options = {});

/// Reads source tensors from the checkpoints that a module names. Files are
/// opened once, when first needed, and stay mapped.
class CheckpointReader final : public TensorReader {
public:
  /// Relative paths are relative to `baseFolder`.
  explicit CheckpointReader(std::string baseFolder = "")
      : baseFolder(std::move(baseFolder)) {}

  llvm::Error readF32(const SourceFile &file, const SourceAttrs &tensor,
                      uint64_t first,
                      llvm::MutableArrayRef<float> out) override;
  llvm::Expected<llvm::ArrayRef<uint8_t>>
  bytes(const SourceFile &file, const SourceAttrs &tensor) override;
  std::optional<Place> place(const SourceFile &file,
                             const SourceAttrs &tensor) override;
  /// SHA-256 of the checkpoint (Checkpoint::digest), as hex.
  llvm::Expected<std::string> digest(const SourceFile &file,
                                     ProgressFn progress = nullptr);
  /// Gives back the memory of a tensor's pages.
  void drop(const SourceFile &file, const SourceAttrs &tensor);

private:
  llvm::Expected<const Checkpoint *> open(const SourceFile &file);
  llvm::Expected<std::pair<const Checkpoint *, const CheckpointTensor *>>
  find(const SourceFile &file, const SourceAttrs &tensor);

  std::string baseFolder;
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Checkpoint>> opened;
};

} // namespace moec
