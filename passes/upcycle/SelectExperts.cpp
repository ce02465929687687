//===- SelectExperts.cpp - other experts run, with the same weights -------===//
//
// Before:  moe.route %l {k = 32, select = all}
// After:   moe.route %l {k = 32, select = threshold, threshold = 0.48,
//          threshold_by_experts}
//
// Why:     dense training, sparse inference (spec 3.5): every expert runs in
//          training, and a subset of the same weights afterwards.
// Legal:   for a block that matchMoeBlock knows. Scores and their renormalising
//          stay as they were trained.
// Order:   on the imported graph, before experts are expanded.
//
//===----------------------------------------------------------------------===//

#include "ir/ops/MoeBlock.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "passes/upcycle/EditExpert.h"
#include "passes/upcycle/Layers.h"
#include "runtime/schema/Facts.h"

using namespace moec;

namespace {
class SelectExperts final : public PassWith<SelectExpertsOptions> {
public:
  llvm::Error run(Module &module, PassContext &context) override;

private:
  llvm::Error select(Module &module, MoeBlockView &view);
};
} // namespace

llvm::Error SelectExperts::select(Module &module, MoeBlockView &view) {
  const SelectExpertsOptions &o = options();
  int64_t experts = view.expertCount();
  auto &route = view.route->attrs<RouteAttrs>();
  if (route.groups > 1 && o.select == RouterSelect::all)
    return opError(*view.route)
           << "has groups of experts, so that all of them cannot be chosen";
  if (o.topk < 0 || o.topk > experts)
    return opError(*view.route)
           << "has " << experts << " experts, but top_k is " << o.topk;
  if (o.select == RouterSelect::topk && !o.topk)
    return error() << "select=topk needs top_k, the experts of a token";
  route.select = o.select;
  // A bound on the experts of a token; all where it is not given.
  route.k = o.topk && o.select != RouterSelect::all ? o.topk : experts;
  route.threshold = o.threshold;
  route.thresholdByExperts = o.thresholdByExperts;
  route.capacity = 0;
  boundPairs(module, view, experts);
  return llvm::Error::success();
}

llvm::Error SelectExperts::run(Module &module, PassContext &context) {
  const SelectExpertsOptions &o = options();
  bool thresholds =
      o.select == RouterSelect::threshold || o.select == RouterSelect::topp;
  if (o.select == RouterSelect::expert_choice ||
      o.select == RouterSelect::sparse_mixer)
    return error() << "select is " << enumNames(o.select)[unsigned(o.select)]
                   << ", which other weights are trained for; expects topk, "
                      "topp, threshold or all";
  if (!thresholds && o.threshold != 0)
    return error() << "threshold is " << o.threshold
                   << ", but select=" << enumNames(o.select)[unsigned(o.select)]
                   << " has none";
  for (auto &program : module.programs()) {
    std::vector<Operation *> layers = feedForwardLayers(*program);
    MOEC_ASSIGN(std::set<int64_t> chosen, parseLayers(o.layers, layers.size()));
    for (int64_t layer : chosen)
      if (auto view = matchMoeBlock(*layers[layer])) {
        MOEC_TRY(select(module, *view));
        module.facts[facts::kTopk] = std::to_string(view->routeAttrs().k);
        context.count("routers changed");
      }
  }
  module.facts.erase("upcycle.exactness");
  std::string &edits = module.facts["upcycle.edits"];
  edits += (edits.empty() ? "" : " ") + options().str();
  return llvm::Error::success();
}

std::unique_ptr<Pass> moec::createSelectExperts() {
  return std::make_unique<SelectExperts>();
}
