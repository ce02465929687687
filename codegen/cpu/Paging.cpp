//===- Paging.cpp ---------------------------------------------------------===//

#include "codegen/cpu/Paging.h"

using namespace llvm;
using namespace moec::cpu;

Value *Paging::sequence(Emitter &e, Value *token) const {
  // Keeps seqOffsets[low] <= token < seqOffsets[high].
  Values bounds = e.whileLoop(
      {e.index(0), seqs},
      [&](ArrayRef<Value *> range) {
        return e.b.CreateICmpSLT(e.add(range[0], 1), range[1]);
      },
      [&](ArrayRef<Value *> range) -> Values {
        Value *middle = e.b.CreateLShr(e.b.CreateAdd(range[0], range[1]), 1);
        Value *below =
            e.b.CreateICmpSLE(e.loadIndex(seqOffsets, middle), token);
        return {e.b.CreateSelect(below, middle, range[0]),
                e.b.CreateSelect(below, range[1], middle)};
      });
  return bounds[0];
}

Value *Paging::block(Emitter &e, Value *sequence, Value *number) const {
  Value *entry = e.b.CreateAdd(e.b.CreateMul(sequence, blocksPerRow), number);
  return e.loadIndex(blockTable, entry);
}
