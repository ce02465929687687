//===- Kernels.h - one emitter per kind, one file each --------------------===//
#pragma once

#include "codegen/cpu/EmitCpu.h"

namespace moec::cpu {

class Emitter;

// Each emits the kernel's function into `e` and fills grid, scratchBytes and
// weight of `kernel`.
void emitAttention(Emitter &e, const kernel::AttentionSpec &, CpuKernel &);
void emitCombine(Emitter &e, const kernel::CombineSpec &, CpuKernel &);
void emitDispatch(Emitter &e, const kernel::DispatchSpec &, CpuKernel &);
void emitGateHeads(Emitter &e, const kernel::GateHeadsSpec &, CpuKernel &);
void emitGemm(Emitter &e, const kernel::GemmSpec &, CpuKernel &);
void emitKvAppend(Emitter &e, const kernel::KvAppendSpec &, CpuKernel &);
void emitRaggedGemm(Emitter &e, const kernel::RaggedGemmSpec &, CpuKernel &);
void emitRoute(Emitter &e, const kernel::RouteSpec &, CpuKernel &);
void emitRowwise(Emitter &e, const kernel::RowwiseSpec &, CpuKernel &);

} // namespace moec::cpu
