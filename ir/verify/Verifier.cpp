#include "ir/verify/Verifier.h"

#include "ir/support/Diagnostic.h"
#include "ir/verify/ProgramVerifier.h"

using namespace moec;

static llvm::Error verifyDims(const Module &module) {
  constexpr int64_t kMost = int64_t(1) << 40;
  llvm::DenseSet<const DimSymbol *> before;
  for (const auto &dim : module.dims()) {
    if (!isPlainName(dim->name()))
      return error() << "'" << dim->name()
                     << "' is no name of a dimension; expects letters, "
                        "digits, '_' and '.'";
    if (!dim->isRagged() && (dim->maximum() < 1 || dim->maximum() > kMost))
      return error() << "dimension '" << dim->name() << "' has the maximum "
                     << dim->maximum() << ", expects 1 to 2^40";
    for (const Polynomial::Term &term : dim->bound().terms()) {
      if (term.coefficient < 1 || term.coefficient > kMost)
        return error() << "dimension '" << dim->name() << "' has the bound "
                       << dim->bound()
                       << ", expects coefficients from 1 to 2^40";
      for (const DimSymbol *symbol : term.symbols)
        if (symbol->isRagged() || !before.contains(symbol))
          return error() << "dimension '" << dim->name() << "' is bounded by '"
                         << symbol->name()
                         << "', which no 'dim' before it declares";
    }
    before.insert(dim.get());
  }
  return llvm::Error::success();
}

namespace {
/// Checks what expressions point to, each node once.
class WeightVerifier {
public:
  explicit WeightVerifier(const Declared &declared) : declared(declared) {}

  llvm::Error verify(const Weight &weight) {
    MOEC_TRY(verify(*weight.expr, weight));
    if (weight.expr->type != weight.type())
      return error(weight.loc)
             << "weight '" << weight.name << "' is " << weight.type()
             << ", but its expression makes " << weight.expr->type;
    before.insert(&weight);
    return llvm::Error::success();
  }

private:
  llvm::Error verify(const Expr &expr, const Weight &weight) {
    if (!seen.insert(&expr).second)
      return llvm::Error::success();
    if (expr.weight && !before.contains(expr.weight))
      return error(weight.loc)
             << "weight '" << weight.name << "' refers to '"
             << expr.weight->name << "', which is not declared before it";
    if (expr.weight && expr.type != expr.weight->type())
      return error(weight.loc) << "weight '" << weight.name << "' refers to '"
                               << expr.weight->name << "' as " << expr.type
                               << ", which has become " << expr.weight->type();
    if (expr.file && !declared.files.contains(expr.file))
      return error(weight.loc)
             << "weight '" << weight.name << "' reads a file of another module";
    for (const ExprRef &arg : expr.args)
      MOEC_TRY(verify(*arg, weight));
    return llvm::Error::success();
  }

  const Declared &declared;
  llvm::DenseSet<const Expr *> seen;
  llvm::DenseSet<const Weight *> before;
};
} // namespace

llvm::Error moec::verify(const Module &module) {
  Declared declared(module);
  MOEC_TRY(verifyDims(module));
  for (const auto &state : module.states())
    if (std::string problem = typeProblem(state->type, declared);
        !problem.empty())
      return error() << "state '" << state->name << "' has the bad type "
                     << state->type << ": " << problem;
  WeightVerifier weights(declared);
  for (const auto &weight : module.weights())
    MOEC_TRY(weights.verify(*weight));
  for (const auto &program : module.programs())
    MOEC_TRY(ProgramVerifier(*program, declared).verify());
  return llvm::Error::success();
}
