#include "tools/recipes/Recipe.h"

#include "ir/support/Hash.h"
#include "tools/recipes/Catalogue.h"
#include "tools/recipes/Contradictions.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moec;

llvm::ArrayRef<RecipeText> moec::catalogue() { return kCatalogue; }

const RecipeText *moec::findInCatalogue(llvm::StringRef name) {
  auto at = llvm::find_if(catalogue(), [&](const RecipeText &recipe) {
    return recipe.name == name;
  });
  return at == catalogue().end() ? nullptr : at;
}

void Recipe::addFacts(std::map<std::string, std::string> &facts) const {
  if (!name.empty()) {
    facts["upcycle.recipe"] = name;
    facts["lineage.recipe"] = name + " " + std::to_string(version);
    facts["lineage.recipe_sha256"] = sha256;
  }
  for (auto &[key, value] : training)
    facts["training." + key.str()] = jsonText(value);
}

bool Recipe::isGiven(llvm::StringRef option) const {
  return llvm::is_contained(given, option);
}

RecipeBuilder::RecipeBuilder() { root.kind = YamlNode::Kind::map; }

llvm::Expected<RecipeBuilder> RecipeBuilder::fromText(llvm::StringRef yaml,
                                                      llvm::StringRef file) {
  RecipeBuilder builder;
  builder.yaml = yaml.str();
  MOEC_ASSIGN(builder.root, parseYaml(yaml, file));
  if (!builder.root.isMap())
    return builder.root.error()
           << "is " << builder.root.describe() << ", expects a recipe's keys";
  MOEC_TRY(checkKeys(builder.root, recipeKeys(), ""));
  const YamlNode *name = builder.root.find("name");
  if (!name)
    return error(Location::inFile(file.str()))
           << "the recipe has no key 'name'";
  if (!builder.root.find("upcycle"))
    return error(Location::inFile(file.str()))
           << "the recipe has no key 'upcycle', which holds the options";
  return builder;
}

llvm::Expected<RecipeBuilder> RecipeBuilder::open(llvm::StringRef nameOrFile) {
  auto [name, preset] = nameOrFile.split(':');
  if (const RecipeText *known = findInCatalogue(name)) {
    MOEC_ASSIGN(RecipeBuilder builder,
                fromText(known->yaml, (name + ".yaml").str()));
    if (!preset.empty())
      MOEC_TRY(builder.usePreset(preset));
    return builder;
  }
  bool isFile = nameOrFile.ends_with(".yaml") || nameOrFile.ends_with(".yml") ||
                llvm::sys::fs::is_regular_file(nameOrFile);
  if (!isFile) {
    llvm::SmallVector<llvm::StringRef> names;
    for (const RecipeText &recipe : catalogue())
      names.push_back(recipe.name);
    return error() << "no recipe '" << name << "'" << suggestion(name, names)
                   << "; a file's name ends in .yaml";
  }
  auto buffer = llvm::MemoryBuffer::getFile(nameOrFile, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return error(Location::inFile(nameOrFile.str()))
           << "cannot read: " << buffer.getError().message();
  return fromText((*buffer)->getBuffer(), nameOrFile);
}

std::vector<std::pair<std::string, std::string>>
RecipeBuilder::presets() const {
  std::vector<std::pair<std::string, std::string>> list;
  if (const YamlNode *presets = root.find("presets"))
    for (const YamlEntry &preset : presets->entries) {
      std::string text;
      for (const YamlEntry &parameter : preset.value.entries)
        text += (text.empty() ? "" : ", ") + parameter.key + " = " +
                parameter.value.text;
      list.emplace_back(preset.key, text);
    }
  return list;
}

/// `E8G4T4` where E, G and T are parameters.
static std::vector<std::pair<std::string, std::string>>
splitPreset(llvm::StringRef name, const YamlNode &parameters) {
  std::vector<std::pair<std::string, std::string>> list;
  while (!name.empty()) {
    llvm::StringRef parameter = name.take_while(llvm::isAlpha);
    name = name.drop_front(parameter.size());
    llvm::StringRef number = name.take_while(llvm::isDigit);
    name = name.drop_front(number.size());
    if (number.empty() || !parameters.find(parameter))
      return {};
    list.emplace_back(parameter.str(), number.str());
  }
  return list;
}

llvm::Error RecipeBuilder::usePreset(llvm::StringRef name) {
  Location loc = Location::atLine("--recipe", 1, 1);
  std::string line = root.find("name")->text + ":" + name.str();
  YamlNode *parameters = root.find("parameters");
  std::vector<std::pair<std::string, std::string>> chosen;
  const YamlNode *presets = root.find("presets");
  const YamlNode *preset = presets ? presets->find(name) : nullptr;
  if (preset)
    for (const YamlEntry &entry : preset->entries)
      chosen.emplace_back(entry.key, entry.value.text);
  else if (parameters)
    chosen = splitPreset(name, *parameters);
  if (chosen.empty()) {
    llvm::SmallVector<llvm::StringRef> names;
    if (presets)
      for (const YamlEntry &entry : presets->entries)
        names.push_back(entry.key);
    return error(loc).withSource(line)
           << "recipe '" << root.find("name")->text << "' has no preset '"
           << name << "'" << suggestion(name, names);
  }
  for (auto &[parameter, value] : chosen) {
    YamlNode *node = parameters ? parameters->find(parameter) : nullptr;
    if (!node)
      return error(loc).withSource(line)
             << "preset '" << name << "' sets '" << parameter
             << "', which is no parameter";
    *node = YamlNode::scalar(value, loc, line);
  }
  return llvm::Error::success();
}

llvm::Error RecipeBuilder::set(llvm::StringRef assignment) {
  std::string line = assignment.str();
  Location loc = Location::atLine("--set", 1, 1);
  auto [key, value] = assignment.split('=');
  key = key.trim();
  value = value.trim();
  if (!llvm::json::isUTF8(assignment))
    return error(loc) << "expects text of UTF-8";
  if (key.empty() || !assignment.contains('='))
    return error(loc).withSource(line)
           << "expects KEY=VALUE, found '" << assignment << "'";
  Location valueLoc = Location::atLine("--set", 1, assignment.find('=') + 2);
  YamlNode *parameters = root.find("parameters");
  if (YamlNode *parameter = parameters ? parameters->find(key) : nullptr) {
    *parameter = YamlNode::scalar(value.str(), valueLoc, line);
    return llvm::Error::success();
  }
  llvm::SmallVector<llvm::StringRef> path;
  key.split(path, '.');
  if (path[0] == "upcycle")
    path.erase(path.begin());
  if (path.size() == 1) {
    YamlEntry entry{spelled(path[0]), loc, line,
                    YamlNode::scalar(value.str(), valueLoc, line)};
    UpcycleOptions options;
    std::vector<std::string> known = fieldNames(options);
    if (!llvm::is_contained(known, entry.key)) {
      if (parameters)
        for (const YamlEntry &parameter : parameters->entries)
          known.push_back(parameter.key);
      std::vector<llvm::StringRef> names(known.begin(), known.end());
      return error(loc).withSource(line) << "unknown option '" << path[0] << "'"
                                         << suggestion(entry.key, names);
    }
    settings.push_back({std::move(entry), Origin::set});
    return llvm::Error::success();
  }
  if (path.size() < 2 || (path[0] != "training" && path[0] != "calibration"))
    return error(loc).withSource(line)
           << "unknown key '" << key
           << "', expects an option, or one that begins with 'training.' or "
              "'calibration.'";
  YamlNode *node = &root;
  unsigned column = 1;
  for (size_t i = 0; i < path.size(); ++i) {
    Location at = Location::atLine("--set", 1, column);
    column += path[i].size() + 1;
    if (node->isList()) {
      // By index, or by the kind of the item.
      size_t index = node->items.size();
      if (path[i].getAsInteger(10, index))
        index = llvm::find_if(node->items,
                              [&](const YamlNode &item) {
                                const YamlNode *kind = item.find("kind");
                                return kind && kind->text == path[i];
                              }) -
                node->items.begin();
      if (index >= node->items.size())
        return error(at).withSource(line)
               << "no item '" << path[i] << "' in a list of "
               << node->items.size();
      node = &node->items[index];
    } else {
      if (node->kind == YamlNode::Kind::null)
        node->kind = YamlNode::Kind::map;
      if (!node->isMap())
        return error(at).withSource(line)
               << "'" << path[i - 1] << "' is " << node->describe()
               << ", which has no key '" << path[i] << "'";
      if (!node->find(path[i])) {
        YamlEntry entry{path[i].str(), at, line, YamlNode()};
        node->entries.push_back(std::move(entry));
      }
      node = node->find(path[i]);
    }
  }
  *node = YamlNode::scalar(value.str(), valueLoc, line);
  return checkKeys(root, recipeKeys(), "");
}

llvm::Error RecipeBuilder::setFlag(llvm::StringRef option,
                                   llvm::StringRef value) {
  std::string flag = "--" + option.str();
  std::replace(flag.begin(), flag.end(), '_', '-');
  Location loc = Location::inFile(flag);
  YamlEntry entry{option.str(), loc, "",
                  YamlNode::scalar(value.str(), loc, "")};
  settings.push_back({std::move(entry), Origin::flag});
  return llvm::Error::success();
}

llvm::Error RecipeBuilder::setPrompts(llvm::StringRef text,
                                      llvm::StringRef file) {
  MOEC_ASSIGN(YamlNode given, parseYaml(text, file));
  // The list itself, or a map that holds it.
  YamlNode *list = given.isMap() ? given.find("prompts") : &given;
  if (!list || !list->isList())
    return error(Location::inFile(file.str()))
           << "expects a list of experts, each with 'positive' prompts";
  YamlNode *calibration = root.find("calibration");
  if (!calibration) {
    YamlEntry entry{"calibration", list->loc, list->line, YamlNode()};
    entry.value.kind = YamlNode::Kind::map;
    root.entries.push_back(std::move(entry));
    calibration = root.find("calibration");
  }
  if (YamlNode *old = calibration->find("prompts"))
    *old = std::move(*list);
  else
    calibration->entries.push_back(
        {"prompts", list->loc, list->line, std::move(*list)});
  return llvm::Error::success();
}

llvm::Error RecipeBuilder::readParameters(Recipe &recipe) const {
  const YamlNode *parameters = root.find("parameters");
  if (!parameters)
    return llvm::Error::success();
  for (const YamlEntry &entry : parameters->entries) {
    int64_t number;
    if (llvm::StringRef(entry.value.text).getAsInteger(10, number) ||
        number < 0 || number > 1'000'000)
      return entry.value.error()
             << "parameter '" << entry.key << "' is " << entry.value.describe()
             << ", expects an integer from 0 on";
    recipe.parameters[entry.key] = number;
  }
  return llvm::Error::success();
}

llvm::Error RecipeBuilder::readOptions(Recipe &recipe) const {
  OptionEntries merged;
  if (const YamlNode *upcycle = root.find("upcycle"))
    for (const YamlEntry &entry : upcycle->entries) {
      // Checked here, so that an error in the file is found even where it is
      // set over.
      MOEC_TRY(setField(recipe.options, entry, "option of the pass 'upcycle'",
                        recipe.parameters));
      merged[spelled(entry.key)] = {&entry, int(Origin::file)};
    }
  for (const Setting &setting : settings)
    if (setting.origin == Origin::set)
      merged[setting.entry.key] = {&setting.entry, int(setting.origin)};
  for (const Setting &setting : settings)
    if (setting.origin == Origin::flag)
      merged[setting.entry.key] = {&setting.entry, int(setting.origin)};
  recipe.options = UpcycleOptions();
  dropForeign(merged);
  for (auto &[key, given] : merged) {
    recipe.given.push_back(key);
    MOEC_TRY(setField(recipe.options, *given.entry,
                      "option of the pass 'upcycle'", recipe.parameters));
  }
  return checkContradictions(recipe.options, merged);
}

static llvm::Error readTexts(const YamlEntry &entry,
                             std::vector<std::string> &out) {
  if (entry.value.isScalar()) {
    out.push_back(entry.value.text);
    return llvm::Error::success();
  }
  if (!entry.value.isList())
    return entry.value.error()
           << "'" << entry.key << "' is " << entry.value.describe()
           << ", expects a list of texts";
  for (const YamlNode &item : entry.value.items) {
    if (!item.isScalar())
      return item.error() << "an item of '" << entry.key << "' is "
                          << item.describe() << ", expects a text";
    out.push_back(item.text);
  }
  return llvm::Error::success();
}

static llvm::Error readPrompts(const YamlNode &list,
                               std::vector<GatePrompts> &out) {
  if (!list.isList())
    return list.error() << "'prompts' is " << list.describe()
                        << ", expects a list with an item for each expert";
  for (const YamlNode &item : list.items) {
    GatePrompts prompts;
    prompts.loc = item.loc;
    prompts.name = std::to_string(out.size());
    if (!item.isMap())
      return item.error() << "the prompts of an expert are " << item.describe()
                          << ", expects a map with 'positive' prompts";
    for (const YamlEntry &entry : item.entries) {
      if (entry.key == "name" && entry.value.isScalar())
        prompts.name = entry.value.text;
      else if (entry.key == "positive")
        MOEC_TRY(readTexts(entry, prompts.positive));
      else if (entry.key == "negative")
        MOEC_TRY(readTexts(entry, prompts.negative));
      else
        return entry.error()
               << "unknown key '" << entry.key << "' of an expert's prompts"
               << suggestion(entry.key, {"name", "positive", "negative"});
    }
    if (prompts.positive.empty())
      return item.error() << "expert '" << prompts.name
                          << "' has no positive prompts";
    out.push_back(std::move(prompts));
  }
  return llvm::Error::success();
}

llvm::Error RecipeBuilder::readCalibration(Recipe &recipe) const {
  CalibrationSettings &settings = recipe.calibration;
  if (const YamlNode *calibration = root.find("calibration"))
    for (const YamlEntry &entry : calibration->entries) {
      if (entry.key == "prompts")
        MOEC_TRY(readPrompts(entry.value, settings.prompts));
      else if (entry.key == "texts")
        MOEC_TRY(readTexts(entry, settings.texts));
      else
        MOEC_TRY(setField(settings, entry, "setting of 'calibration'",
                          recipe.parameters));
    }
  auto range = [](llvm::StringRef name, int64_t value, int64_t most) {
    return value >= 1 && value <= most
               ? llvm::Error::success()
               : llvm::Error(error() << "calibration." << name << " is "
                                     << value << ", expects 1 to " << most);
  };
  MOEC_TRY(range("tokens", settings.tokens, 1 << 20));
  MOEC_TRY(range("iterations", settings.iterations, 10'000));
  if (!(settings.norm >= 0 && settings.norm < 1e6))
    return error() << "calibration.norm is " << settings.norm
                   << ", expects 0 or more";
  return llvm::Error::success();
}

llvm::Expected<Recipe> RecipeBuilder::build() const {
  Recipe recipe;
  MOEC_TRY(checkKeys(root, recipeKeys(), ""));
  auto text = [&](llvm::StringRef key) {
    const YamlNode *node = root.find(key);
    return node ? node->text : std::string();
  };
  recipe.name = text("name");
  recipe.title = text("title");
  recipe.paper = text("paper");
  recipe.summary = text("summary");
  recipe.notes = text("notes");
  if (const YamlNode *version = root.find("version"))
    (void)llvm::StringRef(version->text).getAsInteger(10, recipe.version);
  if (const YamlNode *preserves = root.find("preserves")) {
    if (const YamlNode *node = preserves->find("class"))
      recipe.preservesClass = node->text;
    if (const YamlNode *node = preserves->find("text"))
      recipe.preserves = node->text;
  }
  if (const YamlNode *donors = root.find("donors")) {
    if (const YamlNode *node = donors->find("minimum"))
      (void)llvm::StringRef(node->text).getAsInteger(10, recipe.minimumDonors);
    if (const YamlNode *node = donors->find("text"))
      recipe.donors = node->text;
    if (const YamlNode *node = donors->find("rest"))
      recipe.keepRest = node->text == "base";
  }
  if (const YamlNode *source = root.find("source")) {
    llvm::StringRef digest = source->text;
    digest.consume_front("sha256:");
    if (!parseDigest(digest))
      return source->error() << "'source' is " << source->describe()
                             << ", expects sha256: and 64 hexadecimal digits";
    recipe.sourceSha256 = digest.lower();
    recipe.sourceLoc = source->loc;
  }
  if (!yaml.empty())
    recipe.sha256 = toHex(moec::sha256(llvm::StringRef(yaml)));
  MOEC_TRY(readParameters(recipe));
  MOEC_TRY(readOptions(recipe));
  MOEC_TRY(readCalibration(recipe));
  if (const YamlNode *training = root.find("training"))
    recipe.training = toJson(*training, trainingKeys());
  // Losses of attention's routers fall where attention has none.
  auto *losses = recipe.training.getArray("losses");
  if (losses && recipe.options.attention == AttentionInit::dense) {
    llvm::json::Array kept;
    for (llvm::json::Value &loss : *losses)
      if (loss.getAsObject()->getString("target") != "attention")
        kept.push_back(std::move(loss));
    *losses = std::move(kept);
  }
  return std::move(recipe);
}
