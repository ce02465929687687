//===- NarrowWeights.cpp - matrices stay in the type they are stored in ---===//
//
// Before:  weight @w : f32 = cast(source(..., element = bf16))
//          weight @bank : f32 = stack(@w, @w)
// After:   weight @w : bf16 = source(..., element = bf16)
//          weight @bank : bf16 = stack(@w, @w)
//          The ops that read them stay as they are.
//
//          With the files at hand, the same for a source in f32 all of whose
//          numbers are of the narrower type, as where a checkpoint was widened
//          once: weight @w : bf16 = cast(source(...)).
//
// Why:     decode is bound by the bytes of the weights, and half of those of a
//          widened matrix say nothing.
// Legal:   a matrix whose numbers are moved from narrower tensors, never
//          computed, and that programs only multiply by or look rows up in.
//          Products compute in f32 from either type, in one order of k, so
//          every bit of every result stays. The target must have such products.
// Order:   after convert-types, whose casts go; before fuse-qkv, which joins
//          weights of one type. Not part of what imports or upcycling write:
//          training needs weights that are wide.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "ir/target/TargetQueries.h"
#include "ir/weights/Materialize.h"
#include "passes/Passes.h"
#include "passes/lower/Matrices.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <map>

using namespace moec;

/// Whether the results have the numbers of the first argument, all or some, in
/// some order.
static bool movesNumbers(ExprKind kind) {
  switch (kind) {
  case ExprKind::Concat:
  case ExprKind::Permute:
  case ExprKind::Repeat:
  case ExprKind::Reshape:
  case ExprKind::RotaryToHalf:
  case ExprKind::Slice:
  case ExprKind::Stack:
  case ExprKind::Take:
  case ExprKind::Transpose:
    return true;
  default:
    return false;
  }
}

static llvm::Expected<ExprRef> castTo(ElementType element, ExprRef expr) {
  auto attrs = std::make_unique<ElementAttrs>();
  attrs->element = element;
  return Expr::make(ExprKind::Cast, {std::move(expr)}, std::move(attrs));
}

// Zero if a number is one of the type. What is no number is none of them: its
// bits might change. In words, which compilers make vectors of.

static uint32_t isNotBf16(float number) {
  return (llvm::bit_cast<uint32_t>(number) & 0xffff) |
         uint32_t(number != number);
}

static uint32_t isNotF16(float number) {
  float size = std::fabs(number);
  // Below the least normal number lie multiples of the least of all.
  bool isSmall = size < 0x1p-14f;
  float count = (isSmall ? number : 0.0f) * 0x1p24f;
  uint32_t isNoMultiple = float(int32_t(count)) != count;
  uint32_t isNotNormal = (llvm::bit_cast<uint32_t>(number) & 0x1fff) |
                         uint32_t(!(size <= 65504.0f));
  return isSmall ? isNoMultiple : isNotNormal;
}

template <uint32_t (*isNot)(float)>
static bool allFit(llvm::ArrayRef<uint8_t> part) {
  float numbers[1024];
  while (!part.empty()) {
    auto bytes = part.take_front(sizeof numbers);
    part = part.drop_front(bytes.size());
    std::memcpy(numbers, bytes.data(), bytes.size());
    uint32_t bad = 0;
    for (size_t i = 0; i < bytes.size() / sizeof(float); ++i)
      bad |= isNot(numbers[i]);
    if (bad)
      return false;
  }
  return true;
}

/// Whether all numbers of a source in f32 are numbers of `element`. A file that
/// is wide indeed is left at its first ones.
static llvm::Expected<bool> hasNumbers(ElementType element, const Expr &source,
                                       TensorReader &reader) {
  constexpr size_t kStep = 65536;
  MOEC_ASSIGN(llvm::ArrayRef<uint8_t> bytes,
              reader.bytes(*source.file, source.attrs<SourceAttrs>()));
  std::atomic<bool> all = true;
  auto check = [&](uint64_t i) -> llvm::Error {
    if (!all)
      return llvm::Error::success();
    MOEC_TRY(checkInterrupt());
    auto part = bytes.drop_front(i * kStep).take_front(kStep);
    bool fits = element == ElementType::bf16 ? allFit<isNotBf16>(part)
                                             : allFit<isNotF16>(part);
    if (!fits)
      all = false;
    return llvm::Error::success();
  };
  MOEC_TRY(check(0));
  uint64_t more = llvm::divideCeil(bytes.size(), kStep) - 1;
  MOEC_TRY(parallelFor(bytes.empty() ? 0 : more, defaultThreads(),
                       [&](uint64_t i) { return check(i + 1); }));
  return all.load();
}

static llvm::Expected<ExprRef> withArguments(const Expr &expr,
                                             std::vector<ExprRef> args) {
  return Expr::make(expr.kind, std::move(args), expr.attributes->clone(),
                    expr.weight, expr.file);
}

namespace {
/// Expressions once weights have become narrower. Every node is rebuilt once,
/// so that what was shared stays shared.
class Rebuilder {
public:
  /// Without a reader, types alone say what is narrow.
  explicit Rebuilder(TensorReader *reader) : reader(reader) {}

  /// The same numbers in `element`, if they are moved from tensors of that
  /// type; null if some are computed or come from another type.
  llvm::Expected<ExprRef> narrowed(const ExprRef &expr, ElementType element);
  /// The same, where weights that are referred to are narrower now.
  llvm::Expected<ExprRef> refreshed(const ExprRef &expr);

private:
  llvm::Expected<ExprRef> narrow(const ExprRef &expr, ElementType element);
  llvm::Expected<ExprRef> refresh(const ExprRef &expr);

  TensorReader *reader;
  // Keys own what they stand for, so that no other expression takes its place.
  std::map<std::pair<ExprRef, ElementType>, ExprRef> narrowOf;
  std::map<ExprRef, ExprRef> freshOf;
};
} // namespace

llvm::Expected<ExprRef> Rebuilder::narrowed(const ExprRef &expr,
                                            ElementType element) {
  std::pair key(expr, element);
  auto known = narrowOf.find(key);
  if (known != narrowOf.end())
    return known->second;
  MOEC_ASSIGN(ExprRef result, narrow(expr, element));
  return narrowOf[key] = std::move(result);
}

llvm::Expected<ExprRef> Rebuilder::narrow(const ExprRef &expr,
                                          ElementType element) {
  if (expr->kind == ExprKind::Ref) {
    if (expr->weight->type().element() != element)
      return ExprRef();
    return refreshed(expr);
  }
  // What is made narrow is as it should be, whatever it is made of.
  if (expr->type.element() == element)
    return refreshed(expr);
  if (expr->type.element() != ElementType::f32)
    return ExprRef();
  if (expr->kind == ExprKind::Cast || expr->kind == ExprKind::Dequantize)
    return narrowed(expr->args[0], element);
  if (expr->kind == ExprKind::Source && reader) {
    MOEC_ASSIGN(bool fits, hasNumbers(element, *expr, *reader));
    return fits ? castTo(element, expr) : ExprRef();
  }
  if (!movesNumbers(expr->kind))
    return ExprRef();
  std::vector<ExprRef> args = expr->args;
  for (ExprRef &arg : args) {
    bool indices = expr->kind == ExprKind::Take && &arg != &args.front();
    if (indices)
      continue;
    MOEC_ASSIGN(arg, narrowed(arg, element));
    if (!arg)
      return ExprRef();
  }
  return withArguments(*expr, std::move(args));
}

llvm::Expected<ExprRef> Rebuilder::refreshed(const ExprRef &expr) {
  auto known = freshOf.find(expr);
  if (known != freshOf.end())
    return known->second;
  MOEC_ASSIGN(ExprRef result, refresh(expr));
  return freshOf[expr] = std::move(result);
}

llvm::Expected<ExprRef> Rebuilder::refresh(const ExprRef &expr) {
  if (expr->kind == ExprKind::Ref) {
    if (expr->type == expr->weight->type())
      return expr;
    return Expr::make(ExprKind::Ref, {}, nullptr, expr->weight);
  }
  std::vector<ExprRef> args;
  for (const ExprRef &arg : expr->args) {
    MOEC_ASSIGN(ExprRef fresh, refreshed(arg));
    // Its numbers were f32 to this expression and are again.
    if (fresh->type != arg->type) {
      MOEC_ASSIGN(fresh, castTo(arg->type.element(), std::move(fresh)));
    }
    args.push_back(std::move(fresh));
  }
  if (args == expr->args)
    return expr;
  return withArguments(*expr, std::move(args));
}

/// Whether programs read the weight as a matrix only, and the target has the
/// products that they then need.
static bool mayBe(ElementType element, const Weight &weight,
                  PassContext &context) {
  for (Operation *op : weight.value().users()) {
    MatrixOperands matrices = matrixOperands(*op);
    for (unsigned i = 0; i < op->numOperands(); ++i)
      if (op->operand(i) == weight.value() && !matrices.contains(i))
        return false;
    // Every matrix of a feed-forward network is multiplied by one of these.
    llvm::SmallVector<ElementType, 2> activations;
    if (op->is(OpKind::Embedding))
      activations = {op->result().type().element()};
    else
      activations = {op->operand(0).type().element()};
    if (op->is(OpKind::Ffn) || op->is(OpKind::MoeExperts))
      activations.push_back(op->attrs<FfnAttrs>().hidden);
    for (ElementType activation : activations) {
      if (!context.target || context.target->takesWeights(element, activation))
        continue;
      context.remark(*op, "reads '" + weight.name +
                              "' widened; the target does not multiply " +
                              elementTypeName(activation) + " by " +
                              elementTypeName(element) +
                              ", in which it is stored");
      return false;
    }
  }
  return true;
}

namespace {
class NarrowWeights final : public Pass {
public:
  llvm::Error run(Module &module, PassContext &context) override {
    Rebuilder rebuilder(context.reader);
    // Weights refer to earlier ones.
    for (auto &weight : module.weights()) {
      MOEC_ASSIGN(ExprRef expr, narrow(*weight, rebuilder, context));
      if (expr) {
        context.count("narrowed");
      } else {
        MOEC_ASSIGN(expr, asBefore(*weight, rebuilder));
      }
      if (expr != weight->expr)
        module.redefine(weight.get(), std::move(expr));
    }
    return llvm::Error::success();
  }

private:
  /// The weight's numbers in a narrower type; null if it stays as it is.
  static llvm::Expected<ExprRef>
  narrow(const Weight &weight, Rebuilder &rebuilder, PassContext &context) {
    if (weight.type().element() != ElementType::f32 || weight.type().rank() < 2)
      return ExprRef();
    for (ElementType element : {ElementType::bf16, ElementType::f16}) {
      MOEC_ASSIGN(ExprRef expr, rebuilder.narrowed(weight.expr, element));
      if (expr && mayBe(element, weight, context))
        return expr;
    }
    return ExprRef();
  }

  static llvm::Expected<ExprRef> asBefore(const Weight &weight,
                                          Rebuilder &rebuilder) {
    MOEC_ASSIGN(ExprRef expr, rebuilder.refreshed(weight.expr));
    if (expr->type == weight.type())
      return expr;
    return castTo(weight.type().element(), std::move(expr));
  }
};
} // namespace

std::unique_ptr<Pass> moec::createNarrowWeights() {
  return std::make_unique<NarrowWeights>();
}
