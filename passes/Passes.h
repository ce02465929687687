//===- Passes.h - every pass ----------------------------------------------===//
#pragma once

#include "passes/driver/Pass.h"

namespace moec {
#define PASS(Name, ...) std::unique_ptr<Pass> create##Name();
#include "passes/Passes.def"
} // namespace moec
