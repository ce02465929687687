//===- GemmCore.h - what dense and ragged GEMM share ----------------------===//
//
// A block of rows of A times some panels of W, by register tiles:
//
//   for each panel (32 columns on AVX-512), or a few of them:
//     for each chunk of K:
//       for each panel:                         its chunk stays in L1
//         for each tile of rows:                accumulators in registers
//     epilogue over the block's rows, from an f32 tile in scratch
//
// Every output is one chain of additions in ascending k that starts at zero;
// leaving and re-entering registers between chunks is exact. So its bits do
// not depend on the number of rows, the tile or the task, and one row (GEMV,
// which reads several panels at once to keep more streams in flight) gives the
// bits of many.
//
// A is read in place where its element type is the one computed with; else,
// and where rows are gathered or their stride would alias in L1, rows are
// first copied to scratch.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/cpu/Emitter.h"

namespace moec::cpu {

/// What the kernels differ in. The functions are called with the emitter
/// positioned inside a helper function: they may use buffers and extents only.
struct GemmTraits {
  int64_t n = 0;
  int64_t k = 0;
  ElementType a = ElementType::f32;
  ElementType w = ElementType::f32;
  ElementType out = ElementType::f32;
  kernel::Activation activation = kernel::Activation::None;
  bool gated = false;
  /// Rows of A are not consecutive: `sourceRow` says which.
  bool gathers = false;

  unsigned aBuffer = 0;
  unsigned wBuffer = 0;
  unsigned outBuffer = 0;
  int biasBuffer = -1;
  int residualBuffer = -1;
  ElementType residual = ElementType::f32;
  /// f32 factor by output row.
  int weightBuffer = -1;

  /// Row of A, and row of the output, for row `row` of the launch.
  llvm::function_ref<Value *(Value *row)> sourceRow;
  llvm::function_ref<Value *(Value *row)> outputRow;
};

class GemmCore {
public:
  GemmCore(Emitter &e, const GemmTraits &traits);

  /// Emits the helper functions; call once, before the kernel's body.
  void emitFunctions();
  /// First and last in the kernel's body, once for a range of tasks: the
  /// configuration of AMX's tile registers, and its release.
  void emitBegin();
  void emitEnd();
  /// Rows [rowBegin, rowBegin + rows) times panels [panelBegin, panelEnd) of
  /// expert `expert` (0 if dense); rows <= blockRows().
  void emitBlock(Value *rowBegin, Value *rows, Value *panelBegin,
                 Value *panelEnd, Value *expert);

  int64_t panels() const { return panelCount; }
  int64_t blockRows() const { return rowsPerBlock; }
  /// Blocks whose rows are worth taking in turn for each panel: what an L2
  /// holds.
  int64_t blocksPerGroup() const;
  /// Panels of a task, so that a task reads enough to pay for its start while
  /// many threads still find work.
  int64_t panelsPerTask() const;
  uint64_t scratchBytes() const;

private:
  /// Slabs that one row reads at once: streams for the memory system, and
  /// independent chains of additions to hide their latency.
  static constexpr unsigned kStreams = 4;
  /// Bytes of the weights to come that a tile of rows asks for in a step: a
  /// line for two steps.
  static constexpr int64_t kPrefetchPerStep = 32;
  /// How weights become operands of multiply-adds.
  enum class Inner { F32, F16, Bf16, Bf16Dot, Q8, Amx };

  Value *rowPointer(Value *row);
  void emitPack(Value *rowBegin, Value *rows);
  llvm::Function *defineTile(unsigned rows, unsigned slabs);
  llvm::Function *defineAmxTile(unsigned rows);
  Values tileSteps(unsigned rows, unsigned slabs, Value *a, Value *w,
                   Value *steps, Value *next, Values sums);
  Value *nextWeights(Value *next, Value *row, Value *count);
  void emitOneRow(Value *rowBegin, Value *panelBegin, Value *panelEnd,
                  Value *weights, Value *expert);
  void emitManyRows(Value *rowBegin, Value *rows, Value *panelBegin,
                    Value *panelEnd, Value *weights, Value *expert);
  void emitEpilogue(llvm::ArrayRef<Value *> arguments);

  Emitter &e;
  const GemmTraits &traits;
  Inner inner;
  ElementType compute; ///< of A as the tile reads it
  unsigned panel;
  unsigned vectors; ///< of a panel
  unsigned slabsPerPanel;
  int64_t panelCount;
  int64_t stepElements; ///< of K in one step of a tile
  int64_t steps;
  int64_t aStepBytes, slabStepBytes, slabBytes;
  int64_t chunkSteps;
  bool packs;
  int64_t rowStride; ///< bytes between rows as the tile reads them
  int64_t rowsPerBlock;
  int64_t tileStride; ///< bytes of one slab's tile in scratch
  int64_t tileOffset;
  llvm::SmallVector<unsigned, 5> tileRows;
  llvm::SmallVector<llvm::Function *, 5> tiles;
  /// One row, by the number of slabs that it reads at once, descending.
  llvm::SmallVector<std::pair<unsigned, llvm::Function *>, 3> rowTiles;
  llvm::Function *epilogue = nullptr;
  llvm::Function *block = nullptr;
};

} // namespace moec::cpu
