//===- KvAppend.cpp - rows of keys or values into the paged cache ---------===//
//
// A task is a block of tokens. Value rows are copied along headDim. Keys are
// stored transposed within a block (headDim by slot), so that attention reads
// the scores of neighbouring slots with one vector: a column, by scalars.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/Paging.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

static constexpr int64_t kTokensPerTask = 16;

void cpu::emitKvAppend(Emitter &e, const kernel::KvAppendSpec &spec,
                       CpuKernel &result) {
  Value *cache = e.buffer(0), *x = e.buffer(1), *positions = e.buffer(2);
  Paging paging = {.seqOffsets = e.buffer(3),
                   .blockTable = e.buffer(4),
                   .seqs = e.extent(1),
                   .blocksPerRow = e.extent(2)};
  int64_t xBytes = blockBytes(spec.x), cacheBytes = blockBytes(spec.cache);
  Value *end = e.min(e.mul(e.taskEnd, kTokensPerTask), e.extent(0));
  e.loop(e.mul(e.taskBegin, kTokensPerTask), end, 1, [&](Value *token) {
    Value *position = e.loadIndex(positions, token);
    Value *block =
        paging.block(e, paging.sequence(e, token),
                     e.b.CreateUDiv(position, e.index(spec.blockSize)));
    Value *slot = e.b.CreateURem(position, e.index(spec.blockSize));
    Value *blockBase = e.element(
        cache, block, spec.heads * spec.headDim * spec.blockSize * cacheBytes);
    Value *row = e.element(x, token, spec.heads * spec.headDim * xBytes);
    e.loop(e.index(0), e.index(spec.heads), 1, [&](Value *head) {
      Value *from = e.element(row, head, spec.headDim * xBytes);
      Value *to = e.element(blockBase, head,
                            spec.headDim * spec.blockSize * cacheBytes);
      if (spec.key) {
        Value *column = e.element(to, slot, cacheBytes);
        e.loop(e.index(0), e.index(spec.headDim), 1, [&](Value *d) {
          e.storeFloat(spec.cache,
                       e.loadFloat(spec.x, e.element(from, d, xBytes)),
                       e.element(column, d, spec.blockSize * cacheBytes));
        });
        return;
      }
      Value *slotRow = e.element(to, slot, spec.headDim * cacheBytes);
      e.columns(spec.headDim, [&](Value *d, Value *mask) {
        e.storeFloats(
            spec.cache,
            e.loadFloats(spec.x, e.element(from, d, xBytes), e.lanes, mask),
            e.element(slotRow, d, cacheBytes), mask);
      });
    });
  });
  result.grid = {{.extent = 0, .divisor = kTokensPerTask}};
}
