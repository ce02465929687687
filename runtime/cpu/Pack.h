//===- Pack.h - weights into the layouts that kernels read ----------------===//
#pragma once

#include "runtime/hal/Device.h"

#include <optional>

namespace moec::runtime {

class ThreadPool;

/// Bytes of a weight of `shape` in `layout`; nothing on overflow or where a
/// row is no whole number of blocks.
std::optional<uint64_t> packedBytes(const WeightLayout &layout,
                                    llvm::ArrayRef<int64_t> shape);

/// Whether `weight` is already what `layout` asks for, so that its own bytes
/// can serve.
bool isPackedAlready(const WeightLayout &layout, const HostTensor &weight);

/// Writes weights (two for gatedPanels) into `out`, which holds exactly
/// `packedBytes` bytes. Values are converted through f32 where the encoding
/// differs from the element. Bytes do not depend on the number of threads.
llvm::Error packWeight(const WeightLayout &layout,
                       llvm::ArrayRef<HostTensor> weights,
                       llvm::MutableArrayRef<uint8_t> out, ThreadPool &pool);

} // namespace moec::runtime
