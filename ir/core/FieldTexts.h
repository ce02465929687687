//===- FieldTexts.h - the fields of attributes as text --------------------===//
#pragma once

#include "ir/core/Attribute.h"

namespace moec {

/// Name and text of every field, in order, defaults included. Lists are cut
/// after `maxListElements`, 0 keeps them whole.
std::vector<std::pair<std::string, std::string>>
fieldTexts(const Attributes &attributes, size_t maxListElements = 0);

} // namespace moec
