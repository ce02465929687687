//===- Pack.h - weights into the layouts that kernels read ----------------===//
#pragma once

#include "runtime/hal/Device.h"

#include <memory>

namespace moec::runtime {

class ThreadPool;

/// Whether `weight` is already what `layout` asks for, so that its own bytes
/// can serve.
bool isPackedAlready(const WeightLayout &layout, const HostTensor &weight);

/// Writes weights in a layout, any part of them at a time. Values are converted
/// through f32 where the encoding differs from the element. The bytes depend on
/// nothing but the weights and the layout.
class WeightPacker {
public:
  /// Of two weights of one shape for gatedPanels, else of one. The packer keeps
  /// their owners.
  static llvm::Expected<WeightPacker>
  create(const WeightLayout &layout, llvm::ArrayRef<HostTensor> weights);
  WeightPacker(WeightPacker &&);
  ~WeightPacker();

  /// Bytes of the packed weight.
  uint64_t bytes() const;
  /// Parts that begin and end at multiples of this cost no work twice.
  uint64_t unitBytes() const;
  /// Writes bytes [first, first + out.size()). For any thread.
  void pack(uint64_t first, llvm::MutableArrayRef<uint8_t> out) const;

private:
  struct Plan;
  explicit WeightPacker(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan;
};

/// Writes all of a packed weight into `out`, which holds exactly `packedBytes`
/// bytes, on all threads.
llvm::Error packWeight(const WeightLayout &layout,
                       llvm::ArrayRef<HostTensor> weights,
                       llvm::MutableArrayRef<uint8_t> out, ThreadPool &pool);

} // namespace moec::runtime
