//===- NoFiles.h - tensors of modules that have no files ------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "ir/weights/Materialize.h"

namespace moec {

/// For modules whose weights are all computed from nothing.
class NoFiles final : public TensorReader {
public:
  llvm::Error readF32(const SourceFile &, const SourceAttrs &, uint64_t,
                      llvm::MutableArrayRef<float>) override {
    return error() << "no files";
  }
  llvm::Expected<llvm::ArrayRef<uint8_t>> bytes(const SourceFile &,
                                                const SourceAttrs &) override {
    return error() << "no files";
  }
  std::optional<Place> place(const SourceFile &, const SourceAttrs &) override {
    return std::nullopt;
  }
};

} // namespace moec
