//===- Contradictions.h - options that do not go together -----------------===//
//
// An option that has no effect beside another was meant to have one: it is an
// error, not a silence. What a recipe's file says for one init policy falls
// where a user asks for another.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"
#include "tools/recipes/Yaml.h"

#include <map>

namespace moec {

/// An option as it was given; a larger origin goes over a smaller one.
struct GivenOption {
  const YamlEntry *entry = nullptr;
  int origin = 0;
};
using OptionEntries = std::map<std::string, GivenOption>;

/// Removes options that belong to a policy which a later origin replaced.
void dropForeign(OptionEntries &given);
llvm::Error checkContradictions(UpcycleOptions &options,
                                const OptionEntries &given);

} // namespace moec
