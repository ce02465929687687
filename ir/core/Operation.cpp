#include "ir/core/Operation.h"

#include "llvm/ADT/STLExtras.h"

using namespace moec;

static void removeUser(Value value, Operation *user) {
  auto &users = value.get()->users;
  auto at = llvm::find(users, user);
  assert(at != users.end() && "operands and users agree");
  users.erase(at);
}

void Value::replaceAllUsesWith(Value other) const {
  assert(other != *this && "a value cannot replace itself");
  llvm::SmallVector<Operation *, 4> old(impl->users.begin(), impl->users.end());
  for (Operation *user : old)
    for (unsigned i = 0; i < user->numOperands(); ++i)
      if (user->operand(i) == *this)
        user->setOperand(i, other);
}

llvm::StringRef Operation::mnemonic() const {
  static constexpr llvm::StringLiteral names[] = {
#define OP(Name, Mnemonic, ...) Mnemonic,
#include "ir/ops/Ops.def"
  };
  return names[static_cast<unsigned>(opKind)];
}

Operation *Operation::create(OpKind kind, llvm::ArrayRef<Value> operands,
                             llvm::ArrayRef<TensorType> results,
                             std::unique_ptr<Attributes> attrs, Location loc) {
  auto *op = new Operation();
  op->opKind = kind;
  op->attributes = std::move(attrs);
  op->location = std::move(loc);
  for (Value operand : operands)
    op->addOperand(operand);
  op->resultList.resize(results.size());
  for (unsigned i = 0; i < results.size(); ++i) {
    op->resultList[i].type = results[i];
    op->resultList[i].op = op;
    op->resultList[i].index = i;
  }
  return op;
}

Operation::~Operation() {
  bodyBlock.reset();
  for (Value operand : operandList)
    if (operand)
      removeUser(operand, this);
}

void Operation::setOperand(unsigned i, Value value) {
  removeUser(operandList[i], this);
  operandList[i] = value;
  value.get()->users.push_back(this);
}

void Operation::addOperand(Value value) {
  operandList.push_back(value);
  value.get()->users.push_back(this);
}

llvm::SmallVector<Value, 2> Operation::results() const {
  llvm::SmallVector<Value, 2> values;
  for (unsigned i = 0; i < numResults(); ++i)
    values.push_back(result(i));
  return values;
}

Block &Operation::addBody() {
  setBody(std::make_unique<Block>());
  return *bodyBlock;
}

void Operation::setBody(std::unique_ptr<Block> body) {
  bodyBlock = std::move(body);
  bodyBlock->parentOp = this;
}

bool Operation::hasUses() const {
  return llvm::any_of(resultList,
                      [](const ValueImpl &v) { return !v.users.empty(); });
}

Operation *Operation::previous() const {
  auto at = getIterator();
  return at == parentBlock->opList.begin()
             ? nullptr
             : const_cast<Operation *>(&*std::prev(at));
}

Operation *Operation::next() const {
  auto at = std::next(getIterator());
  return at == parentBlock->opList.end() ? nullptr
                                         : const_cast<Operation *>(&*at);
}

void Operation::erase() {
  assert(!hasUses() && "an op that is used cannot be erased");
  parentBlock->opList.erase(getIterator());
}

void Operation::moveBefore(Operation *other) {
  other->parentBlock->opList.splice(other->getIterator(), parentBlock->opList,
                                    getIterator());
  parentBlock = other->parentBlock;
}

Block::~Block() {
  // An invalid block may use values before it defines them, so nothing is
  // deleted while anything still refers to it.
  for (Operation &op : opList) {
    for (Value operand : op.operandList)
      if (operand)
        removeUser(operand, &op);
    op.operandList.clear();
  }
}

Value Block::addArgument(TensorType type, std::string hint, State *state) {
  ValueImpl &arg = args.emplace_back();
  arg.type = std::move(type);
  arg.block = this;
  arg.index = args.size() - 1;
  arg.hint = std::move(hint);
  arg.state = state;
  return &arg;
}

Operation *Block::append(Operation *op) {
  opList.push_back(op);
  op->parentBlock = this;
  return op;
}

Operation *Block::insertBefore(Operation *op, Operation *before) {
  opList.insert(before->getIterator(), op);
  op->parentBlock = this;
  return op;
}

Operation *Block::terminator() const {
  return opList.empty() ? nullptr : const_cast<Operation *>(&opList.back());
}
