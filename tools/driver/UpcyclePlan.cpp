#include "tools/driver/UpcyclePlan.h"

#include "ir/binary/Binary.h"
#include "ir/ops/MoeOps.h"
#include "ir/support/Parallel.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Describe.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <chrono>

using namespace moec;

/// What a process has before it works on a tensor.
static constexpr uint64_t kBaseBytes = 48 << 20;
/// Copies in f32 of a piece that is computed: inputs, result, random numbers.
static constexpr uint64_t kWorkingCopies = 3;
/// Pieces above this many numbers are not measured, so that a plan is quick.
static constexpr uint64_t kMostMeasured = 16 << 20;

namespace {
struct Piece {
  const Weight *weight;
  const Expr *expr;
  uint64_t elements;
};
} // namespace

/// What is written as one tensor: a weight, or one expert of a bank.
static std::vector<Piece> piecesOf(const Program &step) {
  std::vector<Piece> list;
  llvm::DenseSet<const Weight *> seen;
  for (const Operation &op : step.body().ops())
    for (unsigned i = 0; i < op.numOperands(); ++i) {
      const Weight *weight = op.operand(i).weight();
      if (!weight || !seen.insert(weight).second)
        continue;
      const Expr &expr = resolve(*weight->expr);
      std::vector<const Expr *> parts{&expr};
      if (op.is(OpKind::MoeExperts))
        parts = pieces(expr);
      for (const Expr *part : parts)
        list.push_back({weight, part, uint64_t(*part->type.staticElements())});
    }
  return list;
}

/// Bytes on disk of the source tensors that a piece reads.
static void addSources(const Expr &expr, llvm::DenseSet<const Expr *> &seen,
                       uint64_t &bytes) {
  if (!seen.insert(&expr).second)
    return;
  if (expr.kind == ExprKind::Source)
    bytes +=
        byteSize(expr.attrs<SourceAttrs>().element, *expr.type.staticElements())
            .value_or(0);
  if (expr.weight)
    addSources(*expr.weight->expr, seen, bytes);
  for (const ExprRef &arg : expr.args)
    addSources(*arg, seen, bytes);
}

llvm::Expected<UpcyclePlan>
moec::planUpcycling(Module &module, TensorReader &reader,
                    const UpcyclePlanOptions &options) {
  const Program *step = module.findProgram(facts::kStep);
  if (!step)
    return error() << "the module has no program 'step'";
  UpcyclePlan plan;
  plan.output = options.output;
  plan.isFolder = !llvm::StringRef(options.output).ends_with(".moe");
  plan.element = options.element;
  ModelSummary summary = summarize(module);
  plan.parameters = summary.parameters;
  plan.activeParameters = summary.activeParameters;
  unsigned threads = options.threads ? options.threads : defaultThreads();

  std::vector<Piece> list = piecesOf(*step);
  const Piece *measured = nullptr;
  uint64_t numbers = 0;
  llvm::DenseSet<const Expr *> seen;
  for (const Piece &piece : list) {
    // As ModelFolder: matrices in the folder's type, all else in f32.
    bool router = llvm::StringRef(piece.weight->name).ends_with(".router");
    ElementType element = piece.weight->type().rank() > 1 && !router
                              ? options.element
                              : ElementType::f32;
    plan.writtenBytes += *byteSize(element, piece.elements);
    numbers += piece.elements;
    addSources(*piece.expr, seen, plan.readBytes);
    if (piece.elements > plan.largestElements) {
      plan.largestElements = piece.elements;
      plan.largestName = piece.weight->name;
    }
    // Of pieces of one size, an expert's: it costs more than a copy.
    if (piece.elements <= kMostMeasured &&
        (!measured || piece.elements > measured->elements ||
         (piece.elements == measured->elements &&
          asPlainSource(*measured->expr))))
      measured = &piece;
  }
  plan.tensors = list.size();
  if (!plan.isFolder) {
    MOEC_ASSIGN(std::string bytes, writeBinary(module));
    plan.writtenBytes = bytes.size();
    plan.peakBytes = kBaseBytes + 2 * bytes.size();
    plan.seconds = double(bytes.size()) / kDiskBytesPerSecond;
    plan.readBytes = 0;
    for (auto &file : module.files())
      plan.readBytes += file->bytes;
    plan.seconds += double(plan.readBytes) / kHashBytesPerSecond;
  } else {
    if (measured) {
      auto start = std::chrono::steady_clock::now();
      MOEC_ASSIGN(std::vector<float> made,
                  materialize(*measured->expr, reader));
      std::chrono::duration<double> took =
          std::chrono::steady_clock::now() - start;
      plan.measuredNumbers = made.size();
      plan.numbersPerSecond =
          double(made.size()) / std::max(took.count(), 1e-9);
      plan.seconds = double(numbers) / plan.numbersPerSecond / threads;
    }
    plan.seconds += double(plan.writtenBytes) / kDiskBytesPerSecond +
                    double(plan.readBytes) / kHashBytesPerSecond;
    // One large piece at a time, or as many small ones as there are threads,
    // which together are no larger.
    plan.peakBytes = kBaseBytes + kWorkingCopies * 4 * plan.largestElements;
  }
  llvm::SmallString<256> folder(options.output);
  (void)llvm::sys::fs::make_absolute(folder); // It stays relative then.
  while (!folder.empty() && !llvm::sys::fs::exists(folder))
    llvm::sys::path::remove_filename(folder);
  if (auto space = llvm::sys::fs::disk_space(folder))
    plan.freeBytes = space->available;
  return plan;
}

llvm::json::Value moec::toJson(const UpcyclePlan &plan) {
  return llvm::json::Object{{"dry_run", true},
                            {"output", plan.output},
                            {"element", elementTypeName(plan.element)},
                            {"tensors", plan.tensors},
                            {"parameters", plan.parameters},
                            {"active_parameters", plan.activeParameters},
                            {"largest_tensor", plan.largestName},
                            {"largest_tensor_numbers", plan.largestElements},
                            {"written_bytes", plan.writtenBytes},
                            {"read_bytes", plan.readBytes},
                            {"free_bytes", plan.freeBytes},
                            {"fits", plan.writtenBytes <= plan.freeBytes},
                            {"peak_bytes", plan.peakBytes},
                            {"numbers_per_second", plan.numbersPerSecond},
                            {"measured_numbers", plan.measuredNumbers},
                            {"disk_bytes_per_second", kDiskBytesPerSecond},
                            {"seconds", plan.seconds}};
}

void moec::printPlan(const UpcyclePlan &plan, llvm::raw_ostream &os) {
  Table table({"dry run", plan.output});
  table.addRow({"tensors", formatCount(plan.tensors)});
  table.addRow({"parameters", formatCount(plan.parameters) + ", of which " +
                                  formatCount(plan.activeParameters) +
                                  " a token"});
  table.addRow({"largest", plan.largestName + ", " +
                               formatCount(plan.largestElements) +
                               " numbers at once"});
  table.addRow({"is read", formatBytes(plan.readBytes)});
  std::string form = plan.isFolder ? "as " + elementTypeName(plan.element).str()
                                   : "the module; weights stay where they are";
  table.addRow({"is written", formatBytes(plan.writtenBytes) + " (" + form +
                                  "), " + formatBytes(plan.freeBytes) +
                                  " are free"});
  table.addRow({"peak memory", "at most about " + formatBytes(plan.peakBytes)});
  std::string how;
  if (plan.measuredNumbers)
    how = " at " + formatCount(uint64_t(plan.numbersPerSecond)) +
          " numbers a second and thread, measured, and " +
          formatBytes(uint64_t(kDiskBytesPerSecond)) +
          " a second of disk, assumed";
  table.addRow({"time", "about " + formatSeconds(plan.seconds) + how});
  table.print(os);
}
