//===- KernelAbi.h - how the runtime calls a CPU kernel -------------------===//
//
// The compiler emits, and the runtime calls, functions of one type. A kernel
// is called once or more per launch, each time with a half-open range of its
// tasks. Tasks of one launch may run in any order and on any thread, and none
// reads what another one writes; so a result does not depend on the number of
// threads. A launch begins when the one before it has ended.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// buffers    one pointer per buffer of the launch, in the order of the kernel
///            op's operands, then its results; 64-byte aligned (weights in
///            row-major layout: aligned to their element)
/// extents    the launch's extents, evaluated from its polynomials
/// taskBegin, taskEnd   the tasks to run, within [0, tasks of the launch)
/// scratch    `scratchBytes` of the kernel, 64-byte aligned, private to the
///            calling thread, contents undefined
typedef void (*MoecKernel)(void *const *buffers, const int64_t *extents,
                           int64_t taskBegin, int64_t taskEnd, void *scratch);

#ifdef __cplusplus
}
#endif
