#include "tests/fuzz/TokenizerFuzz.h"
#include "tools/recipes/Recipe.h"
#include "tools/recipes/Yaml.h"

using namespace moec;

/// A recipe's file, or a file of prompts, is refused or can be used: built,
/// with presets and settings over it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  std::string text = asText(bytes, size).str();
  RecipeBuilder plain;
  if (llvm::Error err = plain.setPrompts(text, "fuzz"))
    (void)toText(std::move(err));
  auto builder = RecipeBuilder::fromText(text, "fuzz");
  if (!builder) {
    (void)toText(builder.takeError());
    return 0;
  }
  for (auto &[name, what] : builder->presets()) {
    RecipeBuilder preset = *builder;
    if (llvm::Error err = preset.usePreset(name))
      (void)toText(std::move(err));
    else if (auto recipe = preset.build(); !recipe)
      (void)toText(recipe.takeError());
  }
  // The text itself as an assignment, too.
  for (llvm::StringRef assignment :
       {llvm::StringRef("training.schedule.peak=1e-4"), llvm::StringRef(text)})
    if (llvm::Error err = builder->set(assignment))
      (void)toText(std::move(err));
  auto recipe = builder->build();
  if (!recipe) {
    (void)toText(recipe.takeError());
    return 0;
  }
  std::map<std::string, std::string> facts;
  recipe->addFacts(facts);
  (void)recipe->options.str();
  return 0;
}
