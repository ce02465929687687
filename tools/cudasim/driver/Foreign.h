//===- Foreign.h - operations of other simulated libraries ----------------===//
#pragma once

#include "tools/cudasim/driver/Queue.h"

#include <string>

namespace cudasim::driver {

struct ForeignOp;

std::string labelOf(const ForeignOp &foreign);
/// Makes `op` run a new instance of `foreign`.
void prepareForeign(Op &op, ForeignOp &foreign);

} // namespace cudasim::driver
