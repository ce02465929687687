//===- Match.h - shapes of use-def chains ---------------------------------===//
//
//   Value x, gateWeight, upWeight;
//   auto gate = m_OneUse(m_Op<OpKind::Linear>(m_Bind(x), m_Bind(gateWeight)));
//   auto up = m_Op<OpKind::Linear>(m_Same(x), m_Bind(upWeight));
//   if (match(value, m_Op<OpKind::Mul>(gate, up))) ...
//
// A matcher is matched from left to right, so that m_Same may name what a
// matcher to its left has bound. After a failed match what was bound is
// unspecified.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Operation.h"

#include <tuple>

namespace moec {

template <typename Matcher> bool match(Value value, const Matcher &matcher) {
  return matcher.matches(value);
}
/// Matches an op by its only result.
template <typename Matcher>
bool match(const Operation &op, const Matcher &matcher) {
  return op.numResults() == 1 && matcher.matches(op.result());
}

namespace matchers {

struct Any {
  bool matches(Value) const { return true; }
};

struct Bind {
  Value &target;
  bool matches(Value value) const {
    target = value;
    return true;
  }
};

struct Same {
  const Value &expected;
  bool matches(Value value) const { return value == expected; }
};

template <typename Matcher> struct OneUse {
  Matcher inner;
  bool matches(Value value) const {
    return value.hasOneUse() && inner.matches(value);
  }
};

/// The only result of an op of kind `Kind` with as many operands as matchers.
template <OpKind Kind, typename... Operands> struct Op {
  std::tuple<Operands...> operands;
  bool matches(Value value) const {
    const Operation *op = value.definingOp();
    if (!op || !op->is(Kind) || op->numResults() != 1 ||
        op->numOperands() != sizeof...(Operands))
      return false;
    return matchOperands(*op, std::index_sequence_for<Operands...>());
  }

private:
  template <size_t... I>
  bool matchOperands(const Operation &op, std::index_sequence<I...>) const {
    return (std::get<I>(operands).matches(op.operand(I)) && ...);
  }

public:
  explicit Op(Operands... operands) : operands(std::move(operands)...) {}
};

} // namespace matchers

inline matchers::Any m_Any() { return {}; }
/// Anything; remembers it.
inline matchers::Bind m_Bind(Value &target) { return {target}; }
/// What was bound before.
inline matchers::Same m_Same(const Value &expected) { return {expected}; }
/// What `inner` matches, if nothing else reads it.
template <typename Matcher> matchers::OneUse<Matcher> m_OneUse(Matcher inner) {
  return {std::move(inner)};
}
/// An op with these operands.
template <OpKind Kind, typename... Operands>
matchers::Op<Kind, Operands...> m_Op(Operands... operands) {
  return matchers::Op<Kind, Operands...>(std::move(operands)...);
}

} // namespace moec
