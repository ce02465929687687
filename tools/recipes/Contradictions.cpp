#include "tools/recipes/Contradictions.h"

#include "tools/recipes/Schema.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

namespace {
/// `option` has an effect only where `other` is one of `values`, parted by
/// blanks, or where `then` is `orThen`. An option that ends in `*` stands for
/// all that begin so.
struct Rule {
  llvm::StringLiteral option, other, values, orThen = "";
};
} // namespace

static constexpr Rule kRules[] = {
    {"drop_*", "init", "drop qwen2", "drop"},
    {"noise_*", "init", "noise", "noise"},
    {"granularity", "init", "virtual_group qwen2 scratch"},
    {"expert_width", "init", "qwen2 scratch"},
    {"split_by", "init", "split"},
    {"permute", "init", "copy noise drop"},
    {"rank", "init", "low_rank"},
    {"adapter_*", "init", "low_rank"},
    {"weight_scale", "scaling", "exact megatron down"},
    {"router_score", "router", "custom"},
    {"router_select", "router", "custom"},
    {"router_renorm", "router", "custom"},
    {"router_std", "router_init", "uniform normal"},
    {"attention_*", "attention", "mixture"},
};

static bool matches(llvm::StringRef pattern, llvm::StringRef option) {
  return pattern.consume_back("*") ? option.starts_with(pattern)
                                   : option == pattern;
}

static bool allows(const Rule &rule, llvm::StringRef value) {
  return llvm::is_contained(llvm::split(rule.values, ' '), value);
}

void moec::dropForeign(OptionEntries &given) {
  for (const Rule &rule : kRules) {
    auto other = given.find(rule.other.str());
    auto then = given.find("then");
    bool after = then != given.end() && !rule.orThen.empty() &&
                 spelled(then->second.entry->value.text) == rule.orThen;
    if (after || other == given.end() ||
        allows(rule, spelled(other->second.entry->value.text)))
      continue;
    int origin = other->second.origin;
    for (auto at = given.begin(); at != given.end();)
      if (matches(rule.option, at->first) && at->second.origin < origin)
        at = given.erase(at);
      else
        ++at;
  }
}

llvm::Error moec::checkContradictions(UpcycleOptions &options,
                                      const OptionEntries &given) {
  for (const Rule &rule : kRules) {
    std::string value = fieldText(options, rule.other);
    if (allows(rule, value) ||
        (!rule.orThen.empty() && fieldText(options, "then") == rule.orThen))
      continue;
    for (auto &[key, option] : given) {
      if (!matches(rule.option, key))
        continue;
      auto builder = option.entry->error()
                     << "'" << option.entry->key
                     << "' has an effect only where '" << rule.other << "' is "
                     << llvm::join(llvm::split(rule.values, ' '), " or ")
                     << (rule.orThen.empty() ? "" : " or 'then' is ")
                     << rule.orThen << ", but it is " << value;
      auto other = given.find(rule.other.str());
      if (other != given.end() && other->second.entry->loc.line)
        return std::move(builder).withNote(other->second.entry->loc,
                                           "it is set here");
      return std::move(builder);
    }
  }
  if (!options.sharedExperts && !options.sharedWidth)
    for (auto &[key, option] : given)
      if (llvm::StringRef(key).starts_with("shared_") &&
          key != "shared_experts" && key != "shared_width")
        return option.entry->error() << "'" << option.entry->key
                                     << "' has an effect only where "
                                        "'shared_experts' is 1 or more";
  auto topk = given.find("top_k");
  if (options.topk > options.experts && topk != given.end())
    return topk->second.entry->value.error()
           << "top-k is " << options.topk << ", but there are "
           << options.experts << " experts";
  return llvm::Error::success();
}
