#include "tools/recipes/OptionHelp.h"

using namespace moec;

namespace {
struct Help {
  llvm::StringLiteral option, text;
};
} // namespace

static constexpr Help kHelp[] = {
    {"init", "what experts are made of"},
    {"then", "what is done to each of them afterwards"},
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
    {"init_std", "deviation of drawn experts and adapters"},
    {"rank", "width of the experts' adapters"},
    {"adapter_init", "what the adapters' last matrices start as"},
    {"adapter_scale", "factor of the adapters' output"},
    {"router", "the order of scores and choice, and what becomes of the "
               "chosen scores"},
    {"router_form", "a router of one matrix, or of two with tanh between them"},
    {"router_init", "what the router's rows are"},
    {"router_std", "deviation of the first router"},
    {"router_score", "router=custom: scores of logits"},
    {"router_select", "router=custom: how experts are chosen"},
    {"router_renorm", "router=custom: what becomes of the chosen scores"},
    {"router_norm", "logits brought to mean 0 and deviation 1 first"},
    {"router_logit_scale", "factor of the logits, after their norm"},
    {"router_groups", "groups of experts, of which the best are taken first"},
    {"router_top_groups", "groups a token"},
    {"router_group_score", "how a group is scored"},
    {"router_mask_value", "scores of groups that are not taken"},
    {"router_threshold", "threshold, probability of top-p, or jitter"},
    {"router_threshold_by_experts", "the threshold is for score * experts"},
    {"router_epsilon", "added to the sum that chosen scores are divided by"},
    {"router_minimum", "least sum that chosen scores are divided by"},
    {"router_scale", "factor of the router's weights"},
    {"capacity", "an expert takes so much of its even share at most (0: all)"},
    {"capacity_drop", "who is dropped above it: the last, or the lightest"},
    {"router_bias", "a bias of the logits, which starts as 0"},
    {"select_bias", "a bias that only the choice sees, which starts as 0"},
    {"weight_applied_to", "what a router's weight multiplies"},
    {"attention", "attention as it is, or heads as experts"},
    {"attention_experts", "groups of heads (0: as many as one KV head has)"},
    {"attention_top_k", "groups of heads a token (0: all)"},
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
