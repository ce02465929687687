//===- Handlers.cpp - which instruction set this processor runs -----------===//

#include "tools/cudasim/machine/HandlerPicks.h"

#include <cstdlib>
#include <cstring>

using namespace cudasim;

namespace {
constexpr HandlerSet kSets[] = {
    {v2::pickInteger, v2::pickFloat, v2::pickConvert, v2::pickMemory,
     v2::pickWarp, "x86-64-v2"},
    {v3::pickInteger, v3::pickFloat, v3::pickConvert, v3::pickMemory,
     v3::pickWarp, "x86-64-v3"},
    {v4::pickInteger, v4::pickFloat, v4::pickConvert, v4::pickMemory,
     v4::pickWarp, "x86-64-v4"},
};
} // namespace

const HandlerSet &cudasim::chooseHandlers(const char *limit) {
  // Tests and bug reports can ask for a lesser set.
  if (!limit)
    limit = getenv("MOEC_CUDASIM_ISA");
  int most = 2;
  if (limit && strstr(limit, "v2"))
    most = 0;
  else if (limit && strstr(limit, "v3"))
    most = 1;
  if (most >= 2 && __builtin_cpu_supports("x86-64-v4"))
    return kSets[2];
  if (most >= 1 && __builtin_cpu_supports("x86-64-v3"))
    return kSets[1];
  return kSets[0];
}
