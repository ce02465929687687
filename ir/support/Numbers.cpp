#include "ir/support/Numbers.h"

#include <charconv>
#include <cmath>

using namespace moec;

template <typename T> static std::string shortest(T value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string text(buffer, end);
  // A fraction is told from an integer by its looks.
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text;
}

std::string moec::formatDouble(double value) { return shortest(value); }

std::string moec::formatFloat(float value) { return shortest(value); }
