//===- CpuTarget.h - TargetQueries of CPUs --------------------------------===//
#pragma once

#include "codegen/cpu/EmitCpu.h"
#include "ir/target/TargetQueries.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace moec {

/// CPUs of some levels; what one of them lacks stands in the way.
class CpuTarget final : public TargetQueries {
public:
  explicit CpuTarget(llvm::ArrayRef<cpu::CpuLevel> levels)
      : levels(levels.begin(), levels.end()) {}

  std::optional<std::string>
  unsupported(const Operation &kernel) const override;
  bool takesWeights(ElementType weights,
                    ElementType activations) const override;

private:
  llvm::SmallVector<cpu::CpuLevel, 5> levels;
};

/// The level of a variant's name, such as `cpu-x86-avx2`.
std::optional<cpu::CpuLevel> cpuLevelOf(llvm::StringRef variant);

} // namespace moec
