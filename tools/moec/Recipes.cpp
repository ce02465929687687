#include "tools/driver/Table.h"
#include "tools/moec/Command.h"
#include "tools/recipes/OptionHelp.h"
#include "tools/recipes/Recipe.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("recipes", "published ways to upcycle");
static cl::opt<std::string>
    recipeName(cl::Positional, cl::desc("NAME or FILE.yaml"), cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));
static cl::opt<bool>
    yaml("yaml", cl::desc("the recipe's file, to be copied and edited"),
         cl::sub(flags));

/// A value as one would write it.
static std::string plainText(const llvm::json::Value &value) {
  if (auto text = value.getAsString())
    return text->str();
  if (auto *list = value.getAsArray()) {
    std::string text;
    for (const llvm::json::Value &item : *list)
      text += (text.empty() ? "" : "; ") + plainText(item);
    return text;
  }
  if (auto *object = value.getAsObject()) {
    // What kind of thing it is comes first.
    std::string text;
    if (const llvm::json::Value *kind = object->get("kind"))
      text = plainText(*kind);
    std::map<std::string, std::string> rest;
    for (auto &[key, item] : *object)
      if (key != "kind")
        rest[key.str()] = plainText(item);
    for (auto &[key, item] : rest)
      text += (text.empty() ? "" : ", ") + key + " " + item;
    return text;
  }
  return jsonText(value);
}

/// Paragraphs of at most 80 columns.
static void printWrapped(llvm::StringRef text, llvm::StringRef indent = "") {
  llvm::raw_ostream &os = llvm::outs();
  for (llvm::StringRef paragraph : llvm::split(text, '\n')) {
    size_t column = 0;
    for (llvm::StringRef word : llvm::split(paragraph, ' ')) {
      if (word.empty())
        continue;
      if (column && column + 1 + word.size() > 80) {
        os << "\n";
        column = 0;
      }
      os << (column ? " " : indent) << word;
      column += word.size() + (column ? 1 : indent.size());
    }
    os << "\n";
  }
}

static llvm::json::Object toJson(const Attributes &attrs) {
  llvm::json::Object object;
  for (auto &[key, value] : changedFields(attrs))
    object[key] = value;
  return object;
}

static llvm::json::Object toJson(const Recipe &recipe,
                                 const RecipeBuilder &builder) {
  llvm::json::Object object{{"name", recipe.name},
                            {"version", recipe.version},
                            {"title", recipe.title},
                            {"paper", recipe.paper},
                            {"summary", recipe.summary},
                            {"preserves_class", recipe.preservesClass},
                            {"preserves", recipe.preserves},
                            {"donors", recipe.minimumDonors},
                            {"sha256", recipe.sha256}};
  object["options"] = toJson(recipe.options);
  object["training"] = llvm::json::Object(recipe.training);
  if (recipe.calibration.isNeeded())
    object["calibration"] = toJson(recipe.calibration);
  llvm::json::Object parameters, presets;
  for (auto &[name, value] : recipe.parameters)
    parameters[name] = value;
  for (auto &[name, text] : builder.presets())
    presets[name] = text;
  object["parameters"] = std::move(parameters);
  object["presets"] = std::move(presets);
  if (!recipe.notes.empty())
    object["notes"] = recipe.notes;
  return object;
}

/// `key  value  what it is` for the fields of these names.
static void printFields(llvm::StringRef title, Attributes &attrs,
                        llvm::ArrayRef<std::string> names) {
  if (names.empty())
    return;
  Table table({title.str(), "value", ""});
  for (const std::string &name : fieldNames(attrs))
    if (llvm::is_contained(names, name))
      table.addRow({name, fieldText(attrs, name), optionHelp(name).str()});
  llvm::outs() << "\n";
  table.print(llvm::outs());
}

/// A word as one would type it.
static std::string shellWord(llvm::StringRef word) {
  if (llvm::all_of(word, [](char c) {
        return llvm::isAlnum(c) || llvm::StringRef("_./:-+,").contains(c);
      }))
    return word.str();
  std::string quoted = "'";
  for (char c : word)
    quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

static void explain(Recipe &recipe, const RecipeBuilder &builder) {
  llvm::raw_ostream &os = llvm::outs();
  printWrapped(recipe.name + ": " + recipe.title);
  printWrapped(recipe.paper);
  os << "\n";
  printWrapped(recipe.summary);
  os << "\n";
  printWrapped("Preserves at step 0: " + recipe.preserves);
  if (recipe.minimumDonors)
    printWrapped("Donors: " + recipe.donors + " (at least " +
                 std::to_string(recipe.minimumDonors) + ", by --donor MODEL)");
  if (!recipe.notes.empty()) {
    os << "\n";
    printWrapped(recipe.notes);
  }
  if (!recipe.parameters.empty()) {
    os << "\n";
    std::string text;
    for (auto &[name, value] : recipe.parameters)
      text += " " + name + " = " + std::to_string(value);
    printWrapped("Parameters (--set NAME=NUMBER):" + text);
    for (auto &[name, text] : builder.presets())
      printWrapped("Preset " + recipe.name + ":" + name + ": " + text);
  }
  printFields("option", recipe.options, recipe.given);
  std::vector<std::string> measured;
  for (auto &[name, value] : changedFields(recipe.calibration))
    measured.push_back(name);
  printFields("calibration", recipe.calibration, measured);
  if (!recipe.training.empty()) {
    os << "\n";
    Table table({"training", "setting"});
    for (const RecipeKey &key : trainingKeys())
      if (const llvm::json::Value *value = recipe.training.get(key.name))
        table.addRow({key.name.str(), plainText(*value)});
    table.print(os);
  }
  os << "\nmoec upcycle MODEL -o OUT --recipe " << shellWord(recipeName)
     << "\n";
}

static llvm::Error runOne() {
  if (yaml) {
    const RecipeText *known = findInCatalogue(recipeName);
    if (known) {
      llvm::outs() << known->yaml;
      return llvm::Error::success();
    }
  }
  MOEC_ASSIGN(RecipeBuilder builder, RecipeBuilder::open(recipeName));
  if (yaml) {
    llvm::outs() << builder.text();
    return llvm::Error::success();
  }
  MOEC_ASSIGN(Recipe recipe, builder.build());
  if (json)
    printJson(toJson(recipe, builder));
  else
    explain(recipe, builder);
  return llvm::Error::success();
}

static llvm::Error run() {
  if (json && yaml)
    return llvm::make_error<UsageError>("--json and --yaml exclude each other");
  if (!recipeName.empty())
    return runOne();
  if (yaml)
    return llvm::make_error<UsageError>("--yaml wants the name of a recipe");
  llvm::json::Array list;
  Table table({"recipe", "what it is", "preserves at step 0"});
  for (const RecipeText &known : catalogue()) {
    MOEC_ASSIGN(RecipeBuilder builder, RecipeBuilder::open(known.name));
    MOEC_ASSIGN(Recipe recipe, builder.build());
    list.push_back(toJson(recipe, builder));
    table.addRow({recipe.name, recipe.title, recipe.preservesClass});
  }
  if (json) {
    printJson(std::move(list));
    return llvm::Error::success();
  }
  table.print(llvm::outs());
  llvm::outs() << "\nmoec recipes NAME explains one, with its paper and its "
                  "training.\n";
  return llvm::Error::success();
}

const Command moec::kRecipesCommand = {&flags, run};
