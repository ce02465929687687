//===- Builder.h - appends ops to a block ---------------------------------===//
#pragma once

#include "ir/core/Operation.h"

namespace moec {

/// Makes ops at one place: the end of a block, or before an op.
class Builder {
public:
  explicit Builder(Block &block) : block(&block) {}
  explicit Builder(Operation *before)
      : block(before->parent()), before(before) {}

  /// Location of the ops to come.
  void setLoc(Location loc) { location = std::move(loc); }
  const Location &loc() const { return location; }

  Operation *create(OpKind kind, llvm::ArrayRef<Value> operands,
                    llvm::ArrayRef<TensorType> results,
                    std::unique_ptr<Attributes> attrs = nullptr) const {
    Operation *op = Operation::create(
        kind, operands, results,
        attrs ? std::move(attrs) : std::make_unique<NoAttrs>(), location);
    return before ? block->insertBefore(op, before) : block->append(op);
  }
  /// An op of one result.
  Value make(OpKind kind, llvm::ArrayRef<Value> operands, TensorType result,
             std::unique_ptr<Attributes> attrs = nullptr) const {
    return create(kind, operands, {std::move(result)}, std::move(attrs))
        ->result();
  }
  template <typename Attrs>
  Value make(OpKind kind, llvm::ArrayRef<Value> operands, TensorType result,
             Attrs attrs) const {
    return make(
        kind, operands, std::move(result),
        std::unique_ptr<Attributes>(std::make_unique<Attrs>(std::move(attrs))));
  }

private:
  Block *block;
  Operation *before = nullptr;
  Location location;
};

} // namespace moec
