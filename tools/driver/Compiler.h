//===- Compiler.h - from a module to a plan -------------------------------===//
#pragma once

#include "codegen/package/PlanWriter.h"
#include "passes/driver/PassManager.h"

namespace moec {

class CheckpointReader;

/// Element types of a compiled model. `automatic` keeps f32 models in f32 and
/// computes everything else in bf16; q8_0 stores weights so and computes in
/// f32.
enum class Precision { automatic, f32, bf16, q8_0 };

/// What `automatic` means for a module.
Precision naturalPrecision(const Module &module);

struct CompileRequest {
  Precision precision = Precision::automatic;
  /// Empty: every level that code can be emitted for.
  std::vector<cpu::CpuLevel> levels;
  InstrumentationOptions instrumentation;
  /// A batch of at most so many tokens takes the path that sorts nothing.
  int64_t smallBatch = 8;
  /// Largest number of tokens of one step; 0: as the module says.
  int64_t maxTokens = 0;
  /// Where the plan will lie. It names files beneath this folder relative to
  /// it, so that both may move together; empty: all in full.
  std::string folder;
  /// Keeps digests of the weights' files in the plan, for whoever wants to
  /// verify them later; compares those that the module has already.
  bool digests = false;
};

struct CompileResult {
  std::string plan;
  PlanReport report;
  std::vector<Remark> remarks;
};

/// Lowers the module, which is changed on the way, and writes a plan that
/// embeds it.
llvm::Expected<CompileResult> compileModule(Module &module,
                                            const CompileRequest &request);

/// Compares the module's source files with the digests that it has of them.
llvm::Error checkDigests(const Module &module, CheckpointReader &reader);

/// The levels that this machine runs, best first.
std::vector<cpu::CpuLevel> hostLevels();

} // namespace moec
