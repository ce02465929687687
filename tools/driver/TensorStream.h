//===- TensorStream.h - tensors computed and written as they come ---------===//
#pragma once

#include "frontend/exporter/InvertRules.h"
#include "ir/support/Hash.h"
#include "ir/weights/Materialize.h"

namespace moec {

using WorkProgress = llvm::function_ref<void(uint64_t done, uint64_t total)>;

/// Where streamed tensors go. Called from several threads.
class TensorSink {
public:
  virtual ~TensorSink() = default;
  /// Whether tensor `index` is there already.
  virtual bool isComplete(size_t /*index*/) const { return false; }
  virtual llvm::Error write(size_t index, uint64_t byteOffset,
                            llvm::ArrayRef<uint8_t> bytes) = 0;
  virtual llvm::Error complete(size_t /*index*/, const Digest &) {
    return llvm::Error::success();
  }
};

/// Computes every tensor and writes it, piece by piece: a bank takes the
/// memory of one expert. Large pieces one at a time, small ones on all threads.
/// Progress counts elements.
llvm::Error streamTensors(llvm::ArrayRef<ExportTensor> tensors,
                          TensorReader &reader, unsigned threads,
                          TensorSink &sink, WorkProgress progress);

} // namespace moec
