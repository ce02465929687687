//===- EmitCpu.h - kernel specs to LLVM bitcode ---------------------------===//
//
// Emitting is a pure function of the spec and the level: the same bytes on
// every machine. The functions that come out have the type of
// runtime/schema/KernelAbi.h, call nothing outside their module and name the
// target features that they need themselves.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/emit/AnySpec.h"
#include "codegen/emit/KernelCode.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>

namespace moec::cpu {

/// What the code may use, lowest first. Each x86 level includes those before
/// it; Generic needs nothing beyond the target's base.
enum class CpuLevel { Generic, Avx2, Avx512, Avx512Bf16, Amx };

inline constexpr CpuLevel kCpuLevels[] = {CpuLevel::Generic, CpuLevel::Avx2,
                                          CpuLevel::Avx512,
                                          CpuLevel::Avx512Bf16, CpuLevel::Amx};

/// The plan variant's name: `cpu-generic`, `cpu-x86-avx2`, `cpu-x86-avx512`,
/// `cpu-x86-avx512bf16`, `cpu-x86-amx`.
llvm::StringRef variantName(CpuLevel level);

/// LLVM names of the features that a host must have: `avx2`, `fma`, ...
llvm::ArrayRef<llvm::StringRef> requiredFeatures(CpuLevel level);

using kernel::GridFactor;
using kernel::WeightLayout;

/// A kernel as a plan stores it.
struct CpuKernel {
  std::string symbol;
  /// An LLVM module that defines `symbol` and nothing else that is visible.
  std::string bitcode;
  /// None: one task.
  llvm::SmallVector<GridFactor, 2> grid;
  uint64_t scratchBytes = 0;
  unsigned buffers = 0;
  unsigned extents = 0;
  /// Of the weight operand, for GEMM kinds.
  std::optional<WeightLayout> weight;
};

/// Why `spec` cannot be emitted at `level`; nothing if it can.
std::optional<std::string> supports(const kernel::AnySpec &spec,
                                    CpuLevel level);

/// The layout of the weight of a GEMM kind, as `emitCpu` will report it;
/// depends on the level and the element types only.
WeightLayout weightLayout(ElementType a, ElementType w, bool gated,
                          CpuLevel level);

/// Emits a spec that `supports` accepts.
CpuKernel emitCpu(const kernel::AnySpec &spec, CpuLevel level);

} // namespace moec::cpu
