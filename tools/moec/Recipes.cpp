#include "tools/moec/Command.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("recipes", "published ways to upcycle, as flags");
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

namespace {
struct Recipe {
  const char *name, *source, *flags, *preserves;
};
} // namespace

/// Sources: the papers as the upcycling specification cites them.
static constexpr Recipe kRecipes[] = {
    {"sparse-upcycling", "arXiv 2212.05055",
     "--init copy --router softmax-topk-renorm --router-init normal",
     "the dense function, for any router"},
    {"mixtral-order", "arXiv 2412.09952",
     "--init copy --router topk-softmax --router-init normal",
     "the dense function, for any router"},
    {"noise-upcycling", "arXiv 2502.19261, baseline RNU",
     "--init noise --noise-std 0.02 --noise-ratio 0.5", "nothing exactly"},
    {"drop-upcycling", "arXiv 2502.19261, as the paper describes it",
     "--init drop --drop-ratio 0.5 --drop-set shared",
     "1 - r of the neurons of every expert"},
    {"drop-upcycling-released", "arXiv 2502.19261, as its code does it",
     "--init drop --drop-ratio 0.5 --drop-set independent",
     "(1 - r)^3 of the neurons of every expert"},
};

static llvm::Error run() {
  if (json) {
    llvm::json::Array list;
    for (const Recipe &recipe : kRecipes)
      list.push_back(llvm::json::Object{{"name", recipe.name},
                                        {"source", recipe.source},
                                        {"flags", recipe.flags},
                                        {"preserves", recipe.preserves}});
    printJson(std::move(list));
    return llvm::Error::success();
  }
  Table table(
      {"recipe", "source", "preserves at the start", "flags of upcycle"});
  for (const Recipe &recipe : kRecipes)
    table.addRow({recipe.name, recipe.source, recipe.preserves, recipe.flags});
  table.print(llvm::outs());
  return llvm::Error::success();
}

const Command moec::kRecipesCommand = {&flags, run};
