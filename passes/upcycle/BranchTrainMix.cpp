//===- BranchTrainMix.cpp - experts of several dense models ---------------===//
//
// Spec 4.2 and 1.3: expert e is the FFN of model floor(e * models / experts),
// and every other weight is the mean over the models. Model 0 is the module's
// own; what the others give is held as weights `donor.K.<name>`, which are gone
// afterwards.
//
//===----------------------------------------------------------------------===//

#include "ir/ops/OpInfo.h"
#include "passes/driver/Pass.h"
#include "passes/upcycle/Neurons.h"
#include "passes/upcycle/Upcycle.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Twine.h"

using namespace moec;

static constexpr llvm::StringLiteral kDonor = "donor.";
/// As many as there may be experts.
static constexpr int64_t kMaxDonors = 4096;

static std::string donorName(int64_t donor, llvm::StringRef name) {
  return (kDonor + llvm::Twine(donor) + "." + name).str();
}

int64_t moec::donorCount(const Module &module) {
  int64_t count = 0;
  for (auto &weight : module.weights()) {
    llvm::StringRef name = weight->name;
    int64_t donor;
    if (name.consume_front(kDonor) && !name.consumeInteger(10, donor) &&
        name.starts_with(".") && donor > 0 && donor <= kMaxDonors)
      count = std::max(count, donor);
  }
  return count;
}

/// What donor `donor` has in the place of `weight`.
static llvm::Expected<ExprRef> donated(const Module &module,
                                       const Weight &weight, int64_t donor,
                                       const Operation &at) {
  Weight *given = module.findWeight(donorName(donor, weight.name));
  if (!given)
    return opError(at) << "donor " << donor << " has no weight '" << weight.name
                       << "', which the base model has";
  if (given->type().shape() != weight.type().shape())
    return std::move(opError(at) << "donor " << donor << " has '" << weight.name
                                 << "' as " << given->type()
                                 << ", the base model as " << weight.type())
        .withNote(given->loc, "the donor's weight");
  return inlined(given->expr);
}

llvm::Expected<ExprRef> moec::donorExpert(const DenseFfn &ffn,
                                          const DenseMatrix &matrix,
                                          int64_t expert) {
  int64_t models = donorCount(ffn.module) + 1;
  int64_t donor = expert * models / ffn.options.experts;
  if (!donor)
    return refTo(matrix.weight);
  return donated(ffn.module, *matrix.weight, donor, ffn.op);
}

/// Donors that are one and the same add nothing.
static void remarkEqualDonors(const Module &module, const Operation &at,
                              PassContext &context) {
  llvm::ArrayRef<std::unique_ptr<SourceFile>> files = module.files();
  auto isModel = [](const SourceFile &file) {
    return file.name != "calibration";
  };
  for (size_t i = 0; i < files.size(); ++i)
    for (size_t j = i + 1; j < files.size(); ++j) {
      const SourceFile &a = *files[i], &b = *files[j];
      bool donors = llvm::StringRef(b.name).starts_with("donor") ||
                    llvm::StringRef(a.name).starts_with("donor");
      bool equal =
          a.path == b.path || (!a.sha256.empty() && a.sha256 == b.sha256);
      if (donors && equal && isModel(a) && isModel(b))
        context.remark(at, "has equal donors: '" + llvm::Twine(a.path) +
                               "' and '" + b.path +
                               "' hold the same, so that their experts do");
    }
}

llvm::Error moec::averageDonors(Module &module,
                                llvm::ArrayRef<Weight *> weights,
                                const Operation &at, PassContext &context) {
  int64_t donors = donorCount(module);
  remarkEqualDonors(module, at, context);
  std::vector<std::pair<Weight *, ExprRef>> means;
  for (Weight *weight : weights) {
    // A tied weight stays tied to what is averaged.
    if (weight->expr->kind == ExprKind::Ref)
      continue;
    ElementType element = weight->type().element();
    std::vector<ExprRef> models;
    for (int64_t donor = 0; donor <= donors; ++donor) {
      MOEC_ASSIGN(ExprRef model, donor ? donated(module, *weight, donor, at)
                                       : inlined(weight->expr));
      MOEC_ASSIGN(model, readable(std::move(model)));
      models.push_back(std::move(model));
    }
    MOEC_ASSIGN(ExprRef mean,
                Expr::make(ExprKind::Average, std::move(models), nullptr));
    MOEC_ASSIGN(mean, castTo(std::move(mean), element));
    means.emplace_back(weight, std::move(mean));
  }
  for (auto &[weight, mean] : means)
    module.redefine(weight, std::move(mean));
  std::vector<Weight *> done;
  for (auto &weight : module.weights())
    if (llvm::StringRef(weight->name).starts_with(kDonor))
      done.push_back(weight.get());
  // Later ones may refer to earlier ones.
  for (Weight *weight : llvm::reverse(done))
    module.eraseWeight(weight);
  return llvm::Error::success();
}
