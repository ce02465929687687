// The catalogue holds what it says, and options go over one another in order.

#include "tools/recipes/Recipe.h"

#include "passes/upcycle/Exactness.h"
#include "tools/recipes/OptionHelp.h"
#include "llvm/Support/JSON.h"
#include "gtest/gtest.h"

using namespace moec;

static Recipe load(llvm::StringRef name) {
  return llvm::cantFail(llvm::cantFail(RecipeBuilder::open(name)).build());
}

static std::string problem(llvm::StringRef yaml) {
  auto builder = RecipeBuilder::fromText(yaml, "r.yaml");
  if (!builder)
    return toText(builder.takeError());
  auto recipe = builder->build();
  return recipe ? "" : toText(recipe.takeError());
}

TEST(Catalogue, IsSortedAndWhole) {
  std::string last;
  for (const RecipeText &text : catalogue()) {
    SCOPED_TRACE(text.name.str());
    EXPECT_LT(last, text.name.str());
    last = text.name.str();
    Recipe recipe = load(text.name);
    EXPECT_EQ(recipe.name, text.name);
    EXPECT_GE(recipe.version, 1);
    for (const std::string &said : {recipe.title, recipe.paper, recipe.summary,
                                    recipe.preserves, recipe.preservesClass})
      EXPECT_FALSE(said.empty());
    EXPECT_TRUE(recipe.training.get("trains"));
    EXPECT_EQ(recipe.sha256.size(), 64u);
  }
}

TEST(Catalogue, EveryPresetCanBeUsed) {
  for (const RecipeText &text : catalogue())
    for (auto &[preset, sets] :
         llvm::cantFail(RecipeBuilder::open(text.name)).presets()) {
      SCOPED_TRACE(preset);
      load((text.name + ":" + preset).str());
    }
  EXPECT_EQ(load("virtual-group:E8G8T8").options.experts, 64);
  EXPECT_EQ(load("virtual-group:E4G2T6").options.granularity, 2);
}

// What the file says in words is what the options promise of a SwiGLU FFN.
TEST(Catalogue, PromisesWhatItSays) {
  FfnAttrs swiglu;
  for (const RecipeText &text : catalogue()) {
    SCOPED_TRACE(text.name.str());
    Recipe recipe = load(text.name);
    Exactness promised = promisedExactness(recipe.options, swiglu);
    auto names = enumNames(promised.kind);
    EXPECT_EQ(names[unsigned(promised.kind)], recipe.preservesClass)
        << promised.reason;
  }
}

TEST(Catalogue, CalibrationMatchesTheOptions) {
  for (const RecipeText &text : catalogue()) {
    SCOPED_TRACE(text.name.str());
    Recipe recipe = load(text.name);
    EXPECT_EQ(recipe.options.routerInit == RouterInit::calibrated,
              recipe.calibration.router != RouterSource::none);
    EXPECT_EQ(recipe.options.splitBy == SplitBy::order,
              recipe.calibration.order != NeuronOrder::none);
  }
}

TEST(Catalogue, EveryOptionHasHelp) {
  UpcycleOptions options;
  for (const std::string &name : fieldNames(options))
    EXPECT_FALSE(optionHelp(name).empty()) << name;
}

TEST(Recipe, ParametersMakeOptions) {
  auto builder = llvm::cantFail(RecipeBuilder::open("virtual-group"));
  for (const char *set : {"E=3", "G=4", "T=8"})
    llvm::cantFail(builder.set(set));
  Recipe recipe = llvm::cantFail(builder.build());
  EXPECT_EQ(recipe.options.experts, 12);
  EXPECT_EQ(recipe.options.topk, 8);
  EXPECT_EQ(load("llama-moe").options.weightScale, 4);
  EXPECT_NE(problem("name: x\nparameters: {E: -1}\nupcycle: {experts: E}\n")
                .find("r.yaml:2:17"),
            std::string::npos);
  EXPECT_NE(problem("name: x\nparameters: {E: 3}\nupcycle: {experts: E/2}\n")
                .find("product of E"),
            std::string::npos);
}

TEST(Recipe, FlagsGoOverSetsOverTheFile) {
  auto builder = llvm::cantFail(RecipeBuilder::open("drop-upcycling"));
  llvm::cantFail(builder.setFlag("drop_ratio", "0.75"));
  llvm::cantFail(builder.set("drop_ratio=0.25"));
  llvm::cantFail(builder.set("top-k=3"));
  Recipe recipe = llvm::cantFail(builder.build());
  EXPECT_EQ(recipe.options.dropRatio, 0.75);
  EXPECT_EQ(recipe.options.topk, 3);
  EXPECT_TRUE(recipe.isGiven("drop_set"));
  EXPECT_FALSE(recipe.isGiven("granularity"));
}

TEST(Recipe, ContradictionsInOneOriginAreErrors) {
  std::string text = problem("name: x\nupcycle:\n  init: copy\n"
                             "  noise_std: 0.1\n");
  EXPECT_NE(text.find("r.yaml:4:3"), std::string::npos) << text;
  EXPECT_NE(text.find("r.yaml:3:3: note"), std::string::npos) << text;
  // A later origin that asks for another policy takes the first one's along.
  auto builder = llvm::cantFail(RecipeBuilder::open("drop-upcycling"));
  llvm::cantFail(builder.set("init=copy"));
  EXPECT_FALSE(llvm::cantFail(builder.build()).isGiven("drop_ratio"));
}

TEST(Recipe, CarriesItsTraining) {
  std::map<std::string, std::string> facts;
  load("drop-upcycling").addFacts(facts);
  EXPECT_EQ(facts["upcycle.recipe"], "drop-upcycling");
  EXPECT_EQ(facts["lineage.recipe"], "drop-upcycling 1");
  EXPECT_EQ(facts["training.tokens"], "500000000000");
  EXPECT_EQ(facts["training.losses"],
            "[{\"coef\":0.02,\"form\":\"hf\",\"kind\":\"balance\",\"scope\":"
            "\"all_layers\",\"target\":\"ffn\"}]");
  for (auto &[key, value] : facts)
    if (llvm::StringRef(key).starts_with("training.")) {
      auto parsed = llvm::json::parse(value);
      EXPECT_TRUE(bool(parsed)) << key << " " << value;
      if (!parsed)
        llvm::consumeError(parsed.takeError()); // Reported above.
    }
}

TEST(Recipe, NumbersAtTheEndOfTheirType) {
  for (auto [number, text] :
       {std::pair("9223372036854775808", "9223372036854775808.0"),
        std::pair("1e300", "1e+300"),
        std::pair("4611686018427387904", "4611686018427387904")}) {
    auto builder = llvm::cantFail(RecipeBuilder::open("drop-upcycling"));
    ASSERT_FALSE(bool(builder.set(std::string("training.tokens=") + number)));
    std::map<std::string, std::string> facts;
    llvm::cantFail(builder.build()).addFacts(facts);
    EXPECT_EQ(facts["training.tokens"], text);
  }
}

TEST(Recipe, PromptsOfAFile) {
  auto builder = llvm::cantFail(RecipeBuilder::open("mergekit"));
  llvm::cantFail(builder.setPrompts("- positive: [a, b]\n  negative: c\n"
                                    "- name: two\n  positive: d\n",
                                    "p.yaml"));
  Recipe recipe = llvm::cantFail(builder.build());
  ASSERT_EQ(recipe.calibration.prompts.size(), 2u);
  EXPECT_EQ(recipe.calibration.prompts[0].positive.size(), 2u);
  EXPECT_EQ(recipe.calibration.prompts[0].negative[0], "c");
  EXPECT_EQ(recipe.calibration.prompts[1].name, "two");
  EXPECT_EQ(recipe.calibration.prompts[1].loc.str(), "p.yaml:3:3");
  auto bad = llvm::cantFail(RecipeBuilder::open("mergekit"));
  llvm::cantFail(bad.setPrompts("- positiv: a\n", "p.yaml"));
  auto built = bad.build();
  ASSERT_FALSE(bool(built));
  std::string text = toText(built.takeError());
  EXPECT_NE(text.find("p.yaml:1:3"), std::string::npos) << text;
  EXPECT_NE(text.find("'positive'"), std::string::npos) << text;
}
