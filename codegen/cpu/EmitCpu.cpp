//===- EmitCpu.cpp --------------------------------------------------------===//

#include "codegen/cpu/EmitCpu.h"
#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/emit/CheckSpec.h"
#include "llvm/Support/ErrorHandling.h"

#include <cassert>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;
using namespace moec::kernel;

StringRef cpu::variantName(CpuLevel level) {
  switch (level) {
  case CpuLevel::Generic:
    return "cpu-generic";
  case CpuLevel::Avx2:
    return "cpu-x86-avx2";
  case CpuLevel::Avx512:
    return "cpu-x86-avx512";
  case CpuLevel::Avx512Bf16:
    return "cpu-x86-avx512bf16";
  case CpuLevel::Amx:
    return "cpu-x86-amx";
  }
  llvm_unreachable("all levels are listed");
}

ArrayRef<StringRef> cpu::requiredFeatures(CpuLevel level) {
  // A prefix for each level.
  static constexpr StringRef features[] = {
      "avx2",     "fma",      "f16c",       "avx512f",  "avx512bw",
      "avx512dq", "avx512vl", "avx512bf16", "amx-tile", "amx-bf16"};
  static constexpr size_t counts[] = {0, 3, 7, 8, 10};
  return ArrayRef(features).take_front(counts[size_t(level)]);
}

WeightLayout cpu::weightLayout(ElementType, ElementType w, bool gated,
                               CpuLevel level) {
  // Two vectors of sums on x86: see GemmCore for the tile that this gives.
  return {.gated = gated,
          .element = w,
          .panel = level >= CpuLevel::Avx512 ? 32u : 16u,
          .group = w == ElementType::bf16 ? 2u : 1u};
}

std::optional<std::string> cpu::supports(const AnySpec &spec, CpuLevel level) {
  // The base of x86-64 has no instruction for f16.
  return checkSpec(spec, /*convertsF16=*/level != CpuLevel::Generic);
}

namespace {

struct EmitKind {
  Emitter &e;
  CpuKernel &result;

  void operator()(const RowwiseSpec &spec) { emitRowwise(e, spec, result); }
  void operator()(const GemmSpec &spec) { emitGemm(e, spec, result); }
  void operator()(const RaggedGemmSpec &spec) {
    emitRaggedGemm(e, spec, result);
  }
  void operator()(const KvAppendSpec &spec) { emitKvAppend(e, spec, result); }
  void operator()(const AttentionSpec &spec) { emitAttention(e, spec, result); }
  void operator()(const RouteSpec &spec) { emitRoute(e, spec, result); }
  void operator()(const DispatchSpec &spec) { emitDispatch(e, spec, result); }
  void operator()(const CombineSpec &spec) { emitCombine(e, spec, result); }
  void operator()(const GateHeadsSpec &spec) { emitGateHeads(e, spec, result); }
};

} // namespace

CpuKernel cpu::emitCpu(const AnySpec &spec, CpuLevel level) {
  assert(!supports(spec, level) && "asked to emit an unsupported spec");
  CpuKernel result;
  result.symbol = name(spec);
  result.buffers = bufferCount(spec);
  result.extents = extentCount(spec);
  Emitter e(level, result.symbol);
  e.beginKernel();
  std::visit(EmitKind{e, result}, spec);
  result.bitcode = e.finish();
  return result;
}
