#include "tools/moec/OptionFlags.h"

#include "tools/recipes/OptionHelp.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::OptionCategory attentionFlags("attention and adapters");
static cl::OptionCategory expertFlags("making of experts");
static cl::OptionCategory routerFlags("router");
static cl::OptionCategory sharedFlags("shared experts");

/// The group of help that a flag stands in, by how its name begins.
static cl::OptionCategory &groupOf(llvm::StringRef name) {
  for (llvm::StringRef plain : {"init", "experts", "top-k", "seed", "layers"})
    if (name == plain)
      return cl::getGeneralCategory();
  for (llvm::StringRef prefix : {"attention", "adapter", "rank"})
    if (name.starts_with(prefix))
      return attentionFlags;
  for (llvm::StringRef prefix : {"router", "select-", "capacity"})
    if (name.starts_with(prefix))
      return routerFlags;
  return name.starts_with("shared") ? sharedFlags : expertFlags;
}

namespace moec {
class FlagMaker final : public AttrVisitor {
public:
  FlagMaker(OptionFlags &out, cl::SubCommand &command)
      : out(out), command(command) {}

  void field(llvm::StringRef name, int64_t &value) override {
    add<int64_t>(name, std::to_string(value),
                 [](int64_t given) { return std::to_string(given); });
  }
  void field(llvm::StringRef name, double &value) override {
    // As text, for the recipe's own reader.
    text(name, formatDouble(value), "", "number");
  }
  void field(llvm::StringRef name, bool &value) override {
    add<bool>(name, value ? "true" : "",
              [](bool given) { return given ? "true" : "false"; });
  }
  void field(llvm::StringRef name, std::string &value) override {
    text(name, value, "");
  }
  void field(llvm::StringRef name, ElementType &value) override {
    text(name, elementTypeName(value).str(), "");
  }
  // Lists have no flags: a recipe's file says them.
  void field(llvm::StringRef, std::vector<int64_t> &) override {}
  void field(llvm::StringRef, std::vector<double> &) override {}
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> names) override {
    text(name, names[value].str(), llvm::join(names, ", "));
  }

private:
  OptionFlags::Flag &flag(llvm::StringRef name, llvm::StringRef plain,
                          llvm::StringRef words) {
    OptionFlags::Flag &flag = out.flags.emplace_back();
    flag.field = name.str();
    flag.name = name.str();
    std::replace(flag.name.begin(), flag.name.end(), '_', '-');
    flag.help = optionHelp(name).str();
    if (!words.empty())
      flag.help += ": " + words.str();
    if (!plain.empty())
      flag.help += " (" + plain.str() + ")";
    std::replace(flag.help.begin(), flag.help.end(), '_', '-');
    return flag;
  }
  template <typename T, typename F>
  void add(llvm::StringRef name, const std::string &plain, F print) {
    OptionFlags::Flag &made = flag(name, plain, "");
    using Maker =
        std::conditional_t<std::is_same_v<T, bool>, cl::opt<T>, NumberFlag<T>>;
    auto option = std::make_unique<Maker>(
        llvm::StringRef(made.name), cl::desc(made.help),
        cl::value_desc(std::is_integral_v<T> ? "count" : "number"),
        cl::cat(groupOf(made.name)), cl::sub(command));
    made.text = [raw = option.get(), print] { return print(*raw); };
    made.option = std::move(option);
  }
  void text(llvm::StringRef name, llvm::StringRef plain,
            const std::string &words, llvm::StringRef value = "text") {
    OptionFlags::Flag &made = flag(name, plain, words);
    auto option = std::make_unique<cl::opt<std::string>>(
        llvm::StringRef(made.name),
        cl::value_desc(words.empty() ? value : "kind"), cl::desc(made.help),
        cl::cat(groupOf(made.name)), cl::sub(command));
    made.text = [raw = option.get()] { return raw->getValue(); };
    made.option = std::move(option);
  }

  OptionFlags &out;
  cl::SubCommand &command;
};
} // namespace moec

OptionFlags::OptionFlags(cl::SubCommand &command, Attributes &defaults) {
  FlagMaker maker(*this, command);
  defaults.visit(maker);
}

std::string OptionFlags::firstGiven() const {
  for (const Flag &flag : flags)
    if (flag.option->getNumOccurrences())
      return "--" + flag.name;
  return "";
}

llvm::Error OptionFlags::apply(RecipeBuilder &recipe) const {
  for (const Flag &flag : flags)
    if (flag.option->getNumOccurrences())
      MOEC_TRY(recipe.setFlag(flag.field, flag.text()));
  return llvm::Error::success();
}
