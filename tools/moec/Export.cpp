#include "tools/moec/Command.h"

#include "ir/support/Escape.h"
#include "tools/driver/Exporter.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/StringSwitch.h"

#include <chrono>

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("export",
                            "write a model for transformers or llama.cpp");
static ModelFlags model(flags);
static cl::opt<std::string>
    output("o", cl::value_desc("OUT"),
           cl::desc("a new folder (hf), or a file (gguf)"), cl::sub(flags));
static cl::opt<std::string>
    format("format", cl::value_desc("format"),
           cl::desc("hf or gguf (gguf if OUT ends in .gguf, else hf)"),
           cl::sub(flags));
static cl::opt<std::string>
    arch("arch", cl::value_desc("name"),
         cl::desc("the architecture to write; by default the nearest that "
                  "expresses the model exactly"),
         cl::sub(flags));
static cl::opt<std::string> dtype(
    "dtype", cl::init("auto"), cl::value_desc("type"),
    cl::desc("of matrices: auto, f32, bf16, f16, or for gguf q8_0 (auto)"),
    cl::sub(flags));
static cl::opt<bool>
    allowInexact("allow-inexact",
                 cl::desc("exchange a router that no architecture has for the "
                          "nearest one, and say so"),
                 cl::sub(flags));
static cl::opt<bool>
    dryRun("dry-run", cl::desc("say what would be written, write nothing"),
           cl::sub(flags));
static NumberFlag<uint32_t> threads("threads", cl::init(0),
                                    cl::value_desc("count"),
                                    cl::desc("threads (0: one a processor)"),
                                    cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("report as JSON"), cl::sub(flags));

static llvm::Error parseFlags(ExportOptions &options) {
  MOEC_TRY(checkOutput(output, dryRun));
  if (format.empty())
    format = llvm::StringRef(output).ends_with(".gguf") ? "gguf" : "hf";
  auto kind = llvm::StringSwitch<std::optional<ExportFormat>>(format)
                  .Case("hf", ExportFormat::huggingFace)
                  .Case("gguf", ExportFormat::gguf)
                  .Default(std::nullopt);
  if (!kind)
    return wrongFlag(format, format, "hf or gguf");
  options.request.format = *kind;
  options.request.arch = arch;
  options.request.source = Location::inFile(model.path);
  options.request.allowInexact = allowInexact;
  options.threads = threads;
  options.dryRun = dryRun;
  if (dtype == "auto")
    return llvm::Error::success();
  auto element = parseElementType(dtype.getValue());
  bool known = element == ElementType::f32 || element == ElementType::bf16 ||
               element == ElementType::f16 || element == ElementType::q8_0;
  if (!known)
    return wrongFlag(dtype, dtype, "auto, f32, bf16, f16 or q8_0");
  if (element == ElementType::q8_0 && *kind != ExportFormat::gguf)
    return llvm::make_error<UsageError>(
        "--dtype is q8_0, which --format gguf alone has");
  options.request.element = *element;
  return llvm::Error::success();
}

static void print(const ExportReport &report, const ExportOptions &options,
                  double seconds, const PeakMemory &peak) {
  llvm::StringRef type = elementTypeName(options.request.element);
  if (json) {
    llvm::json::Array files;
    for (const ExportedFile &file : report.files)
      files.push_back(llvm::json::Object{{"name", toUtf8(file.name)},
                                         {"bytes", file.bytes}});
    printJson(llvm::json::Object{
        {"format", format.getValue()},
        {"architecture", toUtf8(report.architecture)},
        {"dtype", type},
        {"exact", report.changes.empty()},
        {"changes", llvm::json::Array(llvm::map_range(report.changes, toUtf8))},
        {"notes", llvm::json::Array(llvm::map_range(report.notes, toUtf8))},
        {"files", std::move(files)},
        {"tensors", report.tensors},
        {"parameters", report.parameters},
        {"bytes", report.bytes},
        {"resumed_tensors", report.resumedTensors},
        {"dry_run", options.dryRun},
        {"seconds", seconds},
        {"peak_rss_anon", peak.anonymous}});
    return;
  }
  std::string out = output.empty() ? "a " + format + " model" : output;
  Table table({options.dryRun ? "would write" : "wrote", out});
  table.addRow({"format", format.getValue()});
  table.addRow({"architecture", toUtf8(report.architecture)});
  table.addRow({"exact", report.changes.empty() ? "yes" : "no"});
  table.addRow({"matrices", type.str()});
  table.addRow({"tensors", formatCount(report.tensors)});
  table.addRow({"parameters", formatCount(report.parameters)});
  for (const ExportedFile &file : report.files)
    table.addRow({file.name, formatBytes(file.bytes)});
  table.addRow({"bytes", formatBytes(report.bytes)});
  if (!options.dryRun) {
    table.addRow({"time", formatSeconds(seconds)});
    table.addRow({"peak memory", formatBytes(peak.anonymous)});
  }
  table.print(llvm::outs());
  for (const std::string &note : report.notes)
    llvm::outs() << "note: " << note << "\n";
}

static llvm::Error run() {
  auto start = std::chrono::steady_clock::now();
  MemoryWatch memory;
  ExportOptions options;
  MOEC_TRY(parseFlags(options));
  Outputs outputs;
  if (!dryRun)
    outputs.writes.push_back(
        {output, options.request.format == ExportFormat::huggingFace
                     ? OutputKind::folder
                     : OutputKind::seekable});
  MOEC_ASSIGN(AnyModel opened, model.open(outputs));
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan; export the model it came from";
  Module &module = *opened.module;
  if (dtype == "auto")
    options.request.element = naturalElement(module, options.request.format);
  CheckpointReader reader(module.baseFolder);
  ExportReport report;
  {
    Progress progress("writing " + output);
    MOEC_ASSIGN(report, exportModel(module, output, reader, options,
                                    [&](uint64_t done, uint64_t all) {
                                      progress.update(done, all);
                                    }));
  }
  for (const std::string &change : report.changes)
    warn("not exact: the export " + llvm::Twine(change));
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  print(report, options, seconds.count(), memory.peak());
  return llvm::Error::success();
}

const Command moec::kExportCommand = {&flags, run};
