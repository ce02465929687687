//===- NumberFlags.h - flags whose value is a number ----------------------===//
#pragma once

#include "llvm/Support/CommandLine.h"

#include <cstdint>
#include <optional>

namespace moec {

// LLVM's parsers of `long` are final; those of `long long` are not.
template <typename T> struct NumberCarrier {
  using Type = T;
};
template <> struct NumberCarrier<int64_t> {
  using Type = long long;
};
template <> struct NumberCarrier<uint64_t> {
  using Type = unsigned long long;
};

/// Takes a decimal number and nothing else: LLVM's parsers take an empty word
/// for 0.0, and `010` for 8.
template <typename T>
class NumberParser : public llvm::cl::parser<typename NumberCarrier<T>::Type> {
public:
  using Carrier = typename NumberCarrier<T>::Type;
  using llvm::cl::parser<Carrier>::parser;
  /// Where there is none, what T holds.
  std::optional<T> least, most;
  bool parse(llvm::cl::Option &flag, llvm::StringRef name, llvm::StringRef text,
             Carrier &value);
};

extern template class NumberParser<double>;
extern template class NumberParser<int32_t>;
extern template class NumberParser<int64_t>;
extern template class NumberParser<uint32_t>;
extern template class NumberParser<uint64_t>;

template <typename T>
using NumberFlag = llvm::cl::opt<T, /*ExternalStorage=*/false, NumberParser<T>>;
template <typename T>
using NumberList = llvm::cl::list<T, /*Storage=*/bool, NumberParser<T>>;

/// Modifiers of such a flag: `NumberFlag<int64_t> runs("runs", AtLeast(1))`.
struct AtLeast {
  double bound;
  explicit AtLeast(double bound) : bound(bound) {}
  template <typename Flag> void apply(Flag &flag) const {
    flag.getParser().least = bound;
  }
};
struct AtMost {
  double bound;
  explicit AtMost(double bound) : bound(bound) {}
  template <typename Flag> void apply(Flag &flag) const {
    flag.getParser().most = bound;
  }
};

} // namespace moec
