//===- UpcyclePlan.h - what an upcycling will cost, before it starts ------===//
#pragma once

#include "frontend/importer/Importer.h"
#include "llvm/Support/JSON.h"

namespace moec {

struct UpcyclePlanOptions {
  /// A `.moe`, or a folder.
  std::string output;
  /// Element type of a folder's matrices.
  ElementType element = ElementType::f32;
  unsigned threads = 0;
};

/// What a dry run tells.
struct UpcyclePlan {
  std::string output;
  bool isFolder = false;
  ElementType element = ElementType::f32;
  uint64_t tensors = 0, parameters = 0, activeParameters = 0;
  /// The largest piece that is computed at once.
  std::string largestName;
  uint64_t largestElements = 0;
  /// On disk: what is written, what is read for it, and what is free there.
  uint64_t writtenBytes = 0, readBytes = 0, freeBytes = 0;
  /// Anonymous memory, estimated from above.
  uint64_t peakBytes = 0;
  /// Numbers computed a second and thread, measured on a piece of each kind,
  /// and how many those pieces had.
  double numbersPerSecond = 0;
  uint64_t measuredNumbers = 0;
  /// Computing at the measured speed on all threads, writing and reading at
  /// kDiskBytesPerSecond and kHashBytesPerSecond.
  double seconds = 0;
};

inline constexpr double kDiskBytesPerSecond = 1e9;
inline constexpr double kHashBytesPerSecond = 1e9;

/// Plans the writing of an upcycled module. Computes a few pieces, to measure.
llvm::Expected<UpcyclePlan> planUpcycling(Module &module, TensorReader &reader,
                                          const UpcyclePlanOptions &options);

llvm::json::Value toJson(const UpcyclePlan &plan);
void printPlan(const UpcyclePlan &plan, llvm::raw_ostream &os);

} // namespace moec
