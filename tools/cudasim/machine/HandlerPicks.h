//===- HandlerPicks.h - the handler choosers of each instruction set ------===//
#pragma once

#include "tools/cudasim/machine/Core.h"

namespace cudasim {

#define CUDASIM_DECLARE(ISA)                                                   \
  namespace ISA {                                                              \
  Handler pickInteger(const FormKey &key);                                     \
  Handler pickFloat(const FormKey &key);                                       \
  Handler pickConvert(const FormKey &key);                                     \
  Handler pickMemory(const FormKey &key);                                      \
  Handler pickWarp(const FormKey &key);                                        \
  }
CUDASIM_DECLARE(v2)
CUDASIM_DECLARE(v3)
CUDASIM_DECLARE(v4)
#undef CUDASIM_DECLARE

} // namespace cudasim
