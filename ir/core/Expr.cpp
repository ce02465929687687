#include "ir/core/Expr.h"

#include "ir/core/Module.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace moec;

namespace {
struct ExprInfo {
  llvm::StringLiteral mnemonic;
  int minArgs, maxArgs;
};
} // namespace

static const ExprInfo &infoOf(ExprKind kind) {
  static constexpr ExprInfo table[] = {
#define EXPR(Name, Mnemonic, Attrs, MinArgs, MaxArgs)                          \
  {Mnemonic, MinArgs, MaxArgs},
#include "ir/core/Exprs.def"
  };
  return table[static_cast<unsigned>(kind)];
}

llvm::StringRef moec::exprName(ExprKind kind) { return infoOf(kind).mnemonic; }

std::optional<ExprKind> moec::parseExprKind(llvm::StringRef name) {
#define EXPR(Name, Mnemonic, ...)                                              \
  if (name == Mnemonic)                                                        \
    return ExprKind::Name;
#include "ir/core/Exprs.def"
  return std::nullopt;
}

std::unique_ptr<Attributes> moec::makeExprAttrs(ExprKind kind) {
  switch (kind) {
#define EXPR(Name, Mnemonic, Attrs, ...)                                       \
  case ExprKind::Name:                                                         \
    return std::make_unique<Attrs>();
#include "ir/core/Exprs.def"
  }
  llvm_unreachable("every kind is listed");
}

namespace {
/// Derives the type of an expression from checked argument counts.
class Typer {
public:
  Typer(Expr &expr, Location loc) : expr(expr), loc(std::move(loc)) {}

  llvm::Expected<TensorType> derive();

private:
  ErrorBuilder fail() const {
    return std::move(error(loc) << "'" << exprName(expr.kind) << "' ");
  }
  const TensorType &arg(unsigned i = 0) const { return expr.args[i]->type; }
  llvm::Expected<TensorType> ofShape(llvm::ArrayRef<int64_t> shape,
                                     ElementType element) const;
  llvm::Error checkAxis(int64_t axis) const {
    if (axis < 0 || axis >= int64_t(arg().rank()))
      return fail() << "has axis " << axis << ", but its argument has rank "
                    << arg().rank();
    return llvm::Error::success();
  }
  llvm::Error sameShapes() const;
  /// `arg` with dimension `axis` replaced.
  TensorType withDim(int64_t axis, int64_t size) const {
    llvm::SmallVector<Dim> dims(arg().shape());
    dims[axis] = size;
    return TensorType(dims, arg().element());
  }
  llvm::Error checkCount(int64_t axis, int64_t count) const {
    MOEC_TRY(checkAxis(axis));
    if (count < 0 || count > arg().dim(axis).constant())
      return fail() << "selects " << count << " of "
                    << arg().dim(axis).constant() << " slices";
    return llvm::Error::success();
  }

  Expr &expr;
  Location loc;
};
} // namespace

llvm::Expected<TensorType> Typer::ofShape(llvm::ArrayRef<int64_t> shape,
                                          ElementType element) const {
  auto elements = elementCount(shape);
  if (!elements || !byteSize(element, *elements))
    return fail() << "has a shape whose size in bytes is negative, overflows, "
                     "or is no whole number of blocks";
  llvm::SmallVector<Dim> dims(shape.begin(), shape.end());
  return TensorType(dims, element);
}

llvm::Error Typer::sameShapes() const {
  for (const ExprRef &other : expr.args)
    if (other->type.shape() != arg().shape())
      return fail() << "needs equal shapes, got " << arg() << " and "
                    << other->type;
  return llvm::Error::success();
}

llvm::Expected<TensorType> Typer::derive() {
  // Blocks lie within rows, so whole rows can be joined.
  bool rows = expr.kind == ExprKind::Stack ||
              (expr.kind == ExprKind::Concat && arg().rank() > 1 &&
               expr.attrs<AxisAttrs>().axis == 0);
  bool quantizedAllowed = rows || expr.kind == ExprKind::Dequantize;
  for (const ExprRef &operand : expr.args) {
    if (expr.kind == ExprKind::Take && &operand == &expr.args[1])
      continue; // Its indices are integers.
    // A ref passes any element through.
    if (isBlockQuantized(operand->type.element()) && !quantizedAllowed)
      return fail() << "cannot read " << operand->type
                    << "; use dequantize(...)";
    if (!isFloat(operand->type.element()) &&
        !isBlockQuantized(operand->type.element()))
      return fail() << "reads float tensors, got " << operand->type;
  }
  switch (expr.kind) {
  case ExprKind::Source: {
    auto &attrs = expr.attrs<SourceAttrs>();
    if (!expr.file)
      return fail() << "names no file";
    return ofShape(attrs.shape, attrs.element);
  }
  case ExprKind::Ref:
    if (!expr.weight)
      return fail() << "names no weight";
    return expr.weight->type();
  case ExprKind::Add:
  case ExprKind::Average:
    MOEC_TRY(sameShapes());
    return arg().withElement(ElementType::f32);
  case ExprKind::Cast: {
    ElementType element = expr.attrs<ElementAttrs>().element;
    if (!isFloat(element) && element != ElementType::q8_0)
      return fail() << "to " << elementTypeName(element)
                    << ", expects a float type or q8_0";
    if (isBlockQuantized(element) &&
        (!arg().rank() || arg().dim(-1).constant() % blockElements(element)))
      return fail() << "to " << elementTypeName(element)
                    << " needs rows of a multiple of " << blockElements(element)
                    << ", got " << arg();
    return arg().withElement(element);
  }
  case ExprKind::Dequantize:
  case ExprKind::Scale:
    return arg().withElement(ElementType::f32);
  case ExprKind::Concat: {
    int64_t axis = expr.attrs<AxisAttrs>().axis, total = 0;
    MOEC_TRY(checkAxis(axis));
    for (const ExprRef &part : expr.args) {
      if (part->type.rank() != arg().rank())
        return fail() << "needs equal ranks, got " << arg() << " and "
                      << part->type;
      if (llvm::AddOverflow(total, part->type.dim(axis).constant(), total))
        return fail() << "makes an axis that overflows";
      for (unsigned i = 0; i < arg().rank(); ++i)
        if ((i != axis && part->type.dim(i) != arg().dim(i)) ||
            part->type.element() != arg().element())
          return fail() << "needs types that differ in axis " << axis
                        << " only, got " << arg() << " and " << part->type;
    }
    return withDim(axis, total);
  }
  case ExprKind::Fill:
    return ofShape(expr.attrs<FillAttrs>().shape, ElementType::f32);
  case ExprKind::Normal:
    return ofShape(expr.attrs<NormalAttrs>().shape, ElementType::f32);
  case ExprKind::Uniform:
    return ofShape(expr.attrs<UniformAttrs>().shape, ElementType::f32);
  case ExprKind::Noise: {
    auto &attrs = expr.attrs<NoiseAttrs>();
    MOEC_TRY(attrs.count < 0 ? checkAxis(attrs.axis)
                             : checkCount(attrs.axis, attrs.count));
    return arg().withElement(ElementType::f32);
  }
  case ExprKind::Permute:
    MOEC_TRY(checkAxis(expr.attrs<PermuteAttrs>().axis));
    return arg();
  case ExprKind::Repeat: {
    auto &attrs = expr.attrs<RepeatAttrs>();
    MOEC_TRY(checkAxis(attrs.axis));
    if (attrs.each < 1 || attrs.times < 1 || attrs.each > (1 << 20) ||
        attrs.times > (1 << 20))
      return fail() << "repeats each slice " << attrs.each << " times and all "
                    << attrs.times << " times, expects 1 to " << (1 << 20);
    int64_t extent = arg().dim(attrs.axis).constant();
    if (llvm::MulOverflow(extent, attrs.each * attrs.times, extent))
      return fail() << "makes an axis that overflows";
    return withDim(attrs.axis, extent);
  }
  case ExprKind::Resample: {
    auto &attrs = expr.attrs<ResampleAttrs>();
    MOEC_TRY(checkCount(attrs.axis, attrs.count));
    return arg().withElement(ElementType::f32);
  }
  case ExprKind::Reshape: {
    MOEC_ASSIGN(TensorType type,
                ofShape(expr.attrs<ShapeAttrs>().shape, arg().element()));
    if (type.staticElements() != arg().staticElements())
      return fail() << "makes " << type << " of " << arg();
    return type;
  }
  case ExprKind::RotaryToHalf: {
    int64_t heads = expr.attrs<HeadsAttrs>().heads;
    MOEC_TRY(checkAxis(0));
    if (heads < 1 || arg().dim(0).constant() % heads ||
        arg().dim(0).constant() / heads % 2)
      return fail() << "has " << heads << " heads, expects heads of an even "
                    << "number of rows in " << arg();
    return arg();
  }
  case ExprKind::Slice: {
    auto &attrs = expr.attrs<SliceExprAttrs>();
    MOEC_TRY(checkAxis(attrs.axis));
    int64_t extent = arg().dim(attrs.axis).constant();
    if (attrs.start < 0 || attrs.size < 0 || attrs.start > extent ||
        attrs.size > extent - attrs.start)
      return fail() << "takes " << attrs.size << " from " << attrs.start
                    << ", but the axis has " << extent;
    return withDim(attrs.axis, attrs.size);
  }
  case ExprKind::Stack: {
    for (const ExprRef &part : expr.args)
      if (part->type != arg())
        return fail() << "needs equal types, got " << arg() << " and "
                      << part->type;
    llvm::SmallVector<Dim> dims{int64_t(expr.args.size())};
    llvm::append_range(dims, arg().shape());
    return TensorType(dims, arg().element());
  }
  case ExprKind::Take: {
    auto &attrs = expr.attrs<TakeAttrs>();
    const TensorType &indices = arg(1);
    MOEC_TRY(checkAxis(attrs.axis));
    if (indices.rank() != 1 || (indices.element() != ElementType::i64 &&
                                indices.element() != ElementType::i32))
      return fail() << "reads its indices from " << indices
                    << ", expects an i64 or i32 vector";
    int64_t extent = indices.dim(0).constant();
    if (attrs.permutation && extent != arg().dim(attrs.axis).constant())
      return fail() << "has " << extent
                    << " indices for a permutation, but the axis has "
                    << arg().dim(attrs.axis).constant();
    if (attrs.start < 0 || attrs.start > extent || attrs.count < -1 ||
        attrs.count > extent - attrs.start)
      return fail() << "takes " << attrs.count << " indices from "
                    << attrs.start << ", but there are " << extent;
    return withDim(attrs.axis,
                   attrs.count < 0 ? extent - attrs.start : attrs.count);
  }
  case ExprKind::Transpose:
    if (arg().rank() != 2)
      return fail() << "expects a matrix, got " << arg();
    return TensorType({arg().dim(1), arg().dim(0)}, arg().element());
  }
  llvm_unreachable("every kind is typed");
}

llvm::Expected<ExprRef> Expr::make(ExprKind kind, std::vector<ExprRef> args,
                                   std::unique_ptr<Attributes> attrs,
                                   Weight *weight, SourceFile *file,
                                   Location loc) {
  const ExprInfo &info = infoOf(kind);
  int count = args.size();
  if (count < info.minArgs || (info.maxArgs >= 0 && count > info.maxArgs))
    return error(loc) << "'" << info.mnemonic << "' has " << count
                      << " arguments, expects "
                      << (info.maxArgs < 0 ? "at least " : "") << info.minArgs;
  auto expr = std::make_shared<Expr>();
  expr->kind = kind;
  expr->args = std::move(args);
  expr->weight = weight;
  expr->file = file;
  expr->attributes = attrs ? std::move(attrs) : makeExprAttrs(kind);
  auto reach = [&](const Expr &inner) {
    expr->depth = std::max(expr->depth, inner.depth + 1);
    // Both are small, so that the sum is, too.
    expr->nodes = std::min(expr->nodes + inner.nodes, kMaxExprNodes + 1);
  };
  for (const ExprRef &arg : expr->args)
    reach(*arg);
  if (weight)
    reach(*weight->expr);
  if (expr->depth > kMaxExprDepth)
    return error(loc) << "'" << info.mnemonic << "' nests deeper than "
                      << kMaxExprDepth << " expressions";
  if (expr->nodes > kMaxExprNodes)
    return error(loc) << "'" << info.mnemonic << "' is more than "
                      << kMaxExprNodes
                      << " expressions, shared ones counted each time";
  MOEC_ASSIGN(expr->type, Typer(*expr, loc).derive());
  if (std::string problem = expr->type.sizeProblem(); !problem.empty())
    return error(loc) << "'" << info.mnemonic << "' makes " << expr->type
                      << ": " << problem;
  return ExprRef(std::move(expr));
}
