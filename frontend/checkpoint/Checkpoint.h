//===- Checkpoint.h - what every model file gives -------------------------===//
//
// Named tensors in mapped files, and settings. The readers in frontend/hf,
// frontend/gguf and frontend/llama2c make it; they have checked that every
// tensor lies inside its file and that its size fits its shape.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/checkpoint/Config.h"
#include "ir/support/ElementType.h"
#include "ir/support/Hash.h"
#include "ir/support/Location.h"
#include "ir/support/MappedFile.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec {

enum class CheckpointFormat { huggingFace, gguf, llama2c };

/// "hf", "gguf", "llama2c".
llvm::StringRef formatName(CheckpointFormat format);

struct CheckpointTensor {
  /// As the file names it.
  std::string name;
  ElementType type = ElementType::f32;
  /// Outermost dimension first, whatever the file's own order.
  std::vector<int64_t> shape;
  /// Index into `Checkpoint::files`.
  unsigned file = 0;
  /// From the start of the file.
  uint64_t byteOffset = 0;
  uint64_t byteSize = 0;
};

class Checkpoint {
public:
  Checkpoint(CheckpointFormat format, std::string path, Config config)
      : format(format), path(std::move(path)), config(std::move(config)) {}

  CheckpointFormat format;
  /// The directory or file that the user named.
  std::string path;
  Config config;
  /// Things that a user should know and that change nothing.
  std::vector<std::string> warnings;

  /// Adds a file and returns its index.
  unsigned addFile(std::shared_ptr<const MappedFile> file);
  /// Adds a tensor that lies inside its file; false if the name is taken.
  bool addTensor(CheckpointTensor tensor);
  /// Lets `find(name)` give the tensor `stored`; false if there is no such
  /// tensor or the name is taken.
  bool addAlias(llvm::StringRef name, llvm::StringRef stored);

  llvm::ArrayRef<std::shared_ptr<const MappedFile>> files() const {
    return mappedFiles;
  }
  /// In the order of the files.
  llvm::ArrayRef<CheckpointTensor> tensors() const { return allTensors; }
  /// The tensor of this name or alias, or null.
  const CheckpointTensor *find(llvm::StringRef name) const;

  const std::string &filePath(const CheckpointTensor &tensor) const {
    return mappedFiles[tensor.file]->path();
  }
  Location locationOf(const CheckpointTensor &tensor) const;
  llvm::ArrayRef<uint8_t> bytes(const CheckpointTensor &tensor) const {
    return mappedFiles[tensor.file]->bytes().slice(size_t(tensor.byteOffset),
                                                   size_t(tensor.byteSize));
  }
  /// Decodes elements [first, first + out.size()), which must exist.
  void readF32(const CheckpointTensor &tensor, uint64_t first,
               llvm::MutableArrayRef<float> out) const;
  /// Gives back the memory of the tensor's pages.
  void dropPages(const CheckpointTensor &tensor) const;

  /// Names the source: SHA-256 over the settings' text and each file's name
  /// and SHA-256, in order.
  llvm::Expected<Digest> digest(ProgressFn progress = nullptr) const;

private:
  std::vector<std::shared_ptr<const MappedFile>> mappedFiles;
  std::vector<CheckpointTensor> allTensors;
  llvm::StringMap<size_t> byName;
};

} // namespace moec
