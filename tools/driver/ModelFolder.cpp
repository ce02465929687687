//===- ModelFolder.cpp - a module and its weights as a folder -------------===//
//
// Where a Hugging Face architecture computes the same function from the same
// tensors, the folder is one of its models as well; otherwise tensors have the
// module's own names.
//
//===----------------------------------------------------------------------===//

#include "frontend/exporter/ExportPlan.h"
#include "ir/binary/ModuleFile.h"
#include "ir/support/AtomicFile.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/ExportFiles.h"
#include "tools/driver/SafetensorsSink.h"
#include "tools/driver/Upcycler.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace moec;

namespace {
class FolderWriter {
public:
  FolderWriter(Module &module, CheckpointReader &reader,
               const FolderOptions &options)
      : module(module), reader(reader), options(options) {}

  llvm::Expected<FolderReport>
  run(llvm::StringRef path,
      llvm::function_ref<void(uint64_t, uint64_t)> progress);

private:
  /// The tensors of the weight, whole or its experts in order; empty where the
  /// plan has changed its numbers.
  std::vector<size_t> tensorsOf(const Weight *weight) const;
  llvm::Error listTensors(FolderReport &report);
  std::string configText() const;
  llvm::Error rebase();

  Module &module;
  CheckpointReader &reader;
  const FolderOptions &options;
  /// What program `step` reads.
  llvm::SetVector<Weight *> used;
  /// Without a target where the names are the module's.
  ExportPlan plan;
  llvm::DenseMap<const Weight *, std::vector<size_t>> byWeight;
};
} // namespace

/// The first line of what an error says, without its place.
static std::string reasonOf(llvm::Error err) {
  std::string reason;
  llvm::handleAllErrors(
      std::move(err), [&](const Diagnostic &diag) { reason = diag.message; },
      [&](const llvm::ErrorInfoBase &other) { reason = other.message(); });
  return reason;
}

std::vector<size_t> FolderWriter::tensorsOf(const Weight *weight) const {
  std::vector<size_t> found = byWeight.lookup(weight);
  llvm::sort(found, [&](size_t a, size_t b) {
    return plan.tensors[a].expert < plan.tensors[b].expert;
  });
  if (found.empty())
    return {};
  if (plan.tensors[found[0]].expert < 0)
    return found.size() == 1 ? found : std::vector<size_t>();
  if (int64_t(found.size()) != weight->type().dim(0).constant())
    return {};
  return found;
}

llvm::Error FolderWriter::listTensors(FolderReport &report) {
  Program *step = module.findProgram(facts::kStep);
  if (!step)
    return error() << "the module has no program '" << facts::kStep << "'";
  llvm::DenseSet<Weight *> banks;
  for (const Operation &op : step->body().ops())
    for (Value operand : op.operands())
      if (Weight *weight = operand.weight()) {
        used.insert(weight);
        if (op.is(OpKind::MoeExperts))
          banks.insert(weight);
      }
  auto index = [&] {
    byWeight.clear();
    for (auto [i, tensor] : llvm::enumerate(plan.tensors))
      if (tensor.weight)
        byWeight[tensor.weight].push_back(i);
  };
  ExportRequest request;
  request.element = options.element;
  auto planned = planExport(module, request);
  if (planned) {
    plan = std::move(*planned);
    index();
    if (llvm::all_of(
            used, [&](Weight *weight) { return !tensorsOf(weight).empty(); })) {
      report.architecture = plan.target->name.str();
      return llvm::Error::success();
    }
    report.whyNone = (plan.target->name + " stores other tensors than the "
                                          "module has; 'moec export' makes it")
                         .str();
  } else {
    report.whyNone = reasonOf(planned.takeError());
  }
  plan = ExportPlan();
  plan.tensors = moduleTensors(used.getArrayRef(), banks, options.element);
  index();
  return llvm::Error::success();
}

std::string FolderWriter::configText() const {
  if (plan.target)
    return hfConfigText(module, plan, options.element);
  return jsonText(
      llvm::json::Object{{"model_type", "moec"},
                         {"architectures", {"MoecModule"}},
                         {"torch_dtype", hfTypeName(options.element)},
                         {"moec_module", "module.moe"}});
}

/// Weights become tensors of the folder.
llvm::Error FolderWriter::rebase() {
  // The one file of the new module, under a name that no old one has.
  std::string name = "folder";
  while (module.findFile(name))
    name += "'";
  SourceFile *file = module.addFile(name, ".");
  module.baseFolder.clear();
  for (Weight *weight : used) {
    std::vector<ExprRef> parts;
    std::vector<size_t> indices = tensorsOf(weight);
    for (size_t i : indices) {
      const ExportTensor &tensor = plan.tensors[i];
      auto attrs = std::make_unique<SourceAttrs>();
      attrs->key = tensor.name;
      attrs->shape = tensor.shape;
      attrs->element = tensor.type;
      MOEC_ASSIGN(ExprRef source, Expr::make(ExprKind::Source, {},
                                             std::move(attrs), nullptr, file));
      parts.push_back(std::move(source));
    }
    ExprRef expr = parts[0];
    if (plan.tensors[indices[0]].expert >= 0) {
      MOEC_ASSIGN(expr, Expr::make(ExprKind::Stack, std::move(parts), nullptr));
    }
    module.redefine(weight, expr);
  }
  // Dense weights that only expressions read are not part of the folder.
  for (size_t i = module.weights().size(); i-- > 0;)
    if (Weight *weight = module.weights()[i].get(); weight->value().isUnused())
      module.eraseWeight(weight);
  for (size_t i = module.files().size(); i-- > 0;)
    if (SourceFile *old = module.files()[i].get(); old != file)
      module.eraseFile(old);
  file->name = "folder";
  return llvm::Error::success();
}

llvm::Expected<FolderReport>
FolderWriter::run(llvm::StringRef path,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  FolderReport report;
  MOEC_TRY(listTensors(report));
  MOEC_ASSIGN(AtomicDirectory folder,
              AtomicDirectory::create(path, Uncommitted::keep));
  auto opened = SafetensorsSink::create(folder.temporary(), plan.tensors,
                                        options.maxShardBytes, options.identity,
                                        options.threads);
  if (!opened)
    return withResumeNote(opened.takeError(), folder.temporary());
  SafetensorsSink sink = std::move(*opened);
  report.resumedTensors = sink.writer().resumedTensors();
  report.bytes = sink.bytes();
  if (llvm::Error err =
          streamTensors(plan.tensors, reader, options.threads, sink, progress))
    return withResumeNote(std::move(err), folder.temporary());
  MOEC_TRY(writeFileAtomically(folder.file("config.json"), configText()));
  std::vector<std::string> notes;
  MOEC_TRY(writeCompanions(module, plan, folder.temporary(), notes));
  MOEC_TRY(rebase());
  MOEC_TRY(saveModule(module, folder.file("module.moe"), ModuleForm::binary));
  // Last, since it removes the journal that a resumed run needs.
  MOEC_TRY(sink.writer().finish());
  MOEC_TRY(folder.commit());
  return report;
}

llvm::Expected<FolderReport>
moec::writeModelFolder(Module &module, llvm::StringRef path,
                       CheckpointReader &reader, const FolderOptions &options,
                       llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  return FolderWriter(module, reader, options).run(path, progress);
}
