#include "tools/driver/UpcyclePlan.h"

#include "ir/binary/Binary.h"
#include "ir/ops/MoeOps.h"
#include "ir/support/Escape.h"
#include "ir/support/Parallel.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Describe.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <chrono>
#include <map>

using namespace moec;

/// What a process has before it works on a tensor.
static constexpr uint64_t kBaseBytes = 48 << 20;
/// Copies in f32 of a piece that is computed: inputs, result, random numbers.
static constexpr uint64_t kWorkingCopies = 3;
/// Pieces above this many numbers are not measured, so that a plan is quick.
static constexpr uint64_t kMostMeasured = 16 << 20;
/// Numbers of a piece that is made beside others.
static constexpr uint64_t kSmallPiece = 8 << 20;

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

/// Numbers of the largest value on the way to a piece, its own included.
static uint64_t largestValue(const Expr &expr) {
  uint64_t largest = *expr.type.staticElements();
  // Rows of a stored tensor are read alone.
  if (expr.kind == ExprKind::Slice && expr.attrs<SliceExprAttrs>().axis == 0 &&
      asPlainSource(*expr.args[0]))
    return largest;
  if (expr.weight)
    largest = std::max(largest, largestValue(*expr.weight->expr));
  for (const ExprRef &arg : expr.args)
    largest = std::max(largest, largestValue(*arg));
  return largest;
}

/// Whether a piece reads what a dry run does not measure.
static bool readsCalibration(const Expr &expr) {
  if (expr.file && expr.file->name == "calibration")
    return true;
  if (expr.weight && readsCalibration(*expr.weight->expr))
    return true;
  return llvm::any_of(
      expr.args, [](const ExprRef &arg) { return readsCalibration(*arg); });
}

/// `layers.3.moe.up` and `layers.4.moe.up` are made alike.
static std::string kindOf(llvm::StringRef name) {
  std::string kind;
  for (char c : name)
    if (!llvm::isDigit(c))
      kind += c;
  return kind;
}

namespace {
/// Pieces that are made alike, and the one that stands for them.
struct Kind {
  const Piece *piece = nullptr;
  uint64_t numbers = 0;
};
} // namespace

/// Seconds of one thread for all pieces, from one piece of each kind.
static llvm::Error measure(llvm::ArrayRef<Piece> list, TensorReader &reader,
                           UpcyclePlan &plan, double &seconds) {
  std::map<std::string, Kind> kinds;
  uint64_t numbers = 0;
  for (const Piece &piece : list) {
    Kind &kind = kinds[kindOf(piece.weight->name)];
    // The last of a bank: the first may be a plain copy.
    kind.piece = &piece;
    kind.numbers += piece.elements;
    numbers += piece.elements;
  }
  double spent = 0;
  uint64_t covered = 0;
  for (auto &[name, kind] : kinds) {
    // What hardly counts takes the others' speed.
    if (kind.numbers * 50 < numbers || kind.piece->elements > kMostMeasured ||
        readsCalibration(*kind.piece->expr))
      continue;
    auto start = std::chrono::steady_clock::now();
    MOEC_ASSIGN(std::vector<float> made,
                materialize(*kind.piece->expr, reader));
    std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - start;
    plan.measuredNumbers += made.size();
    covered += kind.numbers;
    spent += took.count() * double(kind.numbers) / double(made.size());
  }
  if (!covered)
    return llvm::Error::success();
  seconds = spent * double(numbers) / double(covered);
  plan.numbersPerSecond = double(numbers) / std::max(seconds, 1e-9);
  return llvm::Error::success();
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
  llvm::DenseSet<const Expr *> seen;
  for (const Piece &piece : list) {
    // As in a folder: matrices in its type, all else in f32.
    bool router = llvm::StringRef(piece.weight->name).ends_with(".router");
    ElementType element = piece.weight->type().rank() > 1 && !router
                              ? options.element
                              : ElementType::f32;
    plan.writtenBytes += *byteSize(element, piece.elements);
    addSources(*piece.expr, seen, plan.readBytes);
    if (piece.elements > plan.largestElements) {
      plan.largestElements = piece.elements;
      plan.largestName = piece.weight->name;
    }
  }
  plan.tensors = list.size();
  if (!plan.isFolder) {
    MOEC_ASSIGN(std::string bytes, writeBinary(module));
    plan.writtenBytes = bytes.size();
    plan.peakBytes = kBaseBytes + 2 * bytes.size();
    plan.readBytes = 0;
    for (auto &file : module.files())
      plan.readBytes += file->bytes;
  } else {
    double seconds = 0;
    MOEC_TRY(measure(list, reader, plan, seconds));
    plan.seconds = seconds / threads;
    // Large pieces are made one at a time, small ones on all threads.
    uint64_t working = 0;
    for (const Piece &piece : list) {
      bool alone = piece.elements > kSmallPiece &&
                   piece.elements * threads > plan.largestElements;
      working =
          std::max(working, largestValue(*piece.expr) * (alone ? 1 : threads));
    }
    plan.peakBytes = kBaseBytes + kWorkingCopies * 4 * working;
  }
  plan.seconds += double(plan.writtenBytes) / kDiskBytesPerSecond +
                  double(plan.readBytes) / kHashBytesPerSecond;
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
                            {"output", toUtf8(plan.output)},
                            {"element", elementTypeName(plan.element)},
                            {"tensors", plan.tensors},
                            {"parameters", plan.parameters},
                            {"active_parameters", plan.activeParameters},
                            {"largest_tensor", toUtf8(plan.largestName)},
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
  Table table({"dry run", plan.output.empty() ? "a folder" : plan.output});
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
  table.addRow({"time", "about " + formatSeconds(plan.seconds) +
                            " beside calibration and probe" + how});
  table.print(os);
}
