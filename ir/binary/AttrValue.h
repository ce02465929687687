//===- AttrValue.h - a field of an attribute struct, as a value -----------===//
#pragma once

#include "ir/binary/module_generated.h"
#include "ir/core/Attribute.h"

#include <string>
#include <vector>

namespace moec {

/// What fb::Attr holds, by kind.
struct AttrValue {
  std::string name;
  fb::AttrKind kind = fb::AttrKind::integer;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<int64_t> integers;
  std::vector<double> reals;
};

/// The fields that differ from their defaults, in order.
std::vector<AttrValue> changedFields(const Attributes &attrs);

/// Sets fields by name. Returns what is wrong, or an empty text.
std::string setFields(Attributes &attrs, const std::vector<AttrValue> &values);

} // namespace moec
