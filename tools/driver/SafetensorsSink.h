//===- SafetensorsSink.h - streamed tensors into safetensors --------------===//
#pragma once

#include "ir/support/SafetensorsWriter.h"
#include "tools/driver/TensorStream.h"

namespace moec {

class SafetensorsSink final : public TensorSink {
public:
  /// Opens the shards in `folder`, or takes up those of an earlier run that
  /// had the same `identity` and tensors.
  static llvm::Expected<SafetensorsSink>
  create(llvm::StringRef folder, llvm::ArrayRef<ExportTensor> tensors,
         uint64_t maxShardBytes, llvm::StringRef identity, unsigned threads);

  SafetensorsWriter &writer() { return shards; }
  /// Of all shards, headers included.
  uint64_t bytes() const;

  bool isComplete(size_t index) const override {
    return shards.isComplete(index);
  }
  llvm::Error write(size_t index, uint64_t byteOffset,
                    llvm::ArrayRef<uint8_t> bytes) override {
    return shards.write(index, byteOffset, bytes);
  }
  llvm::Error complete(size_t index, const Digest &digest) override {
    return shards.complete(index, digest);
  }

private:
  explicit SafetensorsSink(SafetensorsWriter writer)
      : shards(std::move(writer)) {}
  SafetensorsWriter shards;
};

/// What the tensors are called and how large they are.
std::vector<SafetensorsLayout>
safetensorsLayout(llvm::ArrayRef<ExportTensor> tensors);

/// The metadata of every file that moec writes.
SafetensorsMetadata safetensorsMetadata();

/// Of an error while a folder was written: that what is there is taken up
/// again.
llvm::Error withResumeNote(llvm::Error err, llvm::StringRef temporary);

} // namespace moec
