//===- ConvertTypes.cpp - narrower weights and activations ----------------===//
//
// Before:  %y = linear %x, @w : f32           weight @w : f32 = e
// After:   %c = cast %x : bf16                weight @w : bf16 = cast(e)
//          %y = linear %c, @w : f32
//
// Why:     decode is bound by the bytes of the weights, prefill by the rate of
//          narrow multiply instructions.
// Legal:   changes results; a user asks for it. The router stays f32, since
//          equal router rows must give equal score bits (design.md, 3).
// Order:   before fuse-qkv and form-kernels, which see the casts.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Builder.h"
#include "ir/core/Module.h"
#include "passes/Passes.h"
#include "passes/lower/Matrices.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace moec;

namespace {
struct ConvertTypesOptions final : AttrsOf<ConvertTypesOptions> {
  /// Element type of the matrices of linears and experts, embedding included.
  ElementType weights = ElementType::f32;
  /// Of what goes into them, of queries and of the KV cache.
  ElementType activations = ElementType::f32;
  template <typename V> void fields(V &v) {
    v.field("weights", weights);
    v.field("activations", activations);
  }
};

class Converter {
public:
  Converter(Module &module, const ConvertTypesOptions &options)
      : module(module), options(options) {}

  llvm::Error run() {
    for (auto &program : module.programs())
      for (Operation &op : program->body().ops())
        convert(op);
    for (Weight *weight : matrices)
      MOEC_TRY(narrow(weight));
    for (auto &state : module.states())
      if (state->kind == StateKind::kv)
        retype(*state);
    return llvm::Error::success();
  }

private:
  /// One of two layers is followed by the other.
  static bool isRouter(const Operation &op) {
    return llvm::all_of(op.result().users(), [](Operation *user) {
      bool between = user->is(OpKind::Activation) &&
                     user->attrs<ActivationAttrs>().fn == ActivationFn::tanh;
      return user->is(OpKind::MoeRoute) ||
             (between &&
              llvm::all_of(user->result().users(), [](Operation *next) {
                return next->is(OpKind::Linear) && isRouter(*next);
              }));
    });
  }

  void convert(Operation &op) {
    // Queries are multiplied with keys of the cache, which are narrow too.
    if (op.is(OpKind::Attention))
      return castInput(op);
    MatrixOperands operands = matrixOperands(op);
    if (!operands.count || (op.is(OpKind::Linear) && isRouter(op)))
      return;
    for (unsigned i = 0; i < operands.count; ++i)
      if (Weight *matrix = op.operand(operands.first + i).weight())
        matrices.insert(matrix);
    if (op.is(OpKind::Embedding))
      return;
    if (op.is(OpKind::Ffn) || op.is(OpKind::MoeExperts))
      op.attrs<FfnAttrs>().hidden = options.activations;
    castInput(op);
  }

  /// One cast per value, shared by its readers.
  void castInput(Operation &op) {
    Value x = op.operand(0);
    if (x.type().element() == options.activations)
      return;
    Value &cast = casts[x];
    if (!cast) {
      Builder b(&op);
      b.setLoc(x.definingOp() ? x.definingOp()->loc() : op.loc());
      cast =
          b.make(OpKind::Cast, {x}, x.type().withElement(options.activations));
      // Beside the producer, so that they share a kernel.
      if (Operation *producer = x.definingOp())
        if (Operation *next = producer->next();
            next && next != cast.definingOp())
          cast.definingOp()->moveBefore(next);
    }
    op.setOperand(0, cast);
  }

  llvm::Error narrow(Weight *weight) {
    if (weight->type().element() == options.weights)
      return llvm::Error::success();
    ElementType element = options.weights;
    // Rows that are no whole number of blocks stay wider.
    if (isBlockQuantized(element) &&
        weight->type().dim(-1).constant() % blockElements(element))
      element = ElementType::bf16;
    MOEC_ASSIGN(ExprRef cast, castTo(element, weight->expr, weight->loc));
    module.redefine(weight, cast);
    return llvm::Error::success();
  }

  /// Of a bank each part is cast, so that it stays known as a stack of stored
  /// tensors.
  static llvm::Expected<ExprRef> castTo(ElementType element,
                                        const ExprRef &expr, Location loc) {
    if (expr->kind == ExprKind::Stack) {
      std::vector<ExprRef> parts;
      for (const ExprRef &arg : expr->args) {
        MOEC_ASSIGN(ExprRef part, castTo(element, arg, loc));
        parts.push_back(std::move(part));
      }
      return Expr::make(ExprKind::Stack, std::move(parts), nullptr, nullptr,
                        nullptr, loc);
    }
    auto attrs = std::make_unique<ElementAttrs>();
    attrs->element = element;
    return Expr::make(ExprKind::Cast, {expr}, std::move(attrs), nullptr,
                      nullptr, loc);
  }

  void retype(State &state) {
    state.type = state.type.withElement(options.activations);
    for (auto &program : module.programs()) {
      Block &body = program->body();
      for (unsigned i = 0; i < body.numArguments(); ++i)
        if (body.argument(i).state() == &state)
          body.argument(i).setType(state.type);
      for (Operation &op : body.ops())
        for (Value result : op.results())
          if (result.state() == &state)
            result.setType(state.type);
    }
  }

  Module &module;
  const ConvertTypesOptions &options;
  llvm::SetVector<Weight *> matrices;
  llvm::DenseMap<Value, Value> casts;
};
} // namespace

namespace {
class ConvertTypes final : public PassWith<ConvertTypesOptions> {
public:
  llvm::Error run(Module &module, PassContext &) override {
    ElementType activations = options().activations;
    if (activations != ElementType::f32 && activations != ElementType::bf16)
      return error() << "cannot compute with activations of "
                     << elementTypeName(activations) << ", expects f32 or bf16";
    ElementType weights = options().weights;
    if (weights != ElementType::f32 && weights != ElementType::bf16 &&
        weights != ElementType::q8_0)
      return error() << "cannot compute with weights of "
                     << elementTypeName(weights)
                     << ", expects f32, bf16 or q8_0";
    return Converter(module, options()).run();
  }
};
} // namespace

std::unique_ptr<Pass> moec::createConvertTypes() {
  return std::make_unique<ConvertTypes>();
}
