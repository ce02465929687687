//===- Operation.h - an op, and the block that holds it -------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "ir/core/Value.h"
#include "ir/support/Location.h"
#include "llvm/ADT/ilist.h"
#include "llvm/ADT/ilist_node.h"

#include <deque>

namespace moec {

class Program;

/// Every op of the language; ir/ops/Ops.def says what each is.
enum class OpKind : uint16_t {
#define OP(Name, ...) Name,
#include "ir/ops/Ops.def"
};

/// One op: a kind, operands, results, attributes, perhaps a body, and the place
/// that a user knows it by. Owned by its block.
class Operation : public llvm::ilist_node<Operation> {
public:
  static Operation *create(OpKind kind, llvm::ArrayRef<Value> operands,
                           llvm::ArrayRef<TensorType> results,
                           std::unique_ptr<Attributes> attrs, Location loc);
  ~Operation();
  Operation(const Operation &) = delete;
  Operation &operator=(const Operation &) = delete;

  OpKind kind() const { return opKind; }
  llvm::StringRef mnemonic() const;
  bool is(OpKind kind) const { return opKind == kind; }

  llvm::ArrayRef<Value> operands() const { return operandList; }
  Value operand(unsigned i) const { return operandList[i]; }
  unsigned numOperands() const { return operandList.size(); }
  void setOperand(unsigned i, Value value);
  void addOperand(Value value);

  unsigned numResults() const { return resultList.size(); }
  Value result(unsigned i = 0) const {
    return const_cast<ValueImpl *>(&resultList[i]);
  }
  llvm::SmallVector<Value, 2> results() const;

  Attributes &attrs() const { return *attributes; }
  /// The attributes as the op's own struct.
  template <typename T> T &attrs() const {
    return static_cast<T &>(*attributes);
  }

  /// The body of a kernel op; null for other ops.
  Block *body() const { return bodyBlock.get(); }
  Block &addBody();
  void setBody(std::unique_ptr<Block> body);

  const Location &loc() const { return location; }
  void setLoc(Location loc) { location = std::move(loc); }

  Block *parent() const { return parentBlock; }
  /// The neighbours in the block; null at its ends.
  Operation *previous() const;
  Operation *next() const;
  /// Removes the op from its block and deletes it; nothing may use its results.
  void erase();
  void moveBefore(Operation *other);
  bool hasUses() const;

private:
  friend class Block;
  Operation() = default;

  OpKind opKind{};
  llvm::SmallVector<Value, 4> operandList;
  /// Never grows after creation: values point into it.
  std::vector<ValueImpl> resultList;
  std::unique_ptr<Attributes> attributes;
  std::unique_ptr<Block> bodyBlock;
  Location location;
  Block *parentBlock = nullptr;
};

/// Straight-line code: arguments, then ops, the last of which ends the block.
class Block {
public:
  Block() = default;
  ~Block();
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;

  Value addArgument(TensorType type, std::string hint = "",
                    State *state = nullptr);
  unsigned numArguments() const { return args.size(); }
  Value argument(unsigned i) const { return const_cast<ValueImpl *>(&args[i]); }

  llvm::iplist<Operation> &ops() { return opList; }
  const llvm::iplist<Operation> &ops() const { return opList; }
  Operation *append(Operation *op);
  Operation *insertBefore(Operation *op, Operation *before);
  /// The last op; null in an empty block.
  Operation *terminator() const;

  /// The op whose body this is; null for the body of a program.
  Operation *parentOp = nullptr;
  Program *program = nullptr;

private:
  friend class Operation;
  std::deque<ValueImpl> args;
  llvm::iplist<Operation> opList;
};

} // namespace moec
