//===- Values.h - scalars of a recipe file --------------------------------===//
#pragma once

#include "tools/recipes/Yaml.h"

#include <optional>

namespace moec {

std::optional<int64_t> toInteger(llvm::StringRef text);
/// A finite number.
std::optional<double> toNumber(llvm::StringRef text);
std::optional<bool> toBool(llvm::StringRef text);
/// `'top_k' is 'two', expects an integer`, at the value.
llvm::Error wrongValue(const YamlEntry &entry, const llvm::Twine &expected);

} // namespace moec
