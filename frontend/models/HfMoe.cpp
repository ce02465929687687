//===- HfMoe.cpp - experts in config.json ---------------------------------===//
#include "frontend/models/HfReader.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

llvm::Error HfReader::refuseExperts() {
  for (llvm::StringRef key : {"num_local_experts", "num_experts"})
    if (settings.has(key))
      return settings.errorAt(key)
             << "expected no experts in a '" << family->modelType
             << "' model, found '" << key << "'";
  return llvm::Error::success();
}

/// Qwen and OLMoE: softmax over all experts, as it is or divided by its sum.
llvm::Error HfReader::readQwenRouter(MoeConfig &moe) {
  MOEC_ASSIGN(bool isNormed, boolean("norm_topk_prob", false));
  moe.route.renorm = isNormed ? RouterRenorm::sum : RouterRenorm::none;
  return llvm::Error::success();
}

/// The scale of DeepSeek's weights, and the groups of experts that its routers
/// choose from.
static llvm::Error checkGroups(const Config &settings, const MoeConfig &moe) {
  const RouteAttrs &route = moe.route;
  if (moe.experts % route.groups)
    return settings.errorAt("n_group")
           << "expected the number of groups to divide the " << moe.experts
           << " experts, found " << route.groups;
  if (route.topGroups > route.groups)
    return settings.errorAt("topk_group")
           << "expected at most " << route.groups << " groups, found "
           << route.topGroups;
  if (route.k > moe.experts / route.groups * route.topGroups)
    return settings.errorAt("num_experts_per_tok")
           << "routes to " << route.k << " experts, but " << route.topGroups
           << " of " << route.groups << " groups have only "
           << moe.experts / route.groups * route.topGroups;
  return llvm::Error::success();
}

/// DeepSeek-V2: softmax over all experts, times a constant.
llvm::Error HfReader::readDeepseekRouter(MoeConfig &moe) {
  MOEC_ASSIGN(moe.route.scale, positive("routed_scaling_factor", 1));
  auto choice = [&](llvm::StringRef key, llvm::StringRef byDefault,
                    llvm::ArrayRef<llvm::StringRef> choices)
      -> llvm::Expected<std::string> {
    known.insert(key);
    MOEC_ASSIGN(std::optional<std::string> value, settings.string(key));
    if (!value)
      return byDefault.str();
    if (!llvm::is_contained(choices, *value))
      return settings.errorAt(key)
             << "expected '" << key << "' to be " << llvm::join(choices, " or ")
             << ", found '" << *value << "'";
    return *value;
  };
  MOEC_ASSIGN(std::string score,
              choice("scoring_func", "softmax", {"softmax"}));
  MOEC_ASSIGN(std::string method, choice("topk_method", "greedy",
                                         {"greedy", "group_limited_greedy"}));
  known.insert("n_group");
  known.insert("topk_group");
  if (method == "group_limited_greedy") {
    MOEC_ASSIGN(moe.route.groups, require("n_group", moe.experts));
    MOEC_ASSIGN(moe.route.topGroups, require("topk_group", moe.experts));
    moe.route.groupScore = GroupScore::max;
    moe.route.maskValue = MaskValue::zero;
    MOEC_TRY(checkGroups(settings, moe));
  }
  MOEC_ASSIGN(bool isNormed, boolean("norm_topk_prob", false));
  if (isNormed)
    return settings.errorAt("norm_topk_prob")
           << "expected weights that are not divided by their sum, since "
              "programs that read this setting disagree; found "
              "'norm_topk_prob' true";
  MOEC_ASSIGN(int64_t every, integer("moe_layer_freq", 1));
  if (every != 1)
    return settings.errorAt("moe_layer_freq")
           << "expected experts in every layer behind the first dense ones, "
              "found 'moe_layer_freq' "
           << every;
  return llvm::Error::success();
}

/// GLM4-MoE and dots1, as DeepSeek-V3: sigmoid of each logit, and a bias that
/// counts for the choice only.
llvm::Error HfReader::readSigmoidRouter(MoeConfig &moe) {
  moe.selectBias = true;
  moe.route.score = RouterScore::sigmoid;
  MOEC_ASSIGN(moe.route.scale, positive("routed_scaling_factor", 1));
  MOEC_ASSIGN(moe.route.groups, integer("n_group", 1));
  MOEC_ASSIGN(moe.route.topGroups, integer("topk_group", 1));
  moe.route.groupScore = GroupScore::sum_top2;
  MOEC_TRY(checkGroups(settings, moe));
  MOEC_ASSIGN(bool isNormed,
              boolean("norm_topk_prob", config.family == ModelFamily::glm4moe));
  if (isNormed) {
    moe.route.renorm = RouterRenorm::sum;
    moe.route.epsilon = 1e-20;
  }
  return llvm::Error::success();
}

llvm::Error HfReader::readSharedExperts(MoeConfig &moe) {
  switch (config.family) {
  case ModelFamily::qwen2moe: {
    MOEC_ASSIGN(moe.sharedFfn, require("shared_expert_intermediate_size"));
    moe.sharedGate = true;
    return llvm::Error::success();
  }
  case ModelFamily::granitemoeshared: {
    MOEC_ASSIGN(moe.sharedFfn,
                integer("shared_intermediate_size", 0, /*min=*/0));
    return llvm::Error::success();
  }
  case ModelFamily::deepseek2:
  case ModelFamily::dots1:
  case ModelFamily::glm4moe: {
    MOEC_ASSIGN(int64_t count, require("n_shared_experts", kMaxExperts));
    moe.sharedFfn = count * moe.ffn;
    return llvm::Error::success();
  }
  default:
    return llvm::Error::success();
  }
}

llvm::Error HfReader::readDenseLayers(MoeConfig &moe) {
  if (isOneOf(
          {ModelFamily::deepseek2, ModelFamily::dots1, ModelFamily::glm4moe})) {
    bool isGlm = config.family == ModelFamily::glm4moe;
    MOEC_ASSIGN(int64_t count,
                integer("first_k_dense_replace", isGlm ? 1 : 0, /*min=*/0));
    for (int64_t layer = 0; layer < std::min(count, config.layers); ++layer)
      moe.denseLayers.push_back(layer);
  }
  if (isOneOf({ModelFamily::qwen2moe, ModelFamily::qwen3moe})) {
    MOEC_ASSIGN(int64_t step, integer("decoder_sparse_step", 1));
    known.insert("mlp_only_layers");
    std::vector<int64_t> listed;
    if (settings.has("mlp_only_layers")) {
      const JsonValue &list = *settings.find("mlp_only_layers");
      for (const JsonValue &item : list.items)
        if (!item.isInteger || item.integer < 0)
          return settings.errorAt(item)
                 << "expected 'mlp_only_layers' to hold numbers of layers, "
                    "found "
                 << item.describe();
        else
          listed.push_back(item.integer);
      if (!list.isArray())
        return settings.errorAt(list)
               << "expected 'mlp_only_layers' to be a list, found "
               << list.describe();
    }
    for (int64_t layer = 0; layer < config.layers; ++layer)
      if ((layer + 1) % step || llvm::is_contained(listed, layer))
        moe.denseLayers.push_back(layer);
  }
  return llvm::Error::success();
}

llvm::Error HfReader::readMoe() {
  MoeConfig moe;
  keys.topk = "num_experts_per_tok";
  switch (config.family) {
  case ModelFamily::granitemoe:
  case ModelFamily::granitemoeshared:
  case ModelFamily::mixtral:
    keys.experts = "num_local_experts";
    break;
  case ModelFamily::olmoe:
  case ModelFamily::qwen2moe:
  case ModelFamily::qwen3moe:
    keys.experts =
        settings.has("num_experts") ? "num_experts" : "num_local_experts";
    break;
  case ModelFamily::deepseek2:
  case ModelFamily::dots1:
  case ModelFamily::glm4moe:
    keys.experts = "n_routed_experts";
    break;
  default:
    return refuseExperts();
  }
  MOEC_ASSIGN(moe.experts, require(keys.experts, kMaxExperts));
  MOEC_ASSIGN(moe.route.k, require(keys.topk, kMaxExperts));
  moe.ffn = config.ffn;
  switch (config.family) {
  case ModelFamily::mixtral:
    moe.route.renorm = RouterRenorm::sum;
    break;
  case ModelFamily::granitemoe:
  case ModelFamily::granitemoeshared:
    moe.route.score = RouterScore::identity;
    moe.route.renorm = RouterRenorm::softmax_selected;
    break;
  case ModelFamily::olmoe:
    MOEC_TRY(readQwenRouter(moe));
    break;
  default: {
    MOEC_ASSIGN(moe.ffn, require("moe_intermediate_size"));
    if (config.family == ModelFamily::deepseek2) {
      MOEC_TRY(readDeepseekRouter(moe));
    } else if (isOneOf({ModelFamily::dots1, ModelFamily::glm4moe})) {
      MOEC_TRY(readSigmoidRouter(moe));
    } else {
      MOEC_TRY(readQwenRouter(moe));
    }
  }
  }
  MOEC_TRY(readSharedExperts(moe));
  MOEC_TRY(readDenseLayers(moe));
  // A model of dense layers only has no experts.
  if (int64_t(moe.denseLayers.size()) < config.layers)
    config.moe = std::move(moe);
  return llvm::Error::success();
}
