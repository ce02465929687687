#include "passes/rewrite/Rewrite.h"

#include "ir/core/Module.h"
#include "ir/ops/OpInfo.h"

using namespace moec;

Builder Rewriter::before(Operation &op) const {
  Builder builder(&op);
  builder.setLoc(op.loc());
  return builder;
}

void Rewriter::forget(Operation &op) {
  worklist.remove(&op);
  if (op.body())
    for (Operation &inner : op.body()->ops())
      forget(inner);
}

void Rewriter::erase(Operation &op) {
  llvm::SmallSetVector<Operation *, 4> dead;
  dead.insert(&op);
  while (!dead.empty()) {
    Operation *next = dead.pop_back_val();
    llvm::SmallSetVector<Operation *, 4> sources;
    for (Value operand : next->operands())
      if (Operation *source = operand.definingOp())
        sources.insert(source);
    forget(*next);
    next->erase();
    for (Operation *source : sources)
      if (isPure(*source) && !source->hasUses())
        dead.insert(source);
      else
        worklist.insert(source);
  }
}

void Rewriter::replace(Operation &op, Value value) {
  assert(op.result().type() == value.type() &&
         op.result().state() == value.state() &&
         "a replacement has the type of what it replaces");
  // A name that a user gave survives if the new value has none.
  if (value.hint().empty() && value.definingOp())
    value.setHint(op.result().hint());
  for (Operation *user : op.result().users())
    worklist.insert(user);
  if (Operation *source = value.definingOp())
    worklist.insert(source);
  op.result().replaceAllUsesWith(value);
  erase(op);
}

namespace moec {
class RewriteDriver {
public:
  RewriteDriver(llvm::ArrayRef<RewriteRule> rules,
                llvm::function_ref<void(llvm::StringRef)> onFired)
      : rules(rules), onFired(onFired) {}

  void run(Block &block) {
    collect(block);
    while (!rewriter.worklist.empty())
      visit(*rewriter.worklist.pop_back_val());
  }

private:
  void collect(Block &block) {
    for (Operation &op : block.ops()) {
      rewriter.worklist.insert(&op);
      if (op.body())
        collect(*op.body());
    }
  }
  void visit(Operation &op) {
    for (const RewriteRule &rule : rules)
      if (op.is(rule.root) && rule.apply(op, rewriter))
        // The op may be gone; if not, the rule has queued it.
        return onFired(rule.name);
  }

  llvm::ArrayRef<RewriteRule> rules;
  llvm::function_ref<void(llvm::StringRef)> onFired;
  Rewriter rewriter;
};
} // namespace moec

void moec::rewrite(Program &program, llvm::ArrayRef<RewriteRule> rules,
                   llvm::function_ref<void(llvm::StringRef)> onFired) {
  RewriteDriver(rules, onFired).run(program.body());
}
