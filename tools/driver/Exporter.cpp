#include "tools/driver/Exporter.h"

#include "frontend/exporter/GgufMetadata.h"
#include "ir/support/AtomicFile.h"
#include "tools/driver/ExportFiles.h"
#include "tools/driver/SafetensorsSink.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

using namespace moec;

namespace {
/// The stored types of a module's matrices.
struct SourceTypes {
  bool f32 = false, bf16 = false, f16 = false, quantized = false;
  void add(const Expr &expr);
};
} // namespace

void SourceTypes::add(const Expr &expr) {
  const Expr &at = resolve(expr);
  for (const ExprRef &arg : at.args)
    add(*arg);
  if (at.kind != ExprKind::Source || at.type.rank() < 2)
    return;
  ElementType type = at.attrs<SourceAttrs>().element;
  f32 |= type == ElementType::f32 || type == ElementType::f64;
  bf16 |= type == ElementType::bf16;
  f16 |= type == ElementType::f16;
  quantized |= isBlockQuantized(type);
}

ElementType moec::naturalElement(const Module &module, ExportFormat format) {
  SourceTypes types;
  for (auto &weight : module.weights())
    // Banks refer to weights that are there themselves.
    if (weight->expr->kind != ExprKind::Ref &&
        resolve(*weight->expr).kind != ExprKind::Stack)
      types.add(*weight->expr);
  if (types.f32 || !(types.bf16 || types.f16 || types.quantized))
    return ElementType::f32;
  if (!types.bf16 && (types.f16 || format == ExportFormat::gguf))
    return ElementType::f16;
  return ElementType::bf16;
}

static uint64_t parametersOf(const ExportPlan &plan) {
  uint64_t total = 0;
  for (const ExportTensor &tensor : plan.tensors)
    total += *elementCount(tensor.shape);
  return total;
}

/// Says all that decides the bytes of tensors, for resuming.
static std::string identityOf(const Module &module, const ExportPlan &plan) {
  std::string identity = ("export " + plan.target->name).str();
  for (auto &[key, value] : lineageFacts(module))
    identity += "\n" + key + "=" + value;
  for (auto &file : module.files())
    identity += "\n" + file->sha256;
  for (const ExportTensor &tensor : plan.tensors)
    identity += "\n" + tensor.name + " " + tensor.canonical;
  return identity;
}

static void listShards(llvm::ArrayRef<SafetensorsShard> shards,
                       ExportReport &report) {
  for (const SafetensorsShard &shard : shards) {
    report.files.push_back({shard.fileName, shard.fileBytes});
    report.bytes += shard.fileBytes;
  }
}

static llvm::Error
exportFolder(Module &module, const ExportPlan &plan, llvm::StringRef path,
             CheckpointReader &reader, const ExportOptions &options,
             ExportReport &report,
             llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  if (options.dryRun) {
    MOEC_ASSIGN(auto shards, layoutSafetensors(safetensorsLayout(plan.tensors),
                                               options.maxShardBytes,
                                               safetensorsMetadata()));
    listShards(shards, report);
    return llvm::Error::success();
  }
  MOEC_ASSIGN(AtomicDirectory folder,
              AtomicDirectory::create(path, Uncommitted::keep));
  auto opened = SafetensorsSink::create(
      folder.temporary(), plan.tensors, options.maxShardBytes,
      identityOf(module, plan), options.threads);
  if (!opened)
    return withResumeNote(opened.takeError(), folder.temporary());
  SafetensorsSink sink = std::move(*opened);
  report.resumedTensors = sink.writer().resumedTensors();
  listShards(sink.writer().shards(), report);
  if (llvm::Error err =
          streamTensors(plan.tensors, reader, options.threads, sink, progress))
    return withResumeNote(std::move(err), folder.temporary());
  MOEC_TRY(
      writeFileAtomically(folder.file("config.json"),
                          hfConfigText(module, plan, options.request.element)));
  MOEC_TRY(writeCompanions(module, plan, folder.temporary(), report.notes));
  // Last, since it removes the journal that a resumed run needs.
  MOEC_TRY(sink.writer().finish());
  return folder.commit();
}

namespace {
class GgufSink final : public TensorSink {
public:
  GgufSink(AtomicFile &file, const GgufWriter &writer, uint64_t headerBytes)
      : file(file), writer(writer), headerBytes(headerBytes) {}
  llvm::Error write(size_t index, uint64_t byteOffset,
                    llvm::ArrayRef<uint8_t> bytes) override {
    return file.writeAt(headerBytes + writer.dataOffset(index) + byteOffset,
                        bytes);
  }

private:
  AtomicFile &file;
  const GgufWriter &writer;
  uint64_t headerBytes;
};
} // namespace

/// The module's tokenizer as the file's metadata. Byte by byte that of a GGUF
/// source, if the module has it from there.
static llvm::Error addTokenizer(const Module &module, const ExportPlan &plan,
                                GgufWriter &writer, ExportReport &report) {
  MOEC_ASSIGN(auto data, ggufTokenizer(module, report.notes));
  if (data && int64_t(data->tokens.size()) > plan.config.vocab) {
    report.notes.push_back("no tokenizer is written: it has " +
                           std::to_string(data->tokens.size()) +
                           " tokens, the model " +
                           std::to_string(plan.config.vocab));
    data.reset();
  }
  if (data)
    addGgufTokenizer(writer, std::move(*data), plan.config.vocab);
  else
    addNoGgufTokenizer(writer);
  return llvm::Error::success();
}

static llvm::Error
exportFile(Module &module, const ExportPlan &plan, llvm::StringRef path,
           CheckpointReader &reader, const ExportOptions &options,
           ExportReport &report,
           llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  GgufWriter writer;
  addGgufSettings(writer, *plan.target, plan.config, options.request.element);
  MOEC_TRY(addTokenizer(module, plan, writer, report));
  for (auto &[key, value] : lineageFacts(module))
    writer.addString("moec." + key, value);
  for (const ExportTensor &tensor : plan.tensors)
    writer.addTensor(tensor.name, tensor.type, tensor.shape);
  std::string header = writer.header();
  report.bytes = writer.fileBytes();
  report.files = {{llvm::sys::path::filename(path).str(), report.bytes}};
  if (options.dryRun)
    return llvm::Error::success();
  MOEC_ASSIGN(AtomicFile file, AtomicFile::create(path));
  MOEC_TRY(file.preallocate(report.bytes));
  MOEC_TRY(file.append(header));
  GgufSink sink(file, writer, header.size());
  MOEC_TRY(
      streamTensors(plan.tensors, reader, options.threads, sink, progress));
  // A file has no folder of its own, so that these bear its name.
  MOEC_ASSIGN(auto companions, licenceFiles(module));
  companions.push_back({"README.md", modelCard(module, plan)});
  std::vector<AtomicFile> beside;
  for (const CompanionFile &companion : companions) {
    MOEC_ASSIGN(AtomicFile other,
                AtomicFile::create((path + "." + companion.name).str()));
    MOEC_TRY(other.append(companion.text));
    beside.push_back(std::move(other));
  }
  MOEC_TRY(file.commit());
  for (AtomicFile &other : beside)
    MOEC_TRY(other.commit());
  return llvm::Error::success();
}

llvm::Expected<ExportReport>
moec::exportModel(Module &module, llvm::StringRef path,
                  CheckpointReader &reader, const ExportOptions &options,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  MOEC_ASSIGN(ExportPlan plan, planExport(module, options.request));
  ExportReport report;
  report.architecture = plan.target->name.str();
  report.changes = plan.changes;
  report.notes = plan.notes;
  report.tensors = plan.tensors.size();
  report.parameters = parametersOf(plan);
  MOEC_TRY(recordSources(module, options.dryRun ? nullptr : &reader, progress));
  // Goes with the files, wherever they go.
  if (!plan.changes.empty())
    module.facts["lineage.changes"] = llvm::join(plan.changes, "; ");
  if (options.request.format == ExportFormat::gguf)
    MOEC_TRY(exportFile(module, plan, path, reader, options, report, progress));
  else
    MOEC_TRY(
        exportFolder(module, plan, path, reader, options, report, progress));
  return std::move(report);
}
