//===- RouteOptions.h - a recipe's router as attributes -------------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"

namespace moec {

/// What moe.route gets.
RouteAttrs routeAttrs(const UpcycleOptions &options);

/// What a router of zero rows does to each token: how many experts it takes and
/// the weight of each. Nothing where that is not the same for every token.
struct ZeroRouter {
  int64_t chosen = 0;
  double weight = 0;
};
std::optional<ZeroRouter> zeroRouter(const UpcycleOptions &options);

/// Whether the weights of the chosen experts add up to one number (route.scale)
/// whatever the router's weights are.
bool weightsAddUp(const UpcycleOptions &options);

} // namespace moec
