#include "tools/recipes/Schema.h"
#include "tools/recipes/Values.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <charconv>
#include <cmath>

using namespace moec;
using Type = RecipeKey::Type;

static constexpr RecipeKey kSchedule[] = {
    {"kind", Type::choice, "shape of the learning rate",
     "constant linear cosine"},
    {"start", Type::number, "learning rate before the warm-up"},
    {"peak", Type::number, "largest learning rate"},
    {"end", Type::number, "last learning rate"},
    {"end_ratio", Type::number, "last learning rate over the largest"},
    {"warmup_steps", Type::integer, "steps from start to peak"},
    {"warmup_tokens", Type::number, "tokens from start to peak"},
    {"decay_steps", Type::integer, "steps from peak to end; all if absent"},
};
static constexpr RecipeKey kOptimizer[] = {
    {"name", Type::choice, "algorithm", "adamw adam sgd"},
    {"beta1", Type::number, "decay of the first moment"},
    {"beta2", Type::number, "decay of the second moment"},
    {"epsilon", Type::number, "added to the denominator"},
    {"weight_decay", Type::number, "decoupled decay of weights"},
    {"clip", Type::number, "largest norm of all gradients"},
    {"state", Type::choice, "moments at the start", "fresh kept"},
};
static constexpr RecipeKey kLossSchedule[] = {
    {"kind", Type::choice, "how the coefficient moves",
     "constant drop_rate sparsity"},
    {"factor", Type::number, "drop_rate: xi; sparsity: the multiplier"},
    {"maximum", Type::number, "drop_rate: the largest coefficient"},
    {"decay", Type::number, "drop_rate: beta of the moving average"},
    {"target", Type::number, "sparsity: share of experts that is to be off"},
};
static constexpr RecipeKey kLosses[] = {
    {"kind", Type::choice, "which loss",
     "balance z mutual_information variance cv_squared relu_l1"},
    {"form", Type::choice,
     "dialect of the balance loss, whose value at balance differs",
     "switch hf btx deepseek device"},
    {"target", Type::choice, "routers that it is for", "ffn attention all"},
    {"scope", Type::choice, "tokens that are counted together",
     "layer all_layers sequence device"},
    {"coef", Type::number, "factor of the loss"},
    {"schedule", Type::map, "of the factor", "", kLossSchedule},
};
static constexpr RecipeKey kBiasUpdate[] = {
    {"kind", Type::choice, "what is added to the selection bias",
     "sign proportional"},
    {"rate", Type::number, "how much a step"},
};
static constexpr RecipeKey kNoise[] = {
    {"kind", Type::choice, "noise of the router while it is trained",
     "none noisy_topk jitter gumbel"},
    {"epsilon", Type::number, "jitter: half the width; noisy_topk: the floor"},
};
static constexpr RecipeKey kTraining[] = {
    {"execution", Type::choice,
     "experts that run in training: the routed ones, or all", "sparse dense"},
    {"trains", Type::choice, "weights that are trained",
     "all moe experts routers adapters none"},
    {"tokens", Type::number, "tokens of training"},
    {"steps", Type::integer, "steps of training"},
    {"sequence", Type::integer, "tokens of one sequence"},
    {"batch_sequences", Type::integer, "sequences of one step"},
    {"batch_tokens", Type::number, "tokens of one step"},
    {"precision", Type::choice, "element type of the arithmetic", "bf16 f32"},
    {"optimizer", Type::map, "how weights move", "", kOptimizer},
    {"schedule", Type::map, "learning rate over time", "", kSchedule},
    {"losses", Type::list, "beside the language model's", "", kLosses},
    {"bias_update", Type::map, "balance without a loss", "", kBiasUpdate},
    {"noise", Type::map, "of the router", "", kNoise},
    {"capacity", Type::number,
     "each expert takes at most so much of its even share; 0: all"},
    {"data", Type::text, "what it was trained on"},
};
static constexpr RecipeKey kPreserves[] = {
    {"class", Type::choice, "of exactness at step 0",
     "exact exact_zero_router exact_all_experts approximate none"},
    {"text", Type::text, "the same in words"},
};
static constexpr RecipeKey kDonors[] = {
    {"minimum", Type::integer, "models beside the first that it wants"},
    {"text", Type::text, "which models they are"},
    {"rest", Type::choice, "what is no FFN: the models' mean, or the base's",
     "average base"},
};
static constexpr RecipeKey kRecipe[] = {
    {"name", Type::text, "how the command line calls it"},
    {"version", Type::integer, "grows when its result changes"},
    {"title", Type::text, "one line"},
    {"paper", Type::text, "where the method was published"},
    {"summary", Type::text, "how it works"},
    {"preserves", Type::map, "of the dense function at step 0", "", kPreserves},
    {"parameters", Type::open, "numbers that options are made of: {E: 8}"},
    {"presets", Type::open, "named sets of parameters"},
    {"source", Type::text, "sha256:HEX of the model that it was written for"},
    {"donors", Type::map, "further dense models", "", kDonors},
    {"upcycle", Type::open, "options of the pass 'upcycle'"},
    {"calibration", Type::open, "what is measured on the dense model"},
    {"training", Type::map, "settings that the module carries", "", kTraining},
    {"notes", Type::text, "what a user should know"},
};

llvm::ArrayRef<RecipeKey> moec::recipeKeys() { return kRecipe; }
llvm::ArrayRef<RecipeKey> moec::trainingKeys() { return kTraining; }

std::optional<int64_t> moec::toInteger(llvm::StringRef text) {
  int64_t value;
  auto [end, code] = std::from_chars(text.begin(), text.end(), value);
  if (code == std::errc() && end == text.end() && !text.empty())
    return value;
  return std::nullopt;
}

std::optional<double> moec::toNumber(llvm::StringRef text) {
  double value;
  auto [end, code] = std::from_chars(text.begin(), text.end(), value);
  if (code == std::errc() && end == text.end() && !text.empty() &&
      std::isfinite(value))
    return value;
  return std::nullopt;
}

std::optional<bool> moec::toBool(llvm::StringRef text) {
  if (text == "true" || text == "false")
    return text == "true";
  return std::nullopt;
}

std::string moec::spelled(llvm::StringRef name) {
  std::string text = name.str();
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

static const RecipeKey *findKey(llvm::ArrayRef<RecipeKey> keys,
                                llvm::StringRef name) {
  for (const RecipeKey &key : keys)
    if (key.name == name)
      return &key;
  return nullptr;
}

static llvm::SmallVector<llvm::StringRef> words(llvm::StringRef text) {
  llvm::SmallVector<llvm::StringRef> list;
  text.split(list, ' ');
  return list;
}

llvm::Error moec::wrongValue(const YamlEntry &entry,
                             const llvm::Twine &expected) {
  return entry.value.error()
         << "'" << entry.key << "' is " << entry.value.describe()
         << ", expects " << expected.str();
}

static llvm::Error checkValue(const YamlEntry &entry, const RecipeKey &key,
                              llvm::StringRef where) {
  const YamlNode &value = entry.value;
  std::string inside = (where.empty() ? "" : where + ".").str() + entry.key;
  switch (key.type) {
  case Type::text:
    return value.isScalar() ? llvm::Error::success()
                            : wrongValue(entry, "text");
  case Type::integer:
    if (!value.isScalar() || !toInteger(value.text))
      return wrongValue(entry, "an integer");
    return llvm::Error::success();
  case Type::number:
    if (!value.isScalar() || !toNumber(value.text))
      return wrongValue(entry, "a number");
    return llvm::Error::success();
  case Type::boolean:
    if (!value.isScalar() || !toBool(value.text))
      return wrongValue(entry, "true or false");
    return llvm::Error::success();
  case Type::choice: {
    auto choices = words(key.choices);
    if (!value.isScalar() || !llvm::is_contained(choices, value.text))
      return wrongValue(entry, "one of " + llvm::join(choices, ", "));
    return llvm::Error::success();
  }
  case Type::map:
    if (!value.isMap())
      return wrongValue(entry, "a map");
    return checkKeys(value, key.keys, inside);
  case Type::list:
    if (!value.isList())
      return wrongValue(entry, "a list");
    for (const YamlNode &item : value.items) {
      if (!item.isMap())
        return item.error() << "an item of '" << inside << "' is "
                            << item.describe() << ", expects a map";
      MOEC_TRY(checkKeys(item, key.keys, inside));
    }
    return llvm::Error::success();
  case Type::open:
    return value.isMap() ? llvm::Error::success() : wrongValue(entry, "a map");
  }
  llvm_unreachable("all types are listed");
}

llvm::Error moec::checkKeys(const YamlNode &map, llvm::ArrayRef<RecipeKey> keys,
                            llvm::StringRef where) {
  for (const YamlEntry &entry : map.entries) {
    const RecipeKey *key = findKey(keys, entry.key);
    if (!key) {
      llvm::SmallVector<llvm::StringRef> names;
      for (const RecipeKey &known : keys)
        names.push_back(known.name);
      return entry.error() << "unknown key '" << entry.key << "'"
                           << (where.empty() ? "" : " in '" + where.str() + "'")
                           << suggestion(entry.key, names);
    }
    MOEC_TRY(checkValue(entry, *key, where));
  }
  return llvm::Error::success();
}

llvm::json::Object moec::toJson(const YamlNode &map,
                                llvm::ArrayRef<RecipeKey> keys) {
  llvm::json::Object object;
  for (const YamlEntry &entry : map.entries) {
    const RecipeKey &key = *findKey(keys, entry.key);
    const std::string &text = entry.value.text;
    switch (key.type) {
    case Type::integer:
      object[entry.key] = *toInteger(text);
      break;
    case Type::number:
      if (auto whole = toInteger(text))
        object[entry.key] = *whole;
      else
        object[entry.key] = *toNumber(text);
      break;
    case Type::boolean:
      object[entry.key] = *toBool(text);
      break;
    case Type::map:
      object[entry.key] = toJson(entry.value, key.keys);
      break;
    case Type::list: {
      llvm::json::Array list;
      for (const YamlNode &item : entry.value.items)
        list.push_back(toJson(item, key.keys));
      object[entry.key] = std::move(list);
      break;
    }
    case Type::text:
    case Type::choice:
      object[entry.key] = text;
      break;
    case Type::open:
      break;
    }
  }
  return object;
}

std::optional<int64_t> moec::wholeNumber(const llvm::json::Value &value) {
  std::optional<double> number = value.getAsNumber();
  if (!number || !(*number < 0x1p63))
    return std::nullopt;
  return value.getAsInteger();
}

std::string moec::jsonText(const llvm::json::Value &value) {
  std::string text;
  auto add = [&](const std::string &part) {
    text += (text.size() > 1 ? "," : "") + part;
  };
  if (auto *object = value.getAsObject()) {
    text = "{";
    std::map<std::string, std::string> sorted;
    for (auto &[key, item] : *object)
      sorted[key.str()] = jsonText(item);
    for (auto &[key, item] : sorted)
      add(llvm::formatv("{0}:{1}", llvm::json::Value(key), item).str());
    return text + "}";
  }
  if (auto *list = value.getAsArray()) {
    text = "[";
    for (const llvm::json::Value &item : *list)
      add(jsonText(item));
    return text + "]";
  }
  if (value.kind() == llvm::json::Value::Number && !wholeNumber(value))
    return formatDouble(*value.getAsNumber());
  return llvm::formatv("{0}", value).str();
}
