//===- Emitter.h - structured LLVM IR for kernels -------------------------===//
//
// A thin layer over IRBuilder: counted loops that carry values, conditionals,
// vector loads and stores that convert between element types and f32. Code is
// built in SSA form, so a kernel needs no optimiser beyond LLVM's code
// generator. All sizes that the spec knows are constants in the code.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/cpu/EmitCpu.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

#include <memory>

namespace moec::cpu {

using llvm::Value;
using Values = llvm::SmallVector<Value *, 8>;

class Emitter {
public:
  Emitter(CpuLevel level, llvm::StringRef symbol);

  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module;
  llvm::IRBuilder<> b;
  const CpuLevel level;
  /// f32 elements of a native vector, and how many such registers there are.
  const unsigned lanes;
  const unsigned registers;

  llvm::Type *f32, *f64, *i1, *i8, *i16, *i32, *i64, *ptr;

  // The arguments of the kernel; see KernelAbi.h. Functions that `define`
  // makes get them as their first three arguments: buffers, extents, scratch.
  Value *buffers = nullptr;
  Value *extents = nullptr;
  Value *taskBegin = nullptr;
  Value *taskEnd = nullptr;
  Value *scratch = nullptr;

  /// Starts the kernel's function.
  void beginKernel();
  /// A private function, never inlined by us; `body` gets its own arguments.
  llvm::Function *define(llvm::StringRef name, llvm::ArrayRef<llvm::Type *>,
                         llvm::function_ref<void(llvm::ArrayRef<Value *>)>);
  void call(llvm::Function *function, llvm::ArrayRef<Value *> arguments);
  /// Ends the kernel, verifies the module and returns its bitcode.
  std::string finish();

  // Constants and integer arithmetic.
  llvm::ConstantInt *index(int64_t value) { return b.getInt64(value); }
  Value *add(Value *lhs, int64_t rhs);
  Value *mul(Value *lhs, int64_t rhs);
  Value *ceilDiv(Value *lhs, int64_t rhs);
  Value *min(Value *lhs, Value *rhs);
  Value *max(Value *lhs, Value *rhs);

  // Control flow. `end` is exclusive; nothing runs where begin >= end.
  void loop(Value *begin, Value *end, int64_t step,
            llvm::function_ref<void(Value *)> body);
  Values
  loop(Value *begin, Value *end, int64_t step, llvm::ArrayRef<Value *> init,
       llvm::function_ref<Values(Value *, llvm::ArrayRef<Value *>)> body);
  /// Goes on while `condition` holds of the carried values, tested first.
  Values whileLoop(llvm::ArrayRef<Value *> init,
                   llvm::function_ref<Value *(llvm::ArrayRef<Value *>)>,
                   llvm::function_ref<Values(llvm::ArrayRef<Value *>)> body);
  void ifThen(Value *condition, llvm::function_ref<void()> then);
  Values ifElse(Value *condition, llvm::function_ref<Values()> then,
                llvm::function_ref<Values()> otherwise);

  // Memory. Addresses are byte pointers.
  Value *buffer(unsigned number);
  Value *extent(unsigned number);
  Value *offset(Value *base, Value *bytes);
  Value *offset(Value *base, int64_t bytes);
  Value *element(Value *base, Value *number, int64_t elementBytes);
  Value *load(llvm::Type *type, Value *address, unsigned align = 0);
  void store(Value *value, Value *address, unsigned align = 0);
  /// An i32 at `base[number]`, sign-extended to i64.
  Value *loadIndex(Value *base, Value *number);
  void copyBytes(Value *to, Value *from, int64_t bytes);
  /// Asks for a cache line, to L1 or to L2.
  enum class Cache { L2 = 2, L1 = 3 };
  void prefetch(Value *address, Cache to);

  // Vectors. `mask` (or null) limits a load or store to some lanes; masked
  // lanes load as zero.
  llvm::Type *vector(llvm::Type *of, unsigned count);
  Value *splat(double value, unsigned count);
  Value *splat(Value *scalar, unsigned count);
  Value *like(Value *vector, double value);
  /// The lanes below `count` (i64, at least 0).
  Value *laneMask(Value *count, unsigned lanes);
  Value *constantMask(unsigned count, unsigned lanes);
  Value *loadRaw(llvm::Type *of, Value *address, unsigned count, Value *mask);
  Value *loadFloats(ElementType from, Value *address, unsigned count,
                    Value *mask = nullptr);
  /// As they are stored: f32, or the bits of narrower types as i16.
  Value *encode(ElementType to, Value *floats);
  void storeFloats(ElementType to, Value *floats, Value *address,
                   Value *mask = nullptr);
  Value *loadFloat(ElementType from, Value *address);
  void storeFloat(ElementType to, Value *value, Value *address);
  /// Rounds f32 to `to` and back.
  Value *roundTo(ElementType to, Value *floats);
  Value *fma(Value *x, Value *y, Value *z);
  /// Sums or maximum over lanes, halving the vector: a fixed tree.
  Value *sumLanes(Value *vector);
  Value *maxLanes(Value *vector);
  /// The same in an instruction a halving, where no lane is NaN.
  Value *maxLanesNoNan(Value *vector);
  /// Larger of two, NaN only if both are.
  Value *maxNumber(Value *x, Value *y);

  /// Calls `body(column, lanes, mask)` for all columns of a row of `width`.
  /// Every `unroll` vectors share one trip. Carries `init` through.
  Values columns(int64_t width, llvm::ArrayRef<Value *> init,
                 llvm::function_ref<Values(Value *column, Value *mask,
                                           llvm::ArrayRef<Value *>)>
                     body);
  void columns(int64_t width,
               llvm::function_ref<void(Value *column, Value *mask)> body);

private:
  void setAttributes(llvm::Function *function);
  Value *bf16Bits(Value *floats);
  Value *widenF16(Value *halves);
};

/// The largest power of two that divides `width`, at most `limit`.
unsigned lanesDividing(int64_t width, unsigned limit);

} // namespace moec::cpu
