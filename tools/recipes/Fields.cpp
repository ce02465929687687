#include "tools/recipes/Schema.h"
#include "tools/recipes/Values.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>

using namespace moec;

namespace {
/// A product of numbers and parameters: `E*G`, `E*G*G/T`.
std::optional<double> evaluate(llvm::StringRef text,
                               const RecipeParameters &parameters) {
  double value = 1;
  char op = '*';
  while (true) {
    size_t end = text.find_first_of("*/");
    llvm::StringRef term = text.take_front(end).trim();
    std::optional<double> factor = toNumber(term);
    if (auto at = parameters.find(term.str()); at != parameters.end())
      factor = at->second;
    if (!factor || (op == '/' && *factor == 0))
      return std::nullopt;
    value = op == '*' ? value * *factor : value / *factor;
    if (end == llvm::StringRef::npos)
      return value;
    op = text[end];
    text = text.drop_front(end + 1);
  }
}

class Setter final : public AttrVisitor {
public:
  Setter(const YamlEntry &entry, const RecipeParameters &parameters)
      : entry(entry), key(spelled(entry.key)), parameters(parameters) {}

  llvm::Error take(llvm::StringRef where) {
    if (!found) {
      std::vector<llvm::StringRef> known(names.begin(), names.end());
      return entry.error() << "unknown " << where << " '" << entry.key << "'"
                           << suggestion(key, known);
    }
    if (!expected.empty())
      return wrongValue(entry, expected);
    return llvm::Error::success();
  }

  void field(llvm::StringRef name, int64_t &value) override {
    if (!mine(name, "an integer"))
      return;
    if (auto number = toInteger(text())) {
      value = *number;
      return;
    }
    auto product = evaluate(text(), parameters);
    if (!product || std::abs(*product) > 1e15 ||
        *product != std::floor(*product)) {
      expected = "an integer";
      if (!parameters.empty()) {
        expected += ", or a product of";
        for (auto &[parameter, number] : parameters)
          expected += " " + parameter;
      }
      return;
    }
    value = int64_t(*product);
  }
  void field(llvm::StringRef name, double &value) override {
    if (!mine(name, "a number"))
      return;
    if (auto number = evaluate(text(), parameters))
      value = *number;
    else
      expected = "a number";
  }
  void field(llvm::StringRef name, bool &value) override {
    if (!mine(name, "true or false"))
      return;
    if (auto truth = toBool(text()))
      value = *truth;
    else
      expected = "true or false";
  }
  void field(llvm::StringRef name, std::string &value) override {
    if (mine(name, "text"))
      value = text().str();
  }
  void field(llvm::StringRef name, ElementType &value) override {
    if (!mine(name, "an element type"))
      return;
    if (auto element = parseElementType(text()))
      value = *element;
    else
      expected = "an element type";
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    list(name, value, "a list of integers", toInteger);
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    list(name, value, "a list of numbers", toNumber);
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> words) override {
    std::string choice = "one of " + llvm::join(words, ", ");
    if (!mine(name, choice))
      return;
    auto at = llvm::find(words, spelled(text()));
    if (at == words.end())
      expected = choice;
    else
      value = at - words.begin();
  }

private:
  llvm::StringRef text() const { return entry.value.text; }
  bool mine(llvm::StringRef name, llvm::StringRef what,
            YamlNode::Kind kind = YamlNode::Kind::scalar) {
    names.push_back(name.str());
    if (name != key)
      return false;
    found = true;
    if (entry.value.kind != kind) {
      expected = what.str();
      return false;
    }
    return true;
  }
  template <typename T, typename F>
  void list(llvm::StringRef name, std::vector<T> &value, llvm::StringRef what,
            F read) {
    if (!mine(name, what, YamlNode::Kind::list))
      return;
    value.clear();
    for (const YamlNode &item : entry.value.items) {
      if (auto number = read(item.text))
        value.push_back(*number);
      else
        expected = what.str();
    }
  }

  const YamlEntry &entry;
  std::string key;
  const RecipeParameters &parameters;
  std::vector<std::string> names;
  bool found = false;
  std::string expected;
};

/// Every field's name and its value, as JSON.
class Values final : public AttrVisitor {
public:
  std::vector<std::pair<std::string, llvm::json::Value>> list;

  void field(llvm::StringRef name, int64_t &value) override {
    list.emplace_back(name.str(), value);
  }
  void field(llvm::StringRef name, double &value) override {
    list.emplace_back(name.str(), value);
  }
  void field(llvm::StringRef name, bool &value) override {
    list.emplace_back(name.str(), value);
  }
  void field(llvm::StringRef name, std::string &value) override {
    list.emplace_back(name.str(), value);
  }
  void field(llvm::StringRef name, ElementType &value) override {
    list.emplace_back(name.str(), elementTypeName(value).str());
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    list.emplace_back(name.str(), llvm::json::Array(value));
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    list.emplace_back(name.str(), llvm::json::Array(value));
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> words) override {
    list.emplace_back(name.str(), words[value].str());
  }
};
} // namespace

llvm::Error moec::setField(Attributes &attrs, const YamlEntry &entry,
                           llvm::StringRef where,
                           const RecipeParameters &parameters) {
  Setter setter(entry, parameters);
  attrs.visit(setter);
  return setter.take(where);
}

std::vector<std::string> moec::fieldNames(Attributes &attrs) {
  Values values;
  attrs.visit(values);
  std::vector<std::string> names;
  for (auto &[name, value] : values.list)
    names.push_back(name);
  return names;
}

std::string moec::fieldText(Attributes &attrs, llvm::StringRef name) {
  Values values;
  attrs.visit(values);
  for (auto &[field, value] : values.list) {
    if (field != name)
      continue;
    if (auto text = value.getAsString())
      return text->str();
    if (auto whole = wholeNumber(value))
      return std::to_string(*whole);
    if (auto number = value.getAsNumber())
      return formatDouble(*number);
    if (auto truth = value.getAsBoolean())
      return *truth ? "true" : "false";
  }
  return "";
}

std::vector<std::pair<std::string, llvm::json::Value>>
moec::changedFields(const Attributes &attrs) {
  Values values, defaults;
  attrs.clone()->visit(values);
  attrs.makeDefault()->visit(defaults);
  std::vector<std::pair<std::string, llvm::json::Value>> changed;
  for (auto &&[own, plain] : llvm::zip_equal(values.list, defaults.list))
    if (own.second != plain.second)
      changed.push_back(own);
  return changed;
}
