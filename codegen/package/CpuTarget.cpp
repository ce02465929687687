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

bool CpuTarget::takesWeights(ElementType weights,
                             ElementType activations) const {
  int64_t row = blockElements(weights);
  kernel::GemmSpec dense;
  kernel::RaggedGemmSpec ragged;
  dense.n = ragged.n = ragged.experts = 1;
  dense.k = ragged.k = row;
  dense.a = dense.out = ragged.a = ragged.out = activations;
  dense.w = ragged.w = weights;
  kernel::RowwiseSpec lookup;
  lookup.operands = {{ElementType::i32}, {weights}};
  lookup.ops = {{.kind = kernel::RowOp::Kind::Gather,
                 .buffer = 1,
                 .index = 0,
                 .width = row}};
  lookup.stores = {{0, activations}};
  for (cpu::CpuLevel level : levels)
    for (const kernel::AnySpec &spec :
         {kernel::AnySpec(dense), kernel::AnySpec(ragged),
          kernel::AnySpec(lookup)})
      if (cpu::supports(spec, level))
        return false;
  return true;
}

std::optional<cpu::CpuLevel> moec::cpuLevelOf(llvm::StringRef variant) {
  for (cpu::CpuLevel level : cpu::kCpuLevels)
    if (cpu::variantName(level) == variant)
      return level;
  return std::nullopt;
}
