//===- FormKernels.cpp - every op becomes part of a kernel ----------------===//
//
// Before:  %g = linear %h, @gate              After:  %a = kernel.gemm(%h,
// @gate, @up) {...}
//          %u = linear %h, @up                        %y = kernel.gemm(%a,
//          @down, %x) {...} %a = mul (activation %g), %u %y = add %x, (linear
//          %a, @down)
//
// Why:     a kernel keeps what flows between its ops on chip.
// Legal:   a product takes in what follows it only while the value in between
//          has one reader. Row-wise ops join while they stand next to each
//          other and work on the same rows. Whatever does not join becomes a
//          kernel of its own, so code is always correct.
// Order:   after expand-ffn, convert-types and fuse-qkv; before the plan.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/core/Clone.h"
#include "ir/kernel/KernelOps.h"
#include "ir/ops/MoeOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/target/TargetQueries.h"
#include "passes/Passes.h"
#include "passes/lower/Specialize.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace moec;

namespace {
using OpList = llvm::SmallVector<Operation *, 8>;

class KernelFormer {
public:
  KernelFormer(Program &program, RaggedForm form, PassContext &context)
      : block(program.body()), form(form), context(context) {}

  llvm::Error run() {
    number();
    if (form == RaggedForm::grouped)
      addDispatches();
    for (Operation &op : llvm::make_early_inc_range(block.ops()))
      if (!taken.count(&op))
        anchor(op);
    build();
    return formRows();
  }

private:
  void number() {
    unsigned i = 0;
    for (Operation &op : block.ops())
      order[&op] = i++;
  }
  void addDispatches();
  void anchor(Operation &op);
  void gemm(Operation &op);
  void combine(Operation &op);
  void absorbAdd(OpList &ops);
  void absorbCast(OpList &ops);
  Operation *onlyReader(Operation &op, OpKind kind);
  void take(OpKind kind, OpList ops) {
    for (Operation *op : ops)
      taken.insert(op);
    groups.push_back({kind, std::move(ops)});
  }
  void build();
  Operation *outline(OpKind kind, llvm::ArrayRef<Operation *> ops);
  llvm::Error formRows();

  struct Group {
    OpKind kind;
    OpList ops;
  };
  Block &block;
  RaggedForm form;
  PassContext &context;
  llvm::DenseMap<const Operation *, unsigned> order;
  llvm::DenseSet<Operation *> taken;
  std::vector<Group> groups;
};
} // namespace

void KernelFormer::addDispatches() {
  for (Operation &op : llvm::make_early_inc_range(block.ops())) {
    if (!op.is(OpKind::MoeGroupedLinear))
      continue;
    Value expert = op.operand(2);
    if (llvm::any_of(expert.users(), [](Operation *user) {
          return user->is(OpKind::MoeDispatch);
        }))
      continue;
    // Behind route and count, which become one kernel.
    Builder b(&op);
    b.setLoc(expert.definingOp() ? expert.definingOp()->loc() : op.loc());
    auto attrs = std::make_unique<MoeDispatchAttrs>();
    attrs->experts = op.operand(3).type().dim(0).constant();
    TensorType offsets({Dim(attrs->experts + 1)}, ElementType::i32);
    b.create(OpKind::MoeDispatch, {expert}, {offsets, expert.type()},
             std::move(attrs));
  }
  number();
}

/// The op of this kind that alone reads the result of `op`; null otherwise.
Operation *KernelFormer::onlyReader(Operation &op, OpKind kind) {
  if (!op.result().hasOneUse()) {
    if (llvm::any_of(op.result().users(),
                     [&](Operation *user) { return user->is(kind); }))
      context.remark(op, "not fused with what follows: its result has " +
                             std::to_string(op.result().users().size()) +
                             " readers");
    return nullptr;
  }
  Operation *user = op.result().users()[0];
  return user->is(kind) && !taken.count(user) ? user : nullptr;
}

void KernelFormer::absorbAdd(OpList &ops) {
  Operation *add = onlyReader(*ops.back(), OpKind::Add);
  if (!add)
    return;
  Value mine = ops.back()->result();
  Value residual = add->operand(0) == mine ? add->operand(1) : add->operand(0);
  bool ready = !residual.definingOp() ||
               order[residual.definingOp()] < order[ops.front()];
  if (residual != mine && residual.type().shape() == mine.type().shape() &&
      ready)
    ops.push_back(add);
  else
    context.remark(*add,
                   "not fused into the product before it: its other operand is "
                   "no matrix that is ready by then");
}

void KernelFormer::absorbCast(OpList &ops) {
  if (Operation *cast = onlyReader(*ops.back(), OpKind::Cast))
    ops.push_back(cast);
}

static bool isFfnActivation(const Operation &op) {
  ActivationFn fn = op.attrs<ActivationAttrs>().fn;
  return fn != ActivationFn::sigmoid && fn != ActivationFn::tanh;
}

void KernelFormer::gemm(Operation &op) {
  bool ragged = op.is(OpKind::MoeGroupedLinear);
  unsigned weight = ragged ? 3 : 1;
  OpList ops{&op};
  Operation *activation = onlyReader(op, OpKind::Activation);
  // Products compute the functions of feed-forward networks only.
  if (activation && !isFfnActivation(*activation))
    activation = nullptr;
  if (activation) {
    Operation *mul = onlyReader(*activation, OpKind::Mul);
    Operation *up = nullptr;
    if (mul) {
      Value other = mul->operand(mul->operand(0) == activation->result());
      up = other.definingOp();
    }
    // Gate and up: the same input, weights of one type.
    bool pair = up && up != &op && up->is(op.kind()) && !taken.count(up) &&
                up->result().hasOneUse() && up->operand(0) == op.operand(0) &&
                up->operand(weight).type() == op.operand(weight).type() &&
                up->attrs().str() == op.attrs().str();
    // A kernel has one bias, and theirs are two weights.
    unsigned plain = weight + 1;
    bool gated =
        pair && op.numOperands() == plain && up->numOperands() == plain;
    if (gated)
      ops.append({up, activation, mul});
    else
      ops.push_back(activation);
    if (mul && !gated)
      context.remark(*mul,
                     pair ? "not fused into the product before it: gate and up "
                            "have biases, each its own"
                          : "not fused into the product before it: its other "
                            "operand is no product of the same input");
  } else if (Operation *mul = onlyReader(op, OpKind::Mul)) {
    // The up half is taken when its gate comes by, before or after.
    Value other = mul->operand(mul->operand(0) == op.result());
    Operation *act = other.definingOp();
    if (act && act->is(OpKind::Activation) && act->operand(0).definingOp() &&
        act->operand(0).definingOp()->is(op.kind()) &&
        !taken.count(act->operand(0).definingOp())) {
      gemm(*act->operand(0).definingOp());
      if (taken.count(&op))
        return;
    }
  }
  if (!ragged)
    absorbAdd(ops);
  else if (Operation *weigh = onlyReader(*ops.back(), OpKind::MoeWeigh))
    ops.push_back(weigh);
  absorbCast(ops);
  take(ragged ? OpKind::KernelRaggedGemm : OpKind::KernelGemm, std::move(ops));
}

void KernelFormer::combine(Operation &op) {
  OpList ops{&op};
  absorbAdd(ops);
  absorbCast(ops);
  take(OpKind::KernelCombine, std::move(ops));
}

void KernelFormer::anchor(Operation &op) {
  switch (op.kind()) {
  case OpKind::Linear:
  case OpKind::MoeGroupedLinear:
    return gemm(op);
  case OpKind::MoeCombine:
    return combine(op);
  case OpKind::Attention: {
    OpList ops{&op};
    absorbCast(ops);
    return take(OpKind::KernelAttention, std::move(ops));
  }
  case OpKind::MoeGateHeads: {
    OpList ops{&op};
    absorbCast(ops);
    return take(OpKind::KernelGateHeads, std::move(ops));
  }
  case OpKind::KvAppend:
    return take(OpKind::KernelKvAppend, {&op});
  case OpKind::MoeDispatch:
    return take(OpKind::KernelDispatch, {&op});
  case OpKind::MoeRoute: {
    OpList ops{&op};
    for (Operation *user : op.result(1).users())
      if (user->is(OpKind::MoeCount))
        ops.push_back(user);
    return take(OpKind::KernelRoute, std::move(ops));
  }
  default:
    return;
  }
}

/// Replaces ops (in order, the last one after all they read) by a kernel op.
Operation *KernelFormer::outline(OpKind kind, llvm::ArrayRef<Operation *> ops) {
  llvm::SetVector<Value> inputs;
  llvm::SmallVector<Value, 4> outputs;
  llvm::DenseSet<Operation *> inside(ops.begin(), ops.end());
  for (Operation *op : ops) {
    for (Value operand : op->operands())
      if (!operand.definingOp() || !inside.count(operand.definingOp()))
        inputs.insert(operand);
    for (Value result : op->results())
      // The ragged products that read a dispatch are formed after it; a route
      // writes everything, also where nothing reads its weights.
      if (kind == OpKind::KernelDispatch || op->is(OpKind::MoeRoute) ||
          llvm::any_of(result.users(),
                       [&](Operation *user) { return !inside.count(user); }))
        outputs.push_back(result);
  }
  auto attrs = std::make_unique<KernelAttrs>();
  llvm::SmallVector<Value, 8> operands(inputs.begin(), inputs.end());
  if (kind == OpKind::KernelRaggedGemm) {
    attrs->form = form;
    if (form == RaggedForm::grouped) {
      Value expert = ops.front()->operand(2);
      Operation *dispatch = *llvm::find_if(expert.users(), [](Operation *user) {
        return user->is(OpKind::KernelDispatch);
      });
      operands.append({dispatch->result(0), dispatch->result(1)});
    }
  }
  llvm::SmallVector<TensorType, 2> types;
  for (Value output : outputs)
    types.push_back(output.type());
  Operation *last = *llvm::max_element(
      ops, [&](Operation *a, Operation *b) { return order[a] < order[b]; });
  Operation *kernel = block.insertBefore(
      Operation::create(kind, operands, types, std::move(attrs),
                        ops.front()->loc()),
      last);
  unsigned place = order.lookup(last);
  order[kernel] = place;
  Block &body = kernel->addBody();
  ValueMap map;
  for (Value operand : operands)
    map[operand] =
        body.addArgument(operand.type(), operand.hint(), operand.state());
  for (Operation *op : ops)
    cloneOp(*op, body, map);
  llvm::SmallVector<Value, 2> yielded;
  for (unsigned i = 0; i < outputs.size(); ++i) {
    yielded.push_back(map.lookup(outputs[i]));
    kernel->result(i).setState(outputs[i].state());
    kernel->result(i).setHint(outputs[i].hint());
    outputs[i].replaceAllUsesWith(kernel->result(i));
  }
  body.append(Operation::create(OpKind::Yield, yielded, {},
                                std::make_unique<NoAttrs>(),
                                ops.front()->loc()));
  for (Operation *op : llvm::reverse(ops))
    op->erase();
  return kernel;
}

void KernelFormer::build() {
  // Ops within a group keep their order in the program.
  for (Group &group : groups)
    llvm::sort(group.ops,
               [&](Operation *a, Operation *b) { return order[a] < order[b]; });
  llvm::stable_sort(groups, [&](const Group &a, const Group &b) {
    return order[a.ops.back()] < order[b.ops.back()];
  });
  for (Group &group : groups)
    outline(group.kind, group.ops);
}

static bool isRowwise(const Operation &op) {
  switch (op.kind()) {
  case OpKind::Activation:
  case OpKind::Add:
  case OpKind::Cast:
  case OpKind::Clamp:
  case OpKind::Embedding:
  case OpKind::GatherRows:
  case OpKind::JoinHeads:
  case OpKind::LayerNorm:
  case OpKind::MoeWeigh:
  case OpKind::Mul:
  case OpKind::RmsNorm:
  case OpKind::Rope:
  case OpKind::Scale:
  case OpKind::Slice:
  case OpKind::Sub:
    return true;
  default:
    return false;
  }
}

llvm::Error KernelFormer::formRows() {
  std::vector<OpList> runs;
  for (Operation &op : block.ops()) {
    if (!isRowwise(op)) {
      if (!isKernel(op) && !op.is(OpKind::Return))
        return opError(op) << "has no kernel";
      runs.emplace_back();
      continue;
    }
    if (op.result().type().rank() != 2)
      return opError(op) << "works on rows, but makes " << op.result().type();
    OpList *run = runs.empty() ? nullptr : &runs.back();
    bool picksRows = op.is(OpKind::Embedding) || op.is(OpKind::GatherRows);
    // Rows that an earlier op of the run makes cannot be picked in it.
    bool joins =
        run && !run->empty() &&
        run->front()->result().type().dim(0) == op.result().type().dim(0) &&
        !(picksRows && llvm::is_contained(*run, op.operand(0).definingOp()));
    if (!joins)
      runs.emplace_back();
    runs.back().push_back(&op);
  }
  number();
  for (OpList &run : runs)
    if (!run.empty())
      outline(OpKind::KernelRowwise, run);
  return llvm::Error::success();
}

namespace {
class FormKernels final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    for (auto &program : module.programs()) {
      RaggedForm form = program->name == kSmallBatchProgram
                            ? RaggedForm::direct
                            : RaggedForm::grouped;
      MOEC_TRY(KernelFormer(*program, form, context).run());
      context.count("kernels", program->body().ops().size() - 1);
      if (!context.target)
        continue;
      for (const Operation &op : program->body().ops())
        if (isKernel(op))
          if (auto reason = context.target->unsupported(op))
            return opError(op) << *reason;
    }
    return llvm::Error::success();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createFormKernels() {
  return std::make_unique<FormKernels>();
}
