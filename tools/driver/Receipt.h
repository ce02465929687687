//===- Receipt.h - what upcycling did, measured ---------------------------===//
//
// A receipt tells, layer by layer, what became of the dense model: how far the
// output of each block is from that of the FFN it replaced, on probe tokens;
// norms and likeness of the experts; the shape of the router; who was chosen.
// It holds what the recipe promised beside what was measured, and a promise
// that the measurement contradicts is an error.
//
// Precision: blocks and FFNs run in the interpreter's typed mode, which sums in
// f64 and rounds every result to f32, as f32 kernels do. `errorFloor` is what
// that rounding alone does to the dense FFN (typed against unrounded), so an
// output error near it means "equal". Norms, cosines and singular values are
// taken in f64 over f32 weights.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/driver/Upcycler.h"
#include "llvm/Support/JSON.h"

namespace moec {

struct UpcycleOptions;

/// What is promised of the model before it is trained.
struct Promise {
  /// A class of passes/upcycle/Exactness.h, such as `exact`; empty where
  /// nothing is known of it.
  std::string exactness;
  /// The largest ||moe - dense|| / ||dense|| of a block that keeps the promise;
  /// nothing where no number is promised.
  std::optional<double> bound;
  /// What that error is by a formula, where it is not 0.
  std::optional<double> predicted;
  /// Why, or under what condition.
  std::string condition;
};

/// One matrix of a layer: Frobenius norms before and after.
struct MatrixReceipt {
  /// `gate`, `up`, `down`, or the name of another weight of the block.
  std::string name;
  /// Nothing where the dense layer has no such matrix.
  std::optional<double> before;
  /// Of each expert; one number for a weight that is not per expert.
  std::vector<double> after;
};

/// How alike the experts are: cosines of their weights as one long vector.
struct CosineReceipt {
  double mean = 1, min = 1, max = 1;
  /// Row-major [experts, experts]; empty where there are more than
  /// kMaxCosineExperts.
  std::vector<double> matrix;
};
inline constexpr int64_t kMaxCosineExperts = 64;

/// The router's matrix by its singular values, largest first.
struct RouterReceipt {
  std::vector<double> singularValues;
  /// Singular values that are not zero within rounding.
  int64_t rank = 0;
  /// Largest over smallest; infinite for a matrix that lacks rank.
  double condition = 0;
  /// The same over the values that are not zero.
  double conditionOfRank = 0;
  double norm = 0;
};

/// What was done to one layer, and what it did to the layer's output.
struct LayerReceipt {
  int64_t layer = 0;
  /// Of the heads of its attention, which became a mixture; else of its FFN.
  bool attention = false;
  int64_t experts = 0;
  /// The most experts that a token uses.
  int64_t topk = 0;
  /// ||moe(x) - ffn(x)|| / ||ffn(x)|| over the probe tokens.
  double outputError = 0;
  /// What rounding to f32 alone does to ffn(x), measured the same way.
  double errorFloor = 0;
  /// Probe tokens whose last chosen and first rejected score are equal, so that
  /// the tie-break decided.
  int64_t ties = 0;
  /// Probe tokens that chose each expert.
  std::vector<int64_t> load;
  /// `equal` (no bit differs), `exact` (within rounding), or `differs`.
  std::string measured;
  std::vector<MatrixReceipt> matrices;
  std::optional<CosineReceipt> cosine;
  std::optional<RouterReceipt> router;
};

/// What the options promise of the FFNs of this module; the weakest promise
/// where they differ. `stored` as in ProbeOptions.
Promise promiseOf(const Module &dense, const UpcycleOptions &options,
                  std::optional<ElementType> stored = {});

struct UpcycleReceipt {
  std::string output;
  /// The model before had experts already: they were edited or merged.
  bool edited = false;
  /// As the pass prints them.
  std::string policy, recipe, options;
  int64_t seed = 0;
  std::string source, sourceSha256;
  /// Every source file with its own digest.
  std::vector<std::pair<std::string, std::string>> sources;
  int64_t probeTokens = 0;
  std::vector<LayerReceipt> layers;
  Promise promise;
  /// What was not measured, and why.
  std::vector<std::string> notes;
  /// The largest output error is rounding: the result is the dense model until
  /// it is trained.
  bool equalsDense = false;
  double seconds = 0;
  uint64_t peakAnonymous = 0, peakResident = 0;
  /// Set where a folder was written.
  std::optional<FolderReport> folder;
};

/// A block of the program before, and what stands in its place after: an FFN or
/// a mixture of experts; or the projection behind an attention whose heads
/// become a mixture.
struct BlockSite {
  int64_t layer = 0;
  bool attention = false;
  /// What the block reads, before and after; its first input is the op's.
  llvm::SmallVector<std::pair<Value, Value>, 2> inputs;
  /// Before: what the block makes, and the FFN or projection, null where it had
  /// experts already.
  Value outputBefore;
  const Operation *dense = nullptr;
  /// After: the same, the ops in between, and among them the routing and the
  /// experts; null where none are left.
  Value output;
  std::vector<const Operation *> ops;
  const Operation *route = nullptr, *experts = nullptr;
};
/// The sites where there are experts before or after. What cannot be compared
/// is told in `notes`.
std::vector<BlockSite> findSites(Program &before, Program &after,
                                 std::vector<std::string> &notes);

struct ProbeOptions {
  std::vector<int32_t> tokens;
  /// Norms, cosines and singular values as well; they read every expert.
  bool statistics = true;
  /// The element type that matrices are written in, if it is not their own:
  /// both models are rounded to it.
  std::optional<ElementType> stored;
  unsigned threads = 0;
};

/// `3`, or `3 heads` of a layer's attention.
std::string nameOf(const LayerReceipt &layer);

/// Compares every MoE block of `sparse` with that of `dense`, from whose
/// forward pass over the tokens the inputs are taken. Layer by layer and expert
/// by expert, so that a few matrices are in memory at a time.
llvm::Error probeLayers(const Module &dense, const Module &sparse,
                        const ProbeOptions &options, TensorReader &reader,
                        UpcycleReceipt &receipt,
                        llvm::function_ref<void(uint64_t, uint64_t)> progress);

/// Fills `matrices`, `cosine` and `router` of the receipt's layers.
llvm::Error measureWeights(llvm::ArrayRef<BlockSite> sites,
                           TensorReader &reader, const ProbeOptions &options,
                           UpcycleReceipt &receipt);

/// Whether a layer's output error is no more than rounding.
bool isRounding(const LayerReceipt &layer);

/// An error for the first layer whose output error is above the promised bound:
/// it names layer, bound and measured value.
llvm::Error checkPromise(const UpcycleReceipt &receipt);

llvm::json::Value toJson(const UpcycleReceipt &receipt);
/// Tables for a terminal.
void printReceipt(const UpcycleReceipt &receipt, llvm::raw_ostream &os);
/// One self-contained HTML page with charts.
void writeReceiptPage(const UpcycleReceipt &receipt, llvm::raw_ostream &os);
llvm::Error writeReceiptFile(const UpcycleReceipt &receipt,
                             llvm::StringRef path);
/// receipt.html and receipt.json in a folder that is there.
llvm::Error addReceiptTo(llvm::StringRef folder, const UpcycleReceipt &receipt);

} // namespace moec
