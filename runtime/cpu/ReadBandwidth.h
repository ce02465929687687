//===- ReadBandwidth.h - what the memory yields right now -----------------===//
#pragma once

#include "llvm/Support/Error.h"

#include <cstdint>

namespace moec::runtime {

class ThreadPool;

/// Bytes a second that all threads of the pool read together from `bytes` of
/// memory of their own, several streams a thread; the best of `rounds`. Much
/// more than the caches hold gives the limit of a decode step.
llvm::Expected<double>
measureReadBandwidth(ThreadPool &pool, uint64_t bytes = uint64_t(256) << 20,
                     unsigned rounds = 3);

} // namespace moec::runtime
