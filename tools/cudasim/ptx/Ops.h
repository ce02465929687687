//===- Ops.h - the meanings that op forms have ----------------------------===//
#pragma once

#include <cstdint>

namespace cudasim::ptx {

enum class Op : uint8_t {
#define OP(NAME) NAME,
#include "tools/cudasim/ptx/Ops.def"
};

} // namespace cudasim::ptx
