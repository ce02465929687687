#include "ir/core/Clone.h"

using namespace moec;

static Value mapped(Value value, const ValueMap &map) {
  auto at = map.find(value);
  assert((at != map.end() || value.weight()) &&
         "operands are copied before their users");
  return at == map.end() ? value : at->second;
}

Operation *moec::cloneOp(const Operation &op, Block &block, ValueMap &map) {
  llvm::SmallVector<Value, 4> operands;
  for (Value operand : op.operands())
    operands.push_back(mapped(operand, map));
  llvm::SmallVector<TensorType, 2> types;
  for (unsigned i = 0; i < op.numResults(); ++i)
    types.push_back(op.result(i).type());
  Operation *copy = block.append(Operation::create(
      op.kind(), operands, types, op.attrs().clone(), op.loc()));
  for (unsigned i = 0; i < op.numResults(); ++i) {
    copy->result(i).setState(op.result(i).state());
    copy->result(i).setHint(op.result(i).hint());
    map[op.result(i)] = copy->result(i);
  }
  if (const Block *body = op.body()) {
    Block &target = copy->addBody();
    ValueMap inner;
    for (unsigned i = 0; i < body->numArguments(); ++i) {
      Value from = body->argument(i);
      inner[from] = target.addArgument(from.type(), from.hint(), from.state());
    }
    for (const Operation &nested : body->ops())
      cloneOp(nested, target, inner);
  }
  return copy;
}

Program *moec::cloneProgram(Module &module, const Program &program,
                            std::string name) {
  Program *copy = module.addProgram(std::move(name));
  if (!copy)
    return nullptr;
  copy->loc = program.loc;
  copy->resultNames = program.resultNames;
  ValueMap map;
  for (unsigned i = 0; i < program.body().numArguments(); ++i) {
    Value from = program.body().argument(i);
    map[from] =
        copy->body().addArgument(from.type(), from.hint(), from.state());
  }
  for (const Operation &op : program.body().ops())
    cloneOp(op, copy->body(), map);
  return copy;
}
