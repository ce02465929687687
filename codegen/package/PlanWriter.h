//===- PlanWriter.h - kernel ops to a plan --------------------------------===//
#pragma once

#include "codegen/cpu/EmitCpu.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/Hash.h"

#include <functional>
#include <optional>

namespace moec {

/// Where a part of a weight's bytes lies.
struct StoredWeight {
  std::string file;
  uint64_t offset;
  uint64_t bytes;
  ElementType encoding;
  /// Heads whose rows are stored as interleaved pairs; 0: rows are in order.
  uint32_t rotaryHeads = 0;
  /// Size of the whole file; 0: not known.
  uint64_t fileBytes = 0;
  /// Of those bytes, where it was computed.
  std::optional<Digest> digest;
};
/// The parts of a weight, one after the other along its first dimension, if
/// they lie in files and decode to the weight by a change of encoding and the
/// order of rotary rows alone; otherwise none.
using StoredWeightFn = std::function<std::vector<StoredWeight>(const Weight &)>;

/// A program in kernel ops and the batches it serves.
struct LoweredProgram {
  const Program *program;
  /// Largest value of symbols that have a limit here.
  std::vector<std::pair<const DimSymbol *, int64_t>> limits;
};

struct PlanOptions {
  std::vector<cpu::CpuLevel> levels;
  /// Programs of one signature, in order of preference.
  std::vector<LoweredProgram> programs;
  StoredWeightFn stored;
  std::string tokenizer;
  /// The module in binary form, for weights that are not stored.
  std::string module;
  std::string producer;
};

/// What a compile reports.
struct PlanReport {
  struct Variant {
    std::string name;
    unsigned kernels = 0;
    uint64_t codeBytes = 0;
  };
  std::vector<Variant> variants;
  struct Arena {
    std::string program;
    unsigned launches = 0;
    /// At the maximum of every symbol, with and without shared slots.
    int64_t bytes = 0;
    int64_t unsharedBytes = 0;
  };
  std::vector<Arena> arenas;
};

/// The bytes of a `.moep`. Equal input gives equal bytes.
llvm::Expected<std::string> writePlan(const Module &module,
                                      const PlanOptions &options,
                                      PlanReport *report = nullptr);

} // namespace moec
