//===- Schema.h - the keys of a recipe file -------------------------------===//
//
// Options of the pass and settings of the calibration are structs with field
// lists (AttrVisitor); everything else that a recipe may say stands in tables.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "tools/recipes/Yaml.h"
#include "llvm/Support/JSON.h"

#include <map>

namespace moec {

struct RecipeKey {
  enum class Type { text, integer, number, boolean, choice, map, list, open };
  llvm::StringLiteral name;
  Type type;
  /// One line for `moec recipes --keys`.
  llvm::StringLiteral help;
  /// choice: the words, parted by blanks.
  llvm::StringLiteral choices = "";
  /// map: its keys; list: those of each item, which is then a map.
  llvm::ArrayRef<RecipeKey> keys = {};
};

/// The keys of a recipe, and those of its part `training`.
llvm::ArrayRef<RecipeKey> recipeKeys();
llvm::ArrayRef<RecipeKey> trainingKeys();

/// Every key is known, every value of its type. `open` maps are not looked
/// into.
llvm::Error checkKeys(const YamlNode &map, llvm::ArrayRef<RecipeKey> keys,
                      llvm::StringRef where);
/// What `checkKeys` has accepted.
llvm::json::Object toJson(const YamlNode &map, llvm::ArrayRef<RecipeKey> keys);

/// JSON in one line: keys sorted, numbers as short as they can be.
std::string jsonText(const llvm::json::Value &value);

/// The number, if it is whole and fits; 2^63, which LLVM's own test lets
/// through, does not.
std::optional<int64_t> wholeNumber(const llvm::json::Value &value);

/// Parameters of a recipe, by name.
using RecipeParameters = std::map<std::string, int64_t>;

/// Gives the field `key` of `attrs` what was written for it. Numbers may be
/// products and quotients of parameters: `E*G`. Words may be spelled with `-`
/// for `_`. `where` names the struct: "option", "setting of calibration".
llvm::Error setField(Attributes &attrs, const YamlEntry &entry,
                     llvm::StringRef where,
                     const RecipeParameters &parameters = {});
/// The names of a struct's fields.
std::vector<std::string> fieldNames(Attributes &attrs);
/// A field's value, as text and as JSON.
std::string fieldText(Attributes &attrs, llvm::StringRef name);
/// The fields that differ from their default, in their order.
std::vector<std::pair<std::string, llvm::json::Value>>
changedFields(const Attributes &attrs);

/// A key or a word in the spelling of field lists: `top-k` is `top_k`.
std::string spelled(llvm::StringRef name);

} // namespace moec
