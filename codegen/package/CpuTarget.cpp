#include "codegen/package/CpuTarget.h"

#include "codegen/package/BindKernel.h"

using namespace moec;

std::optional<std::string>
CpuTarget::unsupported(const Operation &kernel) const {
  llvm::Expected<BoundKernel> bound = bindKernel(kernel);
  if (!bound) {
    std::string reason;
    llvm::handleAllErrors(
        bound.takeError(),
        [&](const Diagnostic &diagnostic) { reason = diagnostic.message; },
        [&](const llvm::ErrorInfoBase &other) { reason = other.message(); });
    return reason;
  }
  for (cpu::CpuLevel level : levels)
    if (auto reason = cpu::supports(bound->spec, level))
      return "cannot be compiled for " + cpu::variantName(level).str() + ": " +
             *reason;
  return std::nullopt;
}

std::optional<cpu::CpuLevel> moec::cpuLevelOf(llvm::StringRef variant) {
  for (cpu::CpuLevel level : cpu::kCpuLevels)
    if (cpu::variantName(level) == variant)
      return level;
  return std::nullopt;
}
