//===- TensorRules.h - canonical forms of tensor ops ----------------------===//
#pragma once

#include "passes/rewrite/Rewrite.h"

namespace moec {

/// Rules that change no bit of any result, NaN payloads aside.
llvm::ArrayRef<RewriteRule> tensorRules();

} // namespace moec
