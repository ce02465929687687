//===- ToDense.cpp - a mixture becomes one FFN ----------------------------===//
//
// Before:  %l = linear %x, @router ... %y = moe.combine %e, %offsets, %weight
// After:   %y = ffn %x, average of the experts
//
// Why:     a start for dense training, a small model, or the way back.
// Legal:   for a block that matchMoeBlock knows. A shared FFN without a gate is
//          joined with the result; one with a gate is no part of any FFN.
// Order:   on the imported graph, before experts are expanded.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Clone.h"
#include "ir/ops/MoeBlock.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "passes/upcycle/Banks.h"
#include "passes/upcycle/EditExpert.h"
#include "passes/upcycle/Layers.h"
#include "passes/upcycle/Neurons.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace moec;

namespace {
class ToDense final : public PassWith<ToDenseOptions> {
public:
  llvm::Error run(Module &module, PassContext &context) override;

private:
  llvm::Error check(const MoeBlockView &view) const;
  llvm::Expected<ExprRef> routed(const Weight &bank, unsigned which,
                                 bool bias) const;
  llvm::Expected<ExprRef> matrix(const Weight &bank, const Weight *shared,
                                 unsigned which, bool bias) const;
  llvm::Expected<Value> define(Module &module, const MoeBlockView &view,
                               llvm::ArrayRef<Weight *> own, std::string name,
                               ExprRef expr) const;
  llvm::Expected<Program *> rewrite(Module &module, Program &program,
                                    MoeBlockView &view, int64_t layer);
};
} // namespace

/// gate, up (0, 1) or down (2) of what the routed experts become.
llvm::Expected<ExprRef> ToDense::routed(const Weight &bank, unsigned which,
                                        bool bias) const {
  int64_t count = bank.type().dim(0).constant();
  switch (options().how) {
  case DenseBy::average:
    return meanExpert(bank);
  case DenseBy::expert:
    return expertOf(bank, options().expert);
  case DenseBy::concat: {
    if (which == 2 && bias)
      return meanExpert(bank);
    std::vector<ExprRef> experts;
    for (int64_t expert = 0; expert < count; ++expert) {
      MOEC_ASSIGN(ExprRef one, expertOf(bank, expert));
      MOEC_ASSIGN(one, readable(std::move(one)));
      experts.push_back(std::move(one));
    }
    MOEC_ASSIGN(ExprRef wide, joined(std::move(experts), which == 2 ? 1 : 0));
    if (which == 2) {
      MOEC_ASSIGN(wide, scaled(std::move(wide), 1.0 / count));
    }
    return castTo(std::move(wide), bank.type().element());
  }
  }
  llvm_unreachable("every way has an expression");
}

/// Takes a state that no op reads any more out of a program: the same program
/// without the argument.
static Program *withoutArgument(Module &module, Program &program,
                                State *state) {
  Program *copy = module.addProgram(program.name + ".dense");
  copy->loc = program.loc;
  copy->resultNames = program.resultNames;
  ValueMap map;
  for (unsigned i = 0; i < program.body().numArguments(); ++i) {
    Value from = program.body().argument(i);
    if (from.state() != state)
      map[from] =
          copy->body().addArgument(from.type(), from.hint(), from.state());
  }
  for (const Operation &op : program.body().ops())
    cloneOp(op, copy->body(), map);
  std::string name = program.name;
  module.eraseProgram(&program);
  copy->name = std::move(name);
  bool used = llvm::any_of(module.programs(), [&](auto &other) {
    for (unsigned i = 0; i < other->body().numArguments(); ++i)
      if (other->body().argument(i).state() == state)
        return true;
    return false;
  });
  if (!used)
    module.eraseState(state);
  return copy;
}

/// Ends a program without the last version of the block's counter.
static void dropCounter(Program &program, Operation *count) {
  Operation *end = program.body().terminator();
  llvm::SmallVector<Value> kept;
  std::vector<std::string> names;
  for (auto [value, name] :
       llvm::zip_equal(end->operands(), program.resultNames))
    if (value != count->result()) {
      kept.push_back(value);
      names.push_back(name);
    }
  Builder b(end);
  b.setLoc(end->loc());
  b.create(OpKind::Return, kept, {});
  program.resultNames = std::move(names);
  end->erase();
  count->erase();
}

/// Erases what nothing uses from `last` back to `first`.
static void eraseUnused(Operation *last, Operation *first) {
  Operation *before = first->previous();
  for (Operation *op = last, *next; op != before; op = next) {
    next = op->previous();
    if (!op->hasUses())
      op->erase();
  }
}

static void collectRefs(const Expr &expr,
                        llvm::SmallPtrSetImpl<Weight *> &out) {
  if (expr.weight)
    out.insert(expr.weight);
  for (const ExprRef &arg : expr.args)
    collectRefs(*arg, out);
}

/// Erases weights that neither an op nor another weight uses.
static void eraseDead(Module &module, llvm::ArrayRef<Weight *> candidates) {
  llvm::SmallPtrSet<Weight *, 16> needed;
  for (auto &weight : module.weights())
    if (!llvm::is_contained(candidates, weight.get()))
      collectRefs(*weight->expr, needed);
  for (Weight *weight : candidates)
    if (weight->value().isUnused() && !needed.contains(weight))
      module.eraseWeight(weight);
}

/// Gives `name` to the expression; a dense weight of that name, left from
/// before upcycling, makes room if nothing else needs it.
llvm::Expected<Value> ToDense::define(Module &module, const MoeBlockView &view,
                                      llvm::ArrayRef<Weight *> own,
                                      std::string name, ExprRef expr) const {
  Weight *taken = module.findWeight(name);
  if (!taken)
    return module
        .addWeight(std::move(name), std::move(expr), view.experts->loc())
        ->value();
  bool needed = !taken->value().isUnused();
  for (auto &weight : module.weights()) {
    llvm::SmallPtrSet<Weight *, 16> refs;
    collectRefs(*weight->expr, refs);
    needed |= refs.contains(taken) && !llvm::is_contained(own, weight.get());
  }
  if (needed)
    return opError(*view.experts) << "becomes a dense FFN, but the module uses "
                                  << "the weight '" << name << "' elsewhere";
  module.redefine(taken, std::move(expr));
  return taken->value();
}

llvm::Error ToDense::check(const MoeBlockView &view) const {
  int64_t experts = view.expertCount();
  if (options().how == DenseBy::expert &&
      (options().expert < 0 || options().expert >= experts))
    return opError(*view.experts) << "has experts 0 to " << experts - 1
                                  << ", but not expert " << options().expert;
  if (view.sharedRouter)
    return opError(*view.shared)
           << "is behind a gate that depends on the token, which no dense FFN "
              "has";
  if (view.routed() != view.input)
    return opError(*view.experts)
           << "stands on another FFN, so that a dense FFN cannot take its "
              "place";
  for (Operation *user : view.count ? view.count->result().users()
                                    : llvm::ArrayRef<Operation *>())
    if (!user->is(OpKind::Return))
      return opError(*user) << "counts more than this block's experts";
  const FfnAttrs &attrs = view.ffnAttrs();
  if (!view.shared)
    return llvm::Error::success();
  const auto &beside = view.shared->attrs<FfnAttrs>();
  if (beside.fn != attrs.fn || beside.gated != attrs.gated ||
      beside.biased != attrs.biased)
    return opError(*view.shared)
           << "has another form than the experts, so that they are no one FFN";
  return llvm::Error::success();
}

/// The routed experts' matrix and the shared FFN's as one.
llvm::Expected<ExprRef> ToDense::matrix(const Weight &bank,
                                        const Weight *shared, unsigned which,
                                        bool bias) const {
  MOEC_ASSIGN(ExprRef expr, routed(bank, which, bias));
  MOEC_ASSIGN(expr, inlined(expr));
  if (!shared)
    return expr;
  MOEC_ASSIGN(ExprRef other, inlined(shared->expr));
  MOEC_ASSIGN(other, readable(std::move(other)));
  MOEC_ASSIGN(expr, readable(std::move(expr)));
  if (which == 2 && bias) {
    MOEC_ASSIGN(expr, Expr::make(ExprKind::Add, {expr, other}, nullptr));
  } else {
    MOEC_ASSIGN(other, castTo(std::move(other), expr->type.element()));
    MOEC_ASSIGN(expr, joined({expr, other}, which == 2 ? 1 : 0));
  }
  return castTo(std::move(expr), bank.type().element());
}

llvm::Expected<Program *> ToDense::rewrite(Module &module, Program &program,
                                           MoeBlockView &view, int64_t layer) {
  MOEC_TRY(check(view));
  FfnAttrs attrs = view.ffnAttrs();
  attrs.weightedHidden = false;
  MoeWeights weights = view.weights();
  llvm::SmallVector<Weight *> own;
  llvm::SmallVector<Value> values{weights.router};
  for (Value value :
       {weights.firstRouter, weights.routerBias, weights.selectBias})
    if (value)
      values.push_back(value);
  values.append(weights.experts);
  values.append(weights.shared);
  for (Value value : values) {
    if (!value.weight() || !value.hasOneUse())
      return opError(*view.experts)
             << "has a router or experts that are no weights of its own";
    own.push_back(value.weight());
  }

  std::string base = "layers." + std::to_string(layer) + ".ffn";
  static constexpr llvm::StringLiteral names[] = {".gate", ".up", ".down"};
  llvm::SmallVector<Value> operands{view.input};
  for (auto [i, value] : llvm::enumerate(weights.experts)) {
    bool bias = i >= attrs.numWeights();
    unsigned which = i % attrs.numWeights() + (attrs.gated ? 0 : 1);
    const Weight *beside = view.shared ? weights.shared[i].weight() : nullptr;
    MOEC_ASSIGN(ExprRef expr, matrix(*value.weight(), beside, which, bias));
    std::string name = base + names[which].str() + (bias ? ".bias" : "");
    MOEC_ASSIGN(Value dense,
                define(module, view, own, std::move(name), std::move(expr)));
    operands.push_back(dense);
  }
  Operation *last = view.output.definingOp();
  Operation *first = view.firstRouter ? view.firstRouter : view.router;
  Builder b(last);
  b.setLoc(Location::ofObject("model." + base));
  Value y = b.make(OpKind::Ffn, operands, view.output.type(), attrs);
  view.output.replaceAllUsesWith(y);
  State *state = nullptr;
  if (view.count) {
    state = view.count->operand(0).state();
    dropCounter(program, view.count);
  }
  eraseUnused(last, first);
  eraseDead(module, own);
  return state ? withoutArgument(module, program, state) : &program;
}

llvm::Error ToDense::run(Module &module, PassContext &context) {
  // The list of programs changes as they are rewritten.
  std::vector<Program *> programs;
  for (auto &program : module.programs())
    programs.push_back(program.get());
  bool left = false;
  for (Program *program : programs) {
    int64_t count = feedForwardLayers(*program).size();
    MOEC_ASSIGN(std::set<int64_t> layers, parseLayers(options().layers, count));
    for (int64_t layer = 0; layer < count; ++layer) {
      Operation *op = feedForwardLayers(*program)[layer];
      auto view = matchMoeBlock(*op);
      if (!view || !layers.count(layer)) {
        left |= bool(view);
        if (layers.count(layer) && options().layers != "all")
          context.remark(*op, "is a dense layer already");
        continue;
      }
      MOEC_ASSIGN(program, rewrite(module, *program, *view, layer));
      context.count("made dense");
    }
  }
  if (!left) {
    module.facts.erase(facts::kExperts);
    module.facts.erase(facts::kTopk);
  }
  module.facts.erase("upcycle.exactness");
  module.facts["upcycle.to_dense"] = options().str();
  return llvm::Error::success();
}

std::unique_ptr<Pass> moec::createToDense() {
  return std::make_unique<ToDense>();
}
