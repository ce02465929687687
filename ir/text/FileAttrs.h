//===- FileAttrs.h - what the text says of a checkpoint -------------------===//
#pragma once

#include "ir/core/Attribute.h"

namespace moec {

/// `file @src = "model.gguf" {bytes = 1234, sha256 = "ab..."}`.
struct FileAttrs final : AttrsOf<FileAttrs> {
  int64_t bytes = 0;
  std::string sha256;
  template <typename V> void fields(V &v) {
    v.field("bytes", bytes);
    v.field("sha256", sha256);
  }
};

} // namespace moec
