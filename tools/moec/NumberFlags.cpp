#include "tools/moec/NumberFlags.h"

#include "ir/support/Escape.h"
#include "ir/support/Numbers.h"
#include "llvm/ADT/Twine.h"

#include <charconv>
#include <cmath>
#include <type_traits>

using namespace moec;

static std::string textOf(double number) {
  std::string text = formatDouble(number);
  llvm::StringRef whole(text);
  whole.consume_back(".0");
  return whole.str();
}

template <typename T>
static std::string expected(std::optional<T> least, std::optional<T> most) {
  std::string text = std::is_floating_point_v<T> ? "a number" : "an integer";
  if (std::is_unsigned_v<T> && !least)
    least = T(0);
  if (least && most)
    return text + " from " + textOf(double(*least)) + " to " +
           textOf(double(*most));
  if (least)
    return text + " of " + textOf(double(*least)) + " or more";
  return most ? text + " of at most " + textOf(double(*most)) : text;
}

template <typename T>
bool NumberParser<T>::parse(llvm::cl::Option &flag, llvm::StringRef,
                            llvm::StringRef text, Carrier &value) {
  auto [end, code] = std::from_chars(text.begin(), text.end(), value);
  bool good = code == std::errc() && end == text.end();
  if constexpr (std::is_floating_point_v<T>)
    good = good && std::isfinite(value);
  if (good && !(least && T(value) < *least) && !(most && T(value) > *most))
    return false;
  return flag.error("is '" + llvm::Twine(escapeControls(text)) + "', expects " +
                    expected(least, most));
}

template class moec::NumberParser<double>;
template class moec::NumberParser<int32_t>;
template class moec::NumberParser<int64_t>;
template class moec::NumberParser<uint32_t>;
template class moec::NumberParser<uint64_t>;
