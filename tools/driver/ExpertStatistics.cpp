//===- ExpertStatistics.cpp - experts and routers in numbers --------------===//
//
// Norms and cosines come from dot products of all pairs of experts, matrix by
// matrix. Experts that are the same expression are one; of the others as many
// are in memory as fit into a fixed budget, and the rest stream past them.
//
//===----------------------------------------------------------------------===//

#include "ir/ops/MoeOps.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "tools/driver/Align.h"
#include "tools/driver/ExprText.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/Spectrum.h"
#include "tools/driver/StreamRunner.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>

using namespace moec;

/// Experts that are held at a time; at least two are, whatever their size.
static constexpr uint64_t kHeldBytes = 128 << 20;
/// Matrices above this size are computed one after another.
static constexpr uint64_t kLargeBytes = 32 << 20;

using Numbers = std::vector<float>;

static double dot(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) {
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= a.size(); i += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      sums[lane] += double(a[i + lane]) * b[i + lane];
  for (; i < a.size(); ++i)
    sums[0] += double(a[i]) * b[i];
  double total = 0;
  for (double sum : sums)
    total += sum;
  return total;
}

namespace {
/// Dot products of all pairs of one bank's experts.
class BankProducts {
public:
  BankProducts(const Weight &bank, TensorReader &reader, unsigned threads)
      : bank(bank), reader(reader), threads(threads),
        experts(bank.type().dim(0).constant()) {}

  llvm::Error run(ExprDigests &digests);
  double product(int64_t a, int64_t b) const {
    return products[classOf[a] * distinct.size() + classOf[b]];
  }
  bool same(int64_t a, int64_t b) const { return classOf[a] == classOf[b]; }

private:
  llvm::Error load(size_t from, llvm::MutableArrayRef<Numbers> out);
  void set(size_t a, size_t b, double value) {
    products[a * distinct.size() + b] = products[b * distinct.size() + a] =
        value;
  }

  const Weight &bank;
  TensorReader &reader;
  unsigned threads;
  int64_t experts;
  /// The first expert of each kind, and the kind of each expert.
  std::vector<int64_t> distinct;
  std::vector<size_t> classOf;
  std::vector<double> products;
};
} // namespace

llvm::Error BankProducts::load(size_t from,
                               llvm::MutableArrayRef<Numbers> out) {
  uint64_t bytes = *bank.type().staticElements() / experts * sizeof(float);
  return parallelFor(
      out.size(), bytes > kLargeBytes ? 1 : threads,
      [&](uint64_t i) -> llvm::Error {
        MOEC_ASSIGN(out[i],
                    materializeRow(*bank.expr, distinct[from + i], reader));
        return llvm::Error::success();
      });
}

llvm::Error BankProducts::run(ExprDigests &digests) {
  llvm::StringMap<size_t> kinds;
  for (int64_t e = 0; e < experts; ++e) {
    const Expr *row = rowExpr(*bank.expr, e);
    std::string key = row ? digests.of(*row) : std::to_string(e);
    auto [at, isNew] = kinds.try_emplace(key, distinct.size());
    if (isNew)
      distinct.push_back(e);
    classOf.push_back(at->second);
  }
  products.resize(distinct.size() * distinct.size());
  uint64_t bytes =
      std::max<uint64_t>(1, *bank.type().staticElements() / experts) *
      sizeof(float);
  size_t held = std::clamp<uint64_t>(kHeldBytes / bytes, 1, distinct.size());
  for (size_t first = 0; first < distinct.size(); first += held) {
    size_t count = std::min(held, distinct.size() - first);
    std::vector<Numbers> block(count);
    MOEC_TRY(load(first, block));
    MOEC_TRY(parallelFor(count, threads, [&](uint64_t a) -> llvm::Error {
      for (size_t b = a; b < count; ++b)
        set(first + a, first + b, dot(block[a], block[b]));
      return llvm::Error::success();
    }));
    for (size_t other = first + count; other < distinct.size(); ++other) {
      Numbers passing;
      MOEC_TRY(load(other, passing));
      MOEC_TRY(parallelFor(count, threads, [&](uint64_t a) -> llvm::Error {
        set(first + a, other, dot(block[a], passing));
        return llvm::Error::success();
      }));
    }
  }
  return llvm::Error::success();
}

/// Names of the weights of an ffn or of experts, in the order of operands.
static std::vector<std::string> weightNames(const FfnAttrs &attrs) {
  std::vector<std::string> names;
  for (const char *suffix : {"", ".bias"}) {
    if (*suffix && !attrs.biased)
      break;
    for (const char *matrix : {"gate", "up", "down"})
      if (attrs.gated || llvm::StringRef(matrix) != "gate")
        names.push_back(std::string(matrix) + suffix);
  }
  return names;
}

static llvm::Expected<double> normOf(const Weight &weight,
                                     TensorReader &reader) {
  double squares = 0;
  for (const Expr *piece : pieces(*weight.expr)) {
    MOEC_ASSIGN(Numbers numbers, materialize(*piece, reader));
    squares += dot(numbers, numbers);
  }
  return std::sqrt(squares);
}

/// `moe.shared.up` of `layers.3.moe.shared.up`.
static std::string shortName(llvm::StringRef name) {
  if (layerOfName(name) >= 0 && name.starts_with("layers."))
    name = name.split('.').second.split('.').second;
  name.consume_front("moe.");
  return name.str();
}

static CosineReceipt cosinesOf(llvm::ArrayRef<BankProducts> banks,
                               int64_t experts) {
  std::vector<double> squares(experts);
  for (const BankProducts &bank : banks)
    for (int64_t e = 0; e < experts; ++e)
      squares[e] += bank.product(e, e);
  CosineReceipt cosine;
  bool kept = experts <= kMaxCosineExperts;
  if (kept)
    cosine.matrix.assign(experts * experts, 1);
  double sum = 0;
  int64_t pairs = 0;
  for (int64_t a = 0; a < experts; ++a)
    for (int64_t b = a + 1; b < experts; ++b) {
      double product = 0;
      bool same = true;
      for (const BankProducts &bank : banks) {
        product += bank.product(a, b);
        same &= bank.same(a, b);
      }
      double norms = std::sqrt(squares[a] * squares[b]);
      double value = same        ? 1
                     : norms > 0 ? std::clamp(product / norms, -1.0, 1.0)
                                 : 0;
      if (kept)
        cosine.matrix[a * experts + b] = cosine.matrix[b * experts + a] = value;
      cosine.min = pairs ? std::min(cosine.min, value) : value;
      cosine.max = pairs ? std::max(cosine.max, value) : value;
      sum += value;
      ++pairs;
    }
  if (pairs)
    cosine.mean = sum / pairs;
  return cosine;
}

static llvm::Error measureExperts(const BlockSite &site, TensorReader &reader,
                                  unsigned threads, LayerReceipt &out) {
  const Operation &op = *site.experts;
  std::vector<std::string> names = weightNames(op.attrs<FfnAttrs>());
  std::vector<std::string> denseNames;
  if (site.dense)
    denseNames = weightNames(site.dense->attrs<FfnAttrs>());
  ExprDigests digests;
  std::vector<BankProducts> banks;
  int64_t experts = op.operand(3).type().dim(0).constant();
  for (auto [i, name] : llvm::enumerate(names)) {
    const Weight *bank = op.operand(3 + i).weight();
    if (!bank)
      continue;
    MatrixReceipt matrix;
    matrix.name = name;
    auto before = llvm::find(denseNames, name);
    if (before != denseNames.end())
      if (const Weight *weight =
              site.dense->operand(1 + (before - denseNames.begin())).weight()) {
        MOEC_ASSIGN(matrix.before, normOf(*weight, reader));
      }
    BankProducts products(*bank, reader, threads);
    MOEC_TRY(products.run(digests));
    for (int64_t e = 0; e < experts; ++e)
      matrix.after.push_back(std::sqrt(products.product(e, e)));
    out.matrices.push_back(std::move(matrix));
    banks.push_back(std::move(products));
  }
  out.cosine = cosinesOf(banks, experts);
  return llvm::Error::success();
}

static llvm::Error measureRouter(const BlockSite &site, TensorReader &reader,
                                 LayerReceipt &out) {
  const Operation *linear = site.route->operand(0).definingOp();
  const Weight *weight = linear && linear->is(OpKind::Linear)
                             ? linear->operand(1).weight()
                             : nullptr;
  if (!weight)
    return llvm::Error::success();
  MOEC_ASSIGN(Numbers numbers, materialize(*weight->expr, reader));
  RouterReceipt router;
  router.norm = std::sqrt(dot(numbers, numbers));
  router.singularValues =
      singularValues(numbers, weight->type().dim(0).constant(),
                     weight->type().dim(1).constant());
  router.rank = numericalRank(router.singularValues);
  bool full = router.rank == int64_t(router.singularValues.size());
  if (router.rank)
    router.conditionOfRank =
        router.singularValues[0] / router.singularValues[router.rank - 1];
  router.condition = full && router.rank ? router.conditionOfRank : INFINITY;
  out.router = std::move(router);
  return llvm::Error::success();
}

/// The projection behind the heads, as it was.
static const Weight *projectionOf(const BlockSite &site) {
  return site.attention ? site.dense->operand(1).weight() : nullptr;
}

llvm::Error moec::measureWeights(llvm::ArrayRef<BlockSite> sites,
                                 TensorReader &reader,
                                 const ProbeOptions &options,
                                 UpcycleReceipt &receipt) {
  unsigned threads = options.threads ? options.threads : defaultThreads();
  for (auto [site, layer] : llvm::zip(sites, receipt.layers)) {
    MOEC_TRY(checkInterrupt());
    if (!site.route)
      continue;
    MOEC_TRY(measureRouter(site, reader, layer));
    if (site.experts)
      MOEC_TRY(measureExperts(site, reader, threads, layer));
    // Weights that are no expert's: those of a shared expert and the like.
    for (const Operation *op : site.ops)
      for (Value operand : op->operands())
        if (const Weight *weight = operand.weight();
            weight && op != site.experts && weight->type().rank() > 1 &&
            op != site.route->operand(0).definingOp()) {
          MatrixReceipt matrix;
          matrix.name = shortName(weight->name);
          if (const Weight *dense = projectionOf(site)) {
            MOEC_ASSIGN(matrix.before, normOf(*dense, reader));
          }
          MOEC_ASSIGN(double norm, normOf(*weight, reader));
          matrix.after.push_back(norm);
          layer.matrices.push_back(std::move(matrix));
        }
  }
  return llvm::Error::success();
}
