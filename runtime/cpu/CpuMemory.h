//===- CpuMemory.h - buffers of the CPU device ----------------------------===//
#pragma once

#include "runtime/hal/Device.h"

namespace moec::runtime {

/// Zeroed memory, aligned to 64 bytes, in huge pages where it is large.
llvm::Expected<std::unique_ptr<Buffer>> allocateCpuBuffer(uint64_t bytes);

class CpuMapping;

/// Memory for buffers that live about equally long, one behind another, so that
/// those of less than a huge page lie in huge pages too. It is given back once
/// all neighbours are gone.
class CpuMemoryPool {
public:
  /// As allocateCpuBuffer.
  llvm::Expected<std::unique_ptr<Buffer>> allocate(uint64_t bytes);

private:
  std::shared_ptr<const CpuMapping> mapping;
  uint64_t used = 0;
};

/// A buffer over memory that somebody else owns.
std::unique_ptr<Buffer> adoptCpuMemory(llvm::ArrayRef<uint8_t> bytes,
                                       std::shared_ptr<const void> owner);

inline void *hostAddress(DevicePtr address) {
  return reinterpret_cast<void *>(uintptr_t(address));
}

} // namespace moec::runtime
