#include "tools/driver/RouterRows.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

static bool isZero(llvm::ArrayRef<float> row) {
  return llvm::all_of(row, [](float x) { return x == 0; });
}

static bool isOneDirection(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) {
  double ab = dotProduct(a, b), aa = dotProduct(a, a), bb = dotProduct(b, b);
  return aa > 0 && bb > 0 && ab > (1 - 1e-6) * std::sqrt(aa * bb);
}

std::vector<std::string> moec::warningsOfRows(llvm::ArrayRef<Rows> routers,
                                              const RowNames &names) {
  std::vector<std::string> warnings;
  size_t experts = routers.empty() ? 0 : routers[0].count();
  size_t groups = std::max<int64_t>(names.groups, 1);
  auto name = [&](size_t expert) {
    return expert / groups < names.experts.size()
               ? "'" + names.experts[expert / groups] + "'"
               : std::to_string(expert);
  };
  auto tell = [&](const std::string &what, size_t in) {
    if (in)
      warnings.push_back(what + " in " + std::to_string(in) + " of " +
                         std::to_string(routers.size()) + " layers; " +
                         names.remedy);
  };
  for (size_t a = 0; a < experts; a += groups) {
    tell("the router row of expert " + name(a) + " is zero",
         llvm::count_if(routers,
                        [&](const Rows &rows) { return isZero(rows[a]); }));
    for (size_t b = a + groups; b < experts; b += groups)
      tell("experts " + name(a) + " and " + name(b) +
               " have equal centroids, so that the lower one always wins,",
           llvm::count_if(routers, [&](const Rows &rows) {
             return isOneDirection(rows[a], rows[b]);
           }));
  }
  return warnings;
}
