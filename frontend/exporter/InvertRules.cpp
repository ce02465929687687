#include "frontend/exporter/InvertRules.h"

#include "ir/weights/Materialize.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

namespace {
/// A part of a stored tensor: what the first `steps` of its rule give.
struct Part {
  ExprRef expr;
  llvm::ArrayRef<WeightStep> steps;
};
} // namespace

/// What was added when the numbers were read is not subtracted but left away,
/// so that their bits are the same.
static llvm::Expected<ExprRef> withoutOffset(double offset, ExprRef expr) {
  auto isOffset = [](const Expr &at, double value) {
    const Expr &filled = resolve(at);
    return filled.kind == ExprKind::Fill &&
           filled.attrs<FillAttrs>().value == value;
  };
  const Expr &at = resolve(*expr);
  if (at.kind == ExprKind::Add && isOffset(*at.args[1], offset))
    return at.args[0];
  auto attrs = std::make_unique<FillAttrs>();
  attrs->shape = shapeOf(*expr);
  attrs->value = -offset;
  MOEC_ASSIGN(ExprRef constant,
              Expr::make(ExprKind::Fill, {}, std::move(attrs)));
  return Expr::make(ExprKind::Add, {std::move(expr), std::move(constant)},
                    nullptr);
}

static llvm::Expected<ExprRef> undo(const WeightStep &step, ExprRef expr) {
  switch (step.kind) {
  case WeightStep::Kind::transpose:
    return Expr::make(ExprKind::Transpose, {std::move(expr)}, nullptr);
  case WeightStep::Kind::squeeze: {
    auto attrs = std::make_unique<ShapeAttrs>();
    attrs->shape = shapeOf(*expr);
    attrs->shape.insert(attrs->shape.begin(), 1);
    return Expr::make(ExprKind::Reshape, {std::move(expr)}, std::move(attrs));
  }
  case WeightStep::Kind::unsqueeze: {
    auto attrs = std::make_unique<ShapeAttrs>();
    attrs->shape = shapeOf(*expr);
    attrs->shape.erase(attrs->shape.begin());
    return Expr::make(ExprKind::Reshape, {std::move(expr)}, std::move(attrs));
  }
  case WeightStep::Kind::offset:
    return withoutOffset(step.offset, std::move(expr));
  case WeightStep::Kind::headSlice:
    return error() << "parts of heads are not joined";
  case WeightStep::Kind::slice:
  case WeightStep::Kind::rotaryToHalf:
    break;
  }
  llvm_unreachable("slices are joined, and rules have no other steps");
}

/// Joins the parts that are slices of one thing; `group` has them all.
static llvm::Expected<Part> join(std::vector<Part> group) {
  auto beginOf = [](const Part &part) { return part.steps.back().begin; };
  llvm::sort(group, [&](const Part &a, const Part &b) {
    return beginOf(a) < beginOf(b);
  });
  auto along = std::make_unique<AxisAttrs>();
  along->axis = group[0].steps.back().axis;
  // Concatenation joins one element type.
  bool isMixed = llvm::any_of(group, [&](const Part &part) {
    return part.expr->type.element() != group[0].expr->type.element();
  });
  std::vector<ExprRef> parts;
  int64_t end = 0;
  for (Part &part : group) {
    if (beginOf(part) != end)
      return error() << "no weight gives the slices [" << end << ", "
                     << beginOf(part) << ") of a tensor";
    end = part.steps.back().end;
    ExprRef expr = std::move(part.expr);
    if (isMixed) {
      MOEC_ASSIGN(expr, Expr::make(ExprKind::Cast, {std::move(expr)},
                                   std::make_unique<ElementAttrs>()));
    }
    parts.push_back(std::move(expr));
  }
  Part whole;
  whole.steps = group[0].steps.drop_back();
  if (parts.size() == 1) {
    whole.expr = std::move(parts[0]);
    return whole;
  }
  MOEC_ASSIGN(whole.expr,
              Expr::make(ExprKind::Concat, std::move(parts), std::move(along)));
  return whole;
}

/// The stored tensor whose parts these are.
static llvm::Expected<ExprRef> assemble(std::vector<Part> parts) {
  while (true) {
    for (Part &part : parts)
      while (!part.steps.empty() &&
             part.steps.back().kind != WeightStep::Kind::slice) {
        MOEC_ASSIGN(part.expr, undo(part.steps.back(), part.expr));
        part.steps = part.steps.drop_back();
      }
    size_t longest = 0;
    for (const Part &part : parts)
      longest = std::max(longest, part.steps.size());
    if (!longest)
      break;
    // Slices that follow the same steps are slices of the same thing.
    std::vector<Part> rest, group;
    auto first = llvm::find_if(
        parts, [&](const Part &part) { return part.steps.size() == longest; });
    llvm::ArrayRef<WeightStep> before = first->steps.drop_back();
    for (Part &part : parts) {
      bool belongs =
          part.steps.size() == longest && part.steps.drop_back() == before;
      (belongs ? group : rest).push_back(std::move(part));
    }
    MOEC_ASSIGN(Part joined, join(std::move(group)));
    rest.push_back(std::move(joined));
    parts = std::move(rest);
  }
  if (parts.size() != 1)
    return error() << "several weights give one tensor";
  return std::move(parts[0].expr);
}

/// The stored order of rows that rope turns. What was brought from interleaved
/// to half-split order when it was read is taken as it was.
static void interleave(ExportTensor &tensor, int64_t heads) {
  const Expr &expr = resolve(*tensor.expr);
  tensor.weight = nullptr;
  tensor.expert = -1;
  if (expr.kind == ExprKind::RotaryToHalf &&
      expr.attrs<HeadsAttrs>().heads == heads) {
    tensor.expr = expr.args[0];
    return;
  }
  tensor.interleaveHeads = heads;
}

llvm::Expected<std::vector<ExportTensor>>
moec::invertRules(llvm::ArrayRef<WeightRule> rules,
                  const CanonicalWeights &weights, bool interleaved) {
  llvm::MapVector<llvm::StringRef, std::vector<const WeightRule *>> byTensor;
  for (const WeightRule &rule : rules)
    byTensor[rule.stored].push_back(&rule);
  std::vector<ExportTensor> tensors;
  for (auto &[stored, group] : byTensor) {
    ExportTensor tensor;
    tensor.name = stored.str();
    tensor.shape = group[0]->storedShape;
    tensor.canonical = group[0]->name;
    std::vector<Part> parts;
    for (const WeightRule *rule : group) {
      MOEC_ASSIGN(CanonicalWeight weight, weights.find(rule->name));
      if (!weight.expr)
        return error(Location::ofObject(rule->name))
               << "the module has no such weight, which tensor '" << stored
               << "' needs";
      if (shapeOf(*weight.expr) != rule->shape)
        return error(Location::ofObject(rule->name))
               << "has the type " << weight.expr->type << ", not what tensor '"
               << stored << "' needs";
      if (group.size() == 1 && rule->steps.empty()) {
        tensor.weight = weight.weight;
        tensor.expert = weight.expert;
      }
      parts.push_back({weight.expr, rule->steps});
    }
    auto expr = assemble(std::move(parts));
    if (!expr)
      return withNote(expr.takeError(), Location::ofObject(tensor.name),
                      "while making this tensor");
    tensor.expr = std::move(*expr);
    if (interleaved && group[0]->rotaryHeads)
      interleave(tensor, group[0]->rotaryHeads);
    tensors.push_back(std::move(tensor));
  }
  return std::move(tensors);
}
