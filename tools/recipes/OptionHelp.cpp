#include "tools/recipes/OptionHelp.h"

using namespace moec;

namespace {
struct Help {
  llvm::StringLiteral option, text;
};
} // namespace

static constexpr Help kHelp[] = {
    {"init", "what experts are made of"},
    {"experts", "routed experts a layer"},
    {"top_k", "experts a token"},
    {"seed", "of everything drawn"},
    {"layers", "all, or such as 0-11,13"},
    {"granularity", "experts that make up one copy of the dense FFN"},
    {"expert_width", "neurons of an expert; 0: from the granularity"},
    {"scaling", "which matrices carry the constant that makes up for the "
                "router's weights"},
    {"weight_scale", "that constant; 0: from router, E, G and T"},
    {"split_by", "which neurons an expert gets"},
    {"permute", "shuffle neurons first, which preserves the function"},
    {"shared_experts", "experts that every token uses"},
    {"shared_width", "neurons of the shared experts together"},
    {"shared_init", "what shared experts are made of"},
    {"shared_scale", "factor of the shared experts' output"},
    {"shared_gate", "a sigmoid gate on the shared experts"},
    {"rank", "width of the experts' adapters"},
    {"init_std", "deviation of experts and adapters that are drawn"},
    {"adapter_init", "what the adapters' up projections are"},
    {"adapter_scale", "factor of the adapters' output"},
    {"router", "the order of scores and choice, and what becomes of the "
               "chosen scores"},
    {"router_init", "what the router's rows are"},
    {"router_std", "deviation of the first router"},
    {"router_score", "scores of logits"},
    {"router_bias", "a bias of the router"},
    {"router_select", "which experts a token takes (router=custom)"},
    {"router_renorm", "what becomes of the chosen scores (router=custom)"},
    {"router_logit_scale", "factor of the logits"},
    {"router_groups", "groups of experts that are chosen first"},
    {"router_top_groups", "groups a token may take experts of"},
    {"router_group_score", "what a group is chosen by"},
    {"router_mask_value", "scores of experts of other groups"},
    {"router_threshold_by_experts", "the threshold is divided by the experts"},
    {"router_epsilon", "added to the sum that scores are divided by"},
    {"router_minimum", "the least that scores are divided by"},
    {"capacity", "experts take this many times their even share at most; 0: "
                 "all"},
    {"capacity_drop", "which tokens an expert loses beyond its capacity"},
    {"weight_applied_to", "what a token's weight for an expert multiplies"},
    {"router_norm", "logits brought to mean 0 and deviation 1 first"},
    {"router_scale", "factor of the router's weights"},
    {"router_threshold", "threshold, or cumulative probability of top-p"},
    {"select_bias", "a bias that only the choice sees"},
    {"attention", "attention as it is, or heads as experts"},
    {"attention_experts", "experts that the heads make; 0: heads for each KV "
                          "head"},
    {"attention_top_k", "of those, how many a token takes; 0: all"},
    {"drop_ratio", "share of neurons redrawn"},
    {"drop_set", "neurons redrawn: shared by gate, up and down (the paper), or "
                 "independent (the released code)"},
    {"drop_statistics", "mean and deviation of the selected weights or of the "
                        "whole matrix"},
    {"noise_std", "deviation of the noise"},
    {"noise_relative", "the noise is measured in the matrix's own deviation"},
    {"noise_ratio", "share of neurons that get noise"},
    {"noise_replace", "noise in the place of the weights"},
};

llvm::StringRef moec::optionHelp(llvm::StringRef option) {
  for (const Help &help : kHelp)
    if (help.option == option)
      return help.text;
  return "";
}
