//===- Cuda.h - cuda.h with every version of every call declared ----------===//
//
// The one place that includes the toolkit's header: as the driver itself sees
// it, without the macros that rename calls to their newest version, so that
// cuMemAlloc_v2 is written as what it is and its prototype is checked.
//
//===----------------------------------------------------------------------===//
#pragma once

#define __CUDA_API_VERSION_INTERNAL 1
#include <cuda.h> // IWYU pragma: export

#include <cudaProfiler.h> // IWYU pragma: export
