//===- Collective.h - from calls to operations in streams -----------------===//
#pragma once

#include "tools/cudasim/fakes/nccl/Comm.h"

namespace cudasim::nccl {

/// What is submitted as one operation: a collective, or all messages of a
/// group in one stream, which go forward together.
struct Order {
  ncclComm_t comm = nullptr;
  std::vector<Call> calls;
};

/// The bytes that a rank reads and those that it writes.
std::pair<size_t, size_t> extents(const Call &call, int rank, int ranks);

inline CUdeviceptr addressOf(const void *pointer) {
  return reinterpret_cast<CUdeviceptr>(pointer);
}

/// Puts calls of one communicator in a stream as one operation.
ncclResult_t submit(ncclComm_t comm, CUstream stream, std::vector<Call> calls);

} // namespace cudasim::nccl
