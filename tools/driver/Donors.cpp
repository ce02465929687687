#include "tools/driver/Donors.h"

#include "ir/ops/OpInfo.h"
#include "runtime/schema/Facts.h"
#include "runtime/text/Tokenizer.h"
#include "tools/driver/AnyModel.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"

using namespace moec;

namespace {
class Donor {
public:
  Donor(Module &base, const Module &donor, llvm::StringRef path, size_t number)
      : base(base), donor(donor), path(path),
        prefix("donor." + std::to_string(number) + "."),
        fileName("donor" + std::to_string(number)) {}

  llvm::Error check() const;
  llvm::Error add(bool keepRest);
  llvm::ArrayRef<SourceFile *> files() const { return added; }

private:
  ErrorBuilder differs() const {
    return error(Location::inFile(path.str()))
           << "cannot give experts to '" << base.name() << "': ";
  }
  llvm::Error checkGraph() const;
  llvm::Error checkTokenizer() const;
  llvm::Expected<ExprRef> copy(const ExprRef &expr);

  Module &base;
  const Module &donor;
  llvm::StringRef path;
  std::string prefix, fileName;
  std::map<const SourceFile *, SourceFile *> fileMap;
  std::vector<SourceFile *> added;
  std::map<const Expr *, ExprRef> copies;
};
} // namespace

/// Ops of one kind with one set of attributes read weights of one name.
llvm::Error Donor::checkGraph() const {
  const Program *own = base.findProgram(facts::kStep);
  const Program *other = donor.findProgram(facts::kStep);
  if (!own || !other)
    return differs() << "a model has no program 'step'";
  auto &ownOps = own->body().ops(), &otherOps = other->body().ops();
  auto at = otherOps.begin();
  for (const Operation &op : ownOps) {
    if (at == otherOps.end())
      return differs() << "its graph ends before '" << op.loc().str() << "'";
    const Operation &peer = *at++;
    if (op.kind() != peer.kind())
      return differs() << "it has " << peer.mnemonic() << " where the base "
                       << "has " << op.mnemonic() << " at '" << op.loc().str()
                       << "'";
    std::string mine = op.attrs().str(), theirs = peer.attrs().str();
    if (mine != theirs)
      return differs() << op.mnemonic() << " at '" << op.loc().str() << "' is "
                       << theirs << ", the base has " << mine;
  }
  if (at != otherOps.end())
    return differs() << "its graph goes on where the base's ends";
  return llvm::Error::success();
}

llvm::Error Donor::checkTokenizer() const {
  auto mine = base.assets.find("tokenizer");
  auto theirs = donor.assets.find("tokenizer");
  // A model without a tokenizer is taken at its word.
  if (mine == base.assets.end() || theirs == donor.assets.end() ||
      mine->second == theirs->second)
    return llvm::Error::success();
  MOEC_ASSIGN(auto own, Tokenizer::load(mine->second, base.name()));
  MOEC_ASSIGN(auto other, Tokenizer::load(theirs->second, path));
  if (own->vocabularySize() != other->vocabularySize())
    return differs() << "its tokenizer has " << other->vocabularySize()
                     << " pieces, the base's has " << own->vocabularySize();
  for (int32_t id = 0; id < int32_t(own->vocabularySize()); ++id)
    if (own->idToPiece(id) != other->idToPiece(id))
      return differs() << "token " << id << " of its tokenizer is '"
                       << other->idToPiece(id) << "', the base's is '"
                       << own->idToPiece(id) << "'";
  return llvm::Error::success();
}

llvm::Error Donor::check() const {
  auto fact = [](const Module &module, const char *key) {
    auto at = module.facts.find(key);
    return at == module.facts.end() ? std::string() : at->second;
  };
  for (auto [key, name] : {std::pair(facts::kArchitecture, "family"),
                           std::pair(facts::kLayers, "number of layers"),
                           std::pair(facts::kHidden, "hidden size"),
                           std::pair(facts::kVocabulary, "vocabulary")})
    if (fact(base, key) != fact(donor, key))
      return differs() << "its " << name << " is " << fact(donor, key)
                       << ", the base's is " << fact(base, key);
  for (auto &weight : base.weights()) {
    if (llvm::StringRef(weight->name).starts_with("donor."))
      continue; // Of a donor before this one.
    const Weight *other = donor.findWeight(weight->name);
    if (!other)
      return differs() << "it has no weight '" << weight->name << "'";
    if (other->type().shape() != weight->type().shape())
      return differs() << "its weight '" << weight->name << "' is "
                       << other->type() << ", the base's is " << weight->type();
  }
  MOEC_TRY(checkGraph());
  return checkTokenizer();
}

llvm::Expected<ExprRef> Donor::copy(const ExprRef &expr) {
  ExprRef &done = copies[expr.get()];
  if (done)
    return done;
  std::vector<ExprRef> args;
  for (const ExprRef &arg : expr->args) {
    MOEC_ASSIGN(ExprRef part, copy(arg));
    args.push_back(std::move(part));
  }
  Weight *weight =
      expr->weight ? base.findWeight(prefix + expr->weight->name) : nullptr;
  SourceFile *file = expr->file ? fileMap[expr->file] : nullptr;
  MOEC_ASSIGN(ExprRef made,
              Expr::make(expr->kind, std::move(args),
                         expr->attributes ? expr->attributes->clone() : nullptr,
                         weight, file));
  // The map may have grown.
  copies[expr.get()] = made;
  return made;
}

llvm::Error Donor::add(bool keepRest) {
  for (auto &file : donor.files()) {
    std::string name = fileName;
    if (!added.empty())
      name += "." + std::to_string(added.size() + 1);
    llvm::SmallString<256> absolute(file->path);
    if (llvm::sys::path::is_relative(absolute) && !donor.baseFolder.empty()) {
      absolute = donor.baseFolder;
      llvm::sys::path::append(absolute, file->path);
    }
    SourceFile *copied = base.addFile(name, absolute.str().str());
    if (!copied)
      return differs() << "the base has a file '@" << name << "' already";
    copied->bytes = file->bytes;
    fileMap[file.get()] = copied;
    added.push_back(copied);
  }
  std::vector<Weight *> own;
  for (auto &weight : base.weights())
    own.push_back(weight.get());
  for (Weight *weight : own) {
    if (llvm::StringRef(weight->name).starts_with("donor."))
      continue;
    ExprRef expr;
    if (keepRest && !llvm::StringRef(weight->name).contains(".ffn.")) {
      MOEC_ASSIGN(expr, Expr::make(ExprKind::Ref, {}, nullptr, weight));
    } else {
      const Weight *other = donor.findWeight(weight->name);
      MOEC_ASSIGN(expr, copy(other->expr));
      ElementType element = weight->type().element();
      if (expr->type.element() != element) {
        auto attrs = std::make_unique<ElementAttrs>();
        attrs->element = element;
        MOEC_ASSIGN(expr, Expr::make(ExprKind::Cast, {expr}, std::move(attrs)));
      }
    }
    if (!base.addWeight(prefix + weight->name, expr, weight->loc))
      return differs() << "the base has a weight '" << prefix << weight->name
                       << "' already";
  }
  return llvm::Error::success();
}

llvm::Expected<DonorReport>
moec::addDonors(Module &base, const DonorOptions &options,
                CheckpointReader &reader,
                llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  DonorReport report;
  // Digests of the base and of every donor before.
  std::vector<std::pair<std::string, std::string>> known;
  std::string own;
  for (auto &file : base.files())
    own += file->sha256;
  known.emplace_back("the base model", own);
  for (auto [index, path] : llvm::enumerate(options.paths)) {
    MOEC_ASSIGN(AnyModel model,
                openAnyModel(path, options.tokenizer, options.longContext));
    if (!model.module || model.plan)
      return error(Location::inFile(path))
             << "is a plan; name the model it came from";
    Donor donor(base, *model.module, path, index + 1);
    MOEC_TRY(donor.check());
    MOEC_TRY(donor.add(options.keepRest));
    std::string digest;
    for (SourceFile *file : donor.files()) {
      MOEC_ASSIGN(file->sha256, reader.digest(*file, progress));
      digest += file->sha256;
    }
    report.donors.push_back({path, digest.substr(0, 64)});
    std::string name =
        "donor " + std::to_string(index + 1) + " ('" + path + "')";
    for (auto &[other, sha256] : known)
      if (sha256 == digest)
        report.warnings.push_back(
            name + " and " + other + " are the same model (SHA-256 " +
            digest.substr(0, 16) +
            "...), so that their experts are equal; leave one out, or train "
            "them apart");
    known.emplace_back(name, digest);
  }
  return std::move(report);
}
