//===- Value.h - a handle to what an op makes or reads --------------------===//
#pragma once

#include "ir/core/Type.h"
#include "llvm/ADT/DenseMapInfo.h"

namespace moec {

class Block;
class Operation;
class State;
class Weight;

/// What a Value points to: a result of an op, an argument of a block, or a
/// weight of the module. Owned by that.
struct ValueImpl {
  TensorType type;
  /// Exactly one of these is set.
  Operation *op = nullptr;
  Block *block = nullptr;
  Weight *weight = nullptr;
  /// Number of the result or argument.
  unsigned index = 0;
  /// The state whose version this is; null for a plain tensor.
  State *state = nullptr;
  /// Name to print, without `%`; the printer makes it unique.
  std::string hint;
  /// One entry per operand that reads this value.
  llvm::SmallVector<Operation *, 2> users;
};

/// A pointer-sized handle, passed by value. May be null.
class Value {
public:
  Value() = default;
  Value(ValueImpl *impl) : impl(impl) {}

  explicit operator bool() const { return impl; }
  friend bool operator==(Value, Value) = default;

  const TensorType &type() const { return impl->type; }
  void setType(TensorType type) const { impl->type = std::move(type); }
  Operation *definingOp() const { return impl->op; }
  Block *argumentOf() const { return impl->block; }
  Weight *weight() const { return impl->weight; }
  unsigned index() const { return impl->index; }
  State *state() const { return impl->state; }
  void setState(State *state) const { impl->state = state; }
  const std::string &hint() const { return impl->hint; }
  void setHint(std::string hint) const { impl->hint = std::move(hint); }

  llvm::ArrayRef<Operation *> users() const { return impl->users; }
  bool hasOneUse() const { return impl->users.size() == 1; }
  bool isUnused() const { return impl->users.empty(); }
  void replaceAllUsesWith(Value other) const;

  ValueImpl *get() const { return impl; }

private:
  ValueImpl *impl = nullptr;
};

} // namespace moec

template <> struct llvm::DenseMapInfo<moec::Value> {
  using Ptr = DenseMapInfo<moec::ValueImpl *>;
  static moec::Value getEmptyKey() { return Ptr::getEmptyKey(); }
  static moec::Value getTombstoneKey() { return Ptr::getTombstoneKey(); }
  static unsigned getHashValue(moec::Value value) {
    return Ptr::getHashValue(value.get());
  }
  static bool isEqual(moec::Value a, moec::Value b) { return a == b; }
};
