//===- Copies.h - checking copies and fills before they are submitted -----===//
#pragma once

#include "tools/cudasim/driver/Driver.h"
#include "tools/cudasim/driver/Work.h"

namespace cudasim::driver {

/// From the parameters of cuMemcpy3D and of graph nodes.
CUresult makeCopy(const CUDA_MEMCPY3D &params, CopyWork &work);
/// Whether both sides may be accessed now.
CUresult checkCopy(const CopyWork &work);
CUresult checkSet(const SetWork &work);

/// Host memory that was neither pinned nor registered.
bool isPageable(const Side &side);

} // namespace cudasim::driver
