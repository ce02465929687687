//===- CheckOptions.cpp - options that contradict one another -------------===//

#include "passes/upcycle/CheckOptions.h"

#include "ir/support/Diagnostic.h"

#include <cmath>

using namespace moec;

static llvm::Error checkNumbers(const UpcycleOptions &options) {
  if (options.experts < 1 || options.experts > 4096)
    return error() << "experts is " << options.experts << ", expects 1 to 4096";
  if (options.topk < 1 || options.topk > options.experts)
    return error() << "top-k is " << options.topk << ", but there are "
                   << options.experts << " experts";
  for (auto [name, ratio] : {std::pair("drop ratio", options.dropRatio),
                             std::pair("noise ratio", options.noiseRatio)})
    if (!(ratio >= 0 && ratio <= 1))
      return error() << name << " is " << ratio << ", outside [0, 1]";
  for (auto [name, number] :
       {std::pair("router std", options.routerStd),
        std::pair("noise std", options.noiseStd),
        std::pair("init std", options.initStd),
        std::pair("weight scale", options.weightScale),
        std::pair("shared scale", options.sharedScale),
        std::pair("adapter scale", options.adapterScale),
        std::pair("router epsilon", options.routerEpsilon),
        std::pair("router minimum", options.routerMinimum),
        std::pair("capacity", options.capacity)})
    if (!(number >= 0 && number < 1e6))
      return error() << name << " is " << number << ", expects 0 or more";
  for (auto [name, number] :
       {std::pair("router scale", options.routerScale),
        std::pair("logit scale", options.logitScale),
        std::pair("router threshold", options.routerThreshold)})
    if (!std::isfinite(number))
      return error() << name << " is " << number << ", expects a finite number";
  for (auto [name, number, least] :
       {std::tuple("granularity", options.granularity, 1),
        std::tuple("expert width", options.expertWidth, 0),
        std::tuple("rank", options.rank, 1),
        std::tuple("shared experts", options.sharedExperts, 0),
        std::tuple("shared width", options.sharedWidth, 0),
        std::tuple("router groups", options.routerGroups, 1),
        std::tuple("router top groups", options.topGroups, 1),
        std::tuple("attention experts", options.attentionExperts, 0),
        std::tuple("attention top-k", options.attentionTopk, 0)})
    if (number < least || number > (1 << 24))
      return error() << name << " is " << number << ", expects " << least
                     << " to " << (1 << 24);
  return llvm::Error::success();
}

llvm::Error moec::checkOptions(const UpcycleOptions &options) {
  MOEC_TRY(checkNumbers(options));
  auto policy = enumNames(options.init)[unsigned(options.init)];
  auto is = [&](std::initializer_list<InitPolicy> policies) {
    return llvm::is_contained(policies, options.init);
  };
  bool redrawn = is({InitPolicy::drop, InitPolicy::qwen2});
  if ((options.then == ThenPolicy::drop && redrawn) ||
      (options.then == ThenPolicy::noise && is({InitPolicy::noise})) ||
      (options.then != ThenPolicy::none && is({InitPolicy::low_rank})))
    return error() << "then=" << enumNames(options.then)[unsigned(options.then)]
                   << " does nothing more to experts of init=" << policy;
  if (options.granularity != 1 &&
      !is({InitPolicy::virtual_group, InitPolicy::qwen2, InitPolicy::scratch}))
    return error() << "granularity is " << options.granularity
                   << ", but init=" << policy
                   << " cuts no copies of the FFN into experts; use "
                      "init=virtual_group, qwen2 or scratch";
  if (options.expertWidth && !is({InitPolicy::qwen2, InitPolicy::scratch}))
    return error() << "expert_width is " << options.expertWidth
                   << ", but init=" << policy
                   << " gives experts their width; use init=qwen2 or scratch";
  if (options.init == InitPolicy::virtual_group &&
      options.experts % options.granularity)
    return error() << "granularity is " << options.granularity
                   << ", which does not divide " << options.experts
                   << " experts into whole copies of the FFN";
  if (options.splitBy != SplitBy::contiguous &&
      options.init != InitPolicy::split)
    return error() << "split_by is for init=split, but init is " << policy;
  if (options.permute &&
      !is({InitPolicy::copy, InitPolicy::noise, InitPolicy::drop}))
    return error() << "permute is for init=copy, noise or drop, but init is "
                   << policy;
  if (options.weightScale != 0 && options.scaling == WeightScaling::none)
    return error() << "weight_scale is " << options.weightScale
                   << ", but scaling=none uses no scale";
  bool shared = options.sharedExperts || options.sharedWidth;
  if (!shared && (options.sharedGate || options.sharedScale != 1 ||
                  options.sharedInit != SharedInit::copy))
    return error() << "shared_init, shared_scale and shared_gate need "
                      "shared_experts or shared_width";
  if (options.init == InitPolicy::low_rank &&
      (shared || options.scaling != WeightScaling::none))
    return error() << "init=low_rank keeps the dense FFN as it is and has "
                      "neither shared experts nor scaling";
  if (options.router != RouterKind::custom &&
      (options.routerScore != RouterScore::softmax ||
       options.routerSelect != RouterSelect::topk ||
       options.routerRenorm != RouterRenorm::none))
    return error() << "router_score, router_select and router_renorm are for "
                      "router=custom, but router is "
                   << enumNames(options.router)[unsigned(options.router)];
  if (options.attention == AttentionInit::dense &&
      (options.attentionExperts || options.attentionTopk))
    return error() << "attention_experts and attention_top_k need "
                      "attention=mixture";
  return llvm::Error::success();
}
