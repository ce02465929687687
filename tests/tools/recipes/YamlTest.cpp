// Trees with places, from good texts and from hostile ones.

#include "tools/recipes/Recipe.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <random>

using namespace moec;

static std::string problem(llvm::StringRef text) {
  auto tree = parseYaml(text, "t.yaml");
  return tree ? "" : toText(tree.takeError());
}

TEST(Yaml, KnowsPlaces) {
  auto tree = llvm::cantFail(parseYaml("a: 1\nlist:\n  - x: 'two'\n"
                                       "text: >-\n  one\n  line\nempty:\n",
                                       "t.yaml"));
  ASSERT_TRUE(tree.isMap());
  ASSERT_EQ(tree.entries.size(), 4u);
  EXPECT_EQ(tree.find("a")->text, "1");
  EXPECT_EQ(tree.find("a")->loc.str(), "t.yaml:1:4");
  const YamlNode &item = tree.find("list")->items.at(0);
  EXPECT_EQ(item.entries.at(0).loc.str(), "t.yaml:3:5");
  EXPECT_EQ(item.find("x")->text, "two");
  EXPECT_EQ(item.find("x")->line, "  - x: 'two'");
  EXPECT_TRUE(item.find("x")->quoted);
  EXPECT_EQ(tree.find("text")->text, "one line");
  EXPECT_EQ(tree.find("empty")->kind, YamlNode::Kind::null);
  EXPECT_EQ(tree.find("empty")->loc.str(), "t.yaml:7:1");
}

TEST(Yaml, RefusesWhatSettingsNeedNot) {
  EXPECT_NE(problem("a: 1\na: 2\n")
                .find("t.yaml:2:1: error: key 'a' is given "
                      "twice"),
            std::string::npos);
  EXPECT_NE(problem("a: &x 1\n").find("anchors"), std::string::npos);
  EXPECT_NE(problem("a: !t 1\n").find("tags"), std::string::npos);
  EXPECT_NE(problem("a: 1\n---\nb: 2\n").find("several documents"),
            std::string::npos);
  EXPECT_NE(problem("").find("is empty"), std::string::npos);
  EXPECT_NE(problem("a: [1, 2").find("is no YAML"), std::string::npos);
  EXPECT_NE(problem(std::string(1 << 19, 'a')).find("at most"),
            std::string::npos);
  EXPECT_NE(problem(llvm::StringRef("a: \0", 4)).find("is no text"),
            std::string::npos);
}

TEST(Yaml, BoundsNesting) {
  for (const char *open : {"[", "{", "- ", "? ", "a: [", "[{"}) {
    std::string text;
    for (int i = 0; i < 20'000; ++i)
      text += open;
    EXPECT_NE(problem(text), "") << open;
  }
  std::string steps;
  for (int i = 0; i < 300; ++i)
    steps += std::string(i, ' ') + "a:\n";
  EXPECT_NE(problem(steps), "");
}

// Whatever a file holds, the answer is a tree or an error.
TEST(Yaml, SurvivesMutations) {
  std::mt19937 random(1);
  const char alphabet[] = "[]{}:-?&*!|>'\"#% \n\tab1,\\@`";
  for (const RecipeText &recipe : catalogue())
    for (int round = 0; round < 60; ++round) {
      std::string text = recipe.yaml.str();
      for (int change = 0; change < 1 + round % 5; ++change) {
        size_t at = random() % text.size();
        switch (random() % 3) {
        case 0:
          text[at] = alphabet[random() % (sizeof(alphabet) - 1)];
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          text.insert(at, 1, alphabet[random() % (sizeof(alphabet) - 1)]);
        }
        if (text.empty())
          text = "a";
      }
      auto builder = RecipeBuilder::fromText(text, "mutated.yaml");
      if (!builder) {
        EXPECT_NE(toText(builder.takeError()), "");
        continue;
      }
      auto built = builder->build();
      if (!built)
        EXPECT_NE(toText(built.takeError()), "");
    }
}

TEST(Yaml, TextIsUtf8) {
  auto failure = [](llvm::StringRef text) {
    auto tree = parseYaml(text, "r.yaml");
    return tree ? "(no error)" : toText(tree.takeError());
  };
  EXPECT_EQ(failure("a: \"caf\xc3\xa9\""), "(no error)");
  // As an escape, too.
  for (llvm::StringRef text :
       {"a: 1\nb: \"\xff\"", "a: 1\nb: \"\\ud800\"", "a: 1\n\"\\ud800\": 2"})
    EXPECT_THAT(failure(text), testing::StartsWith("r.yaml:2:")) << text.str();
  RecipeBuilder builder;
  EXPECT_THAT(toText(builder.set("experts=\xff")),
              testing::HasSubstr("expects text of UTF-8"));
}

TEST(Yaml, NamesTheNearest) {
  EXPECT_EQ(nearest("expert", {"experts", "top_k"}), "experts");
  EXPECT_EQ(nearest("tpo_k", {"experts", "top_k"}), "top_k");
  EXPECT_EQ(nearest("zzzz", {"experts", "top_k"}), std::nullopt);
  EXPECT_EQ(suggestion("zzzz", {"a1", "b2"}), " (there are a1, b2)");
}
