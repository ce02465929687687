//===- Numbers.h - numbers as text that reads back exactly ----------------===//
#pragma once

#include <string>

namespace moec {

/// The shortest text that reads back to the same bits: `0.5`, `1e-05`, `2.0`,
/// `nan`.
std::string formatDouble(double value);
std::string formatFloat(float value);

} // namespace moec
