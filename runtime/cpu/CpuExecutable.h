//===- CpuExecutable.h - a variant's kernels as functions -----------------===//
#pragma once

#include "runtime/cpu/JitLibrary.h"
#include "runtime/hal/Device.h"
#include "runtime/schema/KernelAbi.h"

namespace moec::runtime {

class ObjectCache;
struct CodeStatistics;

struct CpuKernel {
  MoecKernel function = nullptr;
  std::string name;
  unsigned buffers = 0;
  unsigned extents = 0;
};

class CpuExecutable final : public Executable {
public:
  /// Compiles what the cache has not, on `threads` threads, and links it.
  static llvm::Expected<std::unique_ptr<CpuExecutable>>
  load(const plan::Variant &variant, const JitLibrary &jit,
       const ObjectCache &cache, unsigned threads, CodeStatistics &statistics);

  llvm::ArrayRef<CpuKernel> kernels() const { return table; }
  /// Memory that only `thread` uses, as large as any kernel wants.
  void *scratchOf(unsigned thread) const;

private:
  std::unique_ptr<JitCode> code;
  std::vector<CpuKernel> table;
  std::unique_ptr<Buffer> scratch;
  uint64_t scratchStride = 0;
};

} // namespace moec::runtime
