//===- OptionFlags.h - a flag for every option of a pass ------------------===//
#pragma once

#include "tools/moec/NumberFlags.h"
#include "tools/recipes/Recipe.h"
#include "llvm/Support/CommandLine.h"

#include <deque>
#include <functional>

namespace moec {

/// The fields of a struct as flags: `drop_ratio` is `--drop-ratio`. A flag
/// that is not given leaves the field to the recipe.
class OptionFlags {
public:
  OptionFlags(llvm::cl::SubCommand &command, Attributes &defaults);
  /// The first flag that the user gave; empty if there is none.
  std::string firstGiven() const;
  /// Options that the user gave go over the recipe's.
  llvm::Error apply(RecipeBuilder &recipe) const;

private:
  friend class FlagMaker;
  struct Flag {
    std::string name, field, help;
    std::unique_ptr<llvm::cl::Option> option;
    std::function<std::string()> text;
  };
  /// Addresses of names stay.
  std::deque<Flag> flags;
};

} // namespace moec
