//===- Emitter.cpp --------------------------------------------------------===//
//
// Long because: one class holds all words that emitters speak.
//
//===----------------------------------------------------------------------===//

#include "codegen/cpu/Emitter.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/IntrinsicsX86.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <bit>

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

static unsigned nativeLanes(CpuLevel level) {
  if (level >= CpuLevel::Avx512)
    return 16;
  return level == CpuLevel::Avx2 ? 8 : 4;
}

Emitter::Emitter(CpuLevel level, StringRef symbol)
    : module(std::make_unique<Module>(symbol, context)), b(context),
      level(level), lanes(nativeLanes(level)),
      registers(level >= CpuLevel::Avx512 ? 32 : 16), f32(b.getFloatTy()),
      f64(b.getDoubleTy()), i1(b.getInt1Ty()), i8(b.getInt8Ty()),
      i16(b.getInt16Ty()), i32(b.getInt32Ty()), i64(b.getInt64Ty()),
      ptr(b.getPtrTy()) {
  if (level == CpuLevel::Generic)
    return;
  module->setTargetTriple("x86_64-unknown-linux-gnu");
  module->setDataLayout("e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-"
                        "i128:128-f80:128-n8:16:32:64-S128");
}

void Emitter::setAttributes(Function *function) {
  function->addFnAttr(Attribute::NoUnwind);
  if (level == CpuLevel::Generic)
    return;
  SmallVector<std::string> features;
  for (StringRef feature : requiredFeatures(level))
    features.push_back(("+" + feature).str());
  function->addFnAttr("target-features", join(features, ","));
  StringRef width = level >= CpuLevel::Avx512 ? "512" : "256";
  function->addFnAttr("prefer-vector-width", width);
  function->addFnAttr("min-legal-vector-width", width);
}

void Emitter::beginKernel() {
  Function *kernel = Function::Create(
      FunctionType::get(b.getVoidTy(), {ptr, ptr, i64, i64, ptr}, false),
      GlobalValue::ExternalLinkage, module->getName(), *module);
  setAttributes(kernel);
  buffers = kernel->getArg(0);
  extents = kernel->getArg(1);
  taskBegin = kernel->getArg(2);
  taskEnd = kernel->getArg(3);
  scratch = kernel->getArg(4);
  b.SetInsertPoint(BasicBlock::Create(context, "", kernel));
}

Function *Emitter::define(StringRef name, ArrayRef<Type *> types,
                          function_ref<void(ArrayRef<Value *>)> body) {
  SmallVector<Type *> all = {ptr, ptr, ptr};
  append_range(all, types);
  Function *function =
      Function::Create(FunctionType::get(b.getVoidTy(), all, false),
                       GlobalValue::InternalLinkage, name, *module);
  function->addFnAttr(Attribute::NoInline);
  setAttributes(function);

  IRBuilderBase::InsertPointGuard guard(b);
  Value *outer[] = {buffers, extents, scratch};
  buffers = function->getArg(0);
  extents = function->getArg(1);
  scratch = function->getArg(2);
  Values arguments;
  for (Argument &argument : drop_begin(function->args(), 3))
    arguments.push_back(&argument);
  b.SetInsertPoint(BasicBlock::Create(context, "", function));
  body(arguments);
  b.CreateRetVoid();
  buffers = outer[0];
  extents = outer[1];
  scratch = outer[2];
  return function;
}

void Emitter::call(Function *function, ArrayRef<Value *> arguments) {
  Values all = {buffers, extents, scratch};
  append_range(all, arguments);
  b.CreateCall(function, all);
}

std::string Emitter::finish() {
  b.CreateRetVoid();
  std::string message;
  raw_string_ostream messageOs(message);
  if (verifyModule(*module, &messageOs))
    llvm_unreachable(("emitted a broken module: " + message).c_str());
  std::string bitcode;
  raw_string_ostream os(bitcode);
  WriteBitcodeToFile(*module, os);
  return bitcode;
}

//===- Integers -----------------------------------------------------------===//

Value *Emitter::add(Value *lhs, int64_t rhs) {
  return rhs == 0 ? lhs : b.CreateNSWAdd(lhs, index(rhs));
}

Value *Emitter::mul(Value *lhs, int64_t rhs) {
  return rhs == 1 ? lhs : b.CreateNSWMul(lhs, index(rhs));
}

Value *Emitter::ceilDiv(Value *lhs, int64_t rhs) {
  return rhs == 1 ? lhs : b.CreateUDiv(add(lhs, rhs - 1), index(rhs));
}

Value *Emitter::min(Value *lhs, Value *rhs) {
  return b.CreateBinaryIntrinsic(Intrinsic::smin, lhs, rhs);
}

Value *Emitter::max(Value *lhs, Value *rhs) {
  return b.CreateBinaryIntrinsic(Intrinsic::smax, lhs, rhs);
}

//===- Control flow -------------------------------------------------------===//

Values Emitter::loop(Value *begin, Value *end, int64_t step,
                     ArrayRef<Value *> init,
                     function_ref<Values(Value *, ArrayRef<Value *>)> body) {
  Function *function = b.GetInsertBlock()->getParent();
  BasicBlock *entry = b.GetInsertBlock();
  BasicBlock *block = BasicBlock::Create(context, "loop", function);
  BasicBlock *exit = BasicBlock::Create(context, "done", function);

  Value *enters = b.CreateICmpSLT(begin, end);
  auto *known = dyn_cast<ConstantInt>(enters);
  bool guarded = !known || known->isZero();
  if (guarded)
    b.CreateCondBr(enters, block, exit);
  else
    b.CreateBr(block);

  b.SetInsertPoint(block);
  PHINode *counter = b.CreatePHI(begin->getType(), 2);
  counter->addIncoming(begin, entry);
  Values carried;
  for (Value *value : init) {
    PHINode *phi = b.CreatePHI(value->getType(), 2);
    phi->addIncoming(value, entry);
    carried.push_back(phi);
  }
  Values results = body(counter, carried);
  assert(results.size() == init.size() && "a body returns what it carries");
  Value *next =
      b.CreateNSWAdd(counter, ConstantInt::get(begin->getType(), step));
  BasicBlock *latch = b.GetInsertBlock();
  BranchInst *back = b.CreateCondBr(b.CreateICmpSLT(next, end), block, exit);
  // Kernels choose their vectors and unrolling themselves.
  auto property = [&](StringRef name, ArrayRef<Metadata *> value) {
    SmallVector<Metadata *> parts = {MDString::get(context, name)};
    append_range(parts, value);
    return MDNode::get(context, parts);
  };
  MDNode *properties = MDNode::getDistinct(
      context, {nullptr, property("llvm.loop.unroll.disable", {}),
                property("llvm.loop.vectorize.enable",
                         {ConstantAsMetadata::get(b.getFalse())})});
  properties->replaceOperandWith(0, properties);
  back->setMetadata(LLVMContext::MD_loop, properties);
  counter->addIncoming(next, latch);
  for (auto [phi, result] : zip(carried, results))
    cast<PHINode>(phi)->addIncoming(result, latch);

  b.SetInsertPoint(exit);
  if (!guarded)
    return results;
  Values merged;
  for (auto [value, result] : zip(init, results)) {
    PHINode *phi = b.CreatePHI(value->getType(), 2);
    phi->addIncoming(value, entry);
    phi->addIncoming(result, latch);
    merged.push_back(phi);
  }
  return merged;
}

void Emitter::loop(Value *begin, Value *end, int64_t step,
                   function_ref<void(Value *)> body) {
  loop(begin, end, step, {}, [&](Value *counter, ArrayRef<Value *>) {
    body(counter);
    return Values();
  });
}

Values Emitter::whileLoop(ArrayRef<Value *> init,
                          function_ref<Value *(ArrayRef<Value *>)> condition,
                          function_ref<Values(ArrayRef<Value *>)> body) {
  Function *function = b.GetInsertBlock()->getParent();
  BasicBlock *entry = b.GetInsertBlock();
  BasicBlock *header = BasicBlock::Create(context, "while", function);
  BasicBlock *block = BasicBlock::Create(context, "do", function);
  BasicBlock *exit = BasicBlock::Create(context, "done", function);
  b.CreateBr(header);
  b.SetInsertPoint(header);
  Values carried;
  for (Value *value : init) {
    PHINode *phi = b.CreatePHI(value->getType(), 2);
    phi->addIncoming(value, entry);
    carried.push_back(phi);
  }
  b.CreateCondBr(condition(carried), block, exit);
  b.SetInsertPoint(block);
  Values results = body(carried);
  for (auto [phi, result] : zip(carried, results))
    cast<PHINode>(phi)->addIncoming(result, b.GetInsertBlock());
  b.CreateBr(header);
  b.SetInsertPoint(exit);
  return carried;
}

Values Emitter::ifElse(Value *condition, function_ref<Values()> then,
                       function_ref<Values()> otherwise) {
  Function *function = b.GetInsertBlock()->getParent();
  BasicBlock *thenBlock = BasicBlock::Create(context, "then", function);
  BasicBlock *elseBlock = BasicBlock::Create(context, "else", function);
  BasicBlock *exit = BasicBlock::Create(context, "endif", function);
  b.CreateCondBr(condition, thenBlock, elseBlock);
  b.SetInsertPoint(thenBlock);
  Values thenValues = then();
  BasicBlock *thenEnd = b.GetInsertBlock();
  b.CreateBr(exit);
  b.SetInsertPoint(elseBlock);
  Values elseValues = otherwise();
  BasicBlock *elseEnd = b.GetInsertBlock();
  b.CreateBr(exit);
  b.SetInsertPoint(exit);
  Values merged;
  for (auto [thenValue, elseValue] : zip_equal(thenValues, elseValues)) {
    PHINode *phi = b.CreatePHI(thenValue->getType(), 2);
    phi->addIncoming(thenValue, thenEnd);
    phi->addIncoming(elseValue, elseEnd);
    merged.push_back(phi);
  }
  return merged;
}

void Emitter::ifThen(Value *condition, function_ref<void()> then) {
  ifElse(
      condition,
      [&] {
        then();
        return Values();
      },
      [] { return Values(); });
}

//===- Memory -------------------------------------------------------------===//

Value *Emitter::buffer(unsigned number) {
  return load(ptr, offset(buffers, int64_t(number) * 8), 8);
}

Value *Emitter::extent(unsigned number) {
  return load(i64, offset(extents, int64_t(number) * 8), 8);
}

Value *Emitter::offset(Value *base, Value *bytes) {
  return b.CreateInBoundsGEP(i8, base, bytes);
}

Value *Emitter::offset(Value *base, int64_t bytes) {
  return bytes == 0 ? base : offset(base, index(bytes));
}

Value *Emitter::element(Value *base, Value *number, int64_t elementBytes) {
  return offset(base, mul(number, elementBytes));
}

Value *Emitter::load(Type *type, Value *address, unsigned align) {
  unsigned bytes = align ? align : type->getScalarSizeInBits() / 8;
  return b.CreateAlignedLoad(type, address, Align(bytes));
}

void Emitter::store(Value *value, Value *address, unsigned align) {
  unsigned bytes = align ? align : value->getType()->getScalarSizeInBits() / 8;
  b.CreateAlignedStore(value, address, Align(bytes));
}

Value *Emitter::loadIndex(Value *base, Value *number) {
  return b.CreateSExt(load(i32, element(base, number, 4)), i64);
}

void Emitter::prefetch(Value *address, Cache to) {
  b.CreateIntrinsic(
      Intrinsic::prefetch, {ptr},
      {address, b.getInt32(0), b.getInt32(unsigned(to)), b.getInt32(1)});
}

void Emitter::copyBytes(Value *to, Value *from, int64_t bytes) {
  // Wide copies first, then what is left by halves; no call to memcpy.
  int64_t done = 0;
  for (int64_t width = int64_t(lanes) * 4; width >= 1; width /= 2) {
    int64_t end = done + (bytes - done) / width * width;
    auto copy = [&](Value *position) {
      Type *type = vector(i8, width);
      store(load(type, offset(from, position), 1), offset(to, position), 1);
    };
    if (end - done > width)
      loop(index(done), index(end), width, copy);
    else if (end > done)
      copy(index(done));
    done = end;
  }
}

//===- Vectors ------------------------------------------------------------===//

unsigned cpu::lanesDividing(int64_t width, unsigned limit) {
  return unsigned(std::min<int64_t>(width & -width, limit));
}

Type *Emitter::vector(Type *of, unsigned count) {
  return FixedVectorType::get(of, count);
}

Value *Emitter::splat(double value, unsigned count) {
  return ConstantFP::get(vector(f32, count), value);
}

Value *Emitter::splat(Value *scalar, unsigned count) {
  return b.CreateVectorSplat(count, scalar);
}

Value *Emitter::like(Value *vector, double value) {
  return ConstantFP::get(vector->getType(), value);
}

Value *Emitter::laneMask(Value *count, unsigned lanes) {
  SmallVector<Constant *, 16> numbers;
  for (unsigned lane = 0; lane < lanes; ++lane)
    numbers.push_back(b.getInt32(lane));
  Value *limit = splat(b.CreateTrunc(min(count, index(lanes)), i32), lanes);
  return b.CreateICmpSLT(ConstantVector::get(numbers), limit);
}

Value *Emitter::constantMask(unsigned count, unsigned lanes) {
  SmallVector<Constant *, 16> bits;
  for (unsigned lane = 0; lane < lanes; ++lane)
    bits.push_back(b.getInt1(lane < count));
  return ConstantVector::get(bits);
}

Value *Emitter::loadRaw(Type *of, Value *address, unsigned count, Value *mask) {
  Type *type = vector(of, count);
  Align align(of->getScalarSizeInBits() / 8);
  if (!mask)
    return b.CreateAlignedLoad(type, address, align);
  return b.CreateMaskedLoad(type, address, align, mask,
                            Constant::getNullValue(type));
}

Value *Emitter::loadFloats(ElementType from, Value *address, unsigned count,
                           Value *mask) {
  switch (from) {
  case ElementType::f32:
    return loadRaw(f32, address, count, mask);
  case ElementType::bf16: {
    Value *bits =
        b.CreateZExt(loadRaw(i16, address, count, mask), vector(i32, count));
    return b.CreateBitCast(b.CreateShl(bits, 16), vector(f32, count));
  }
  case ElementType::f16: {
    Value *bits = loadRaw(i16, address, count, mask);
    if (level == CpuLevel::Generic)
      return widenF16(bits);
    return b.CreateFPExt(b.CreateBitCast(bits, vector(b.getHalfTy(), count)),
                         vector(f32, count));
  }
  default:
    llvm_unreachable("`supports` admits floats only");
  }
}

/// f16 to f32 without an instruction for it: exponent and fraction move to
/// their places, and the exponent's bias grows by 127 - 15.
Value *Emitter::widenF16(Value *halves) {
  unsigned count = cast<FixedVectorType>(halves->getType())->getNumElements();
  Type *ints = vector(i32, count), *floats = vector(f32, count);
  auto constant = [&](uint32_t bits) { return ConstantInt::get(ints, bits); };
  constexpr uint32_t kBias = 112u << 23, kTop = 0x7c00u << 13;
  Value *bits = b.CreateZExt(halves, ints);
  Value *sign = b.CreateShl(b.CreateAnd(bits, constant(0x8000)), 16);
  Value *moved = b.CreateShl(b.CreateAnd(bits, constant(0x7fff)), 13);
  Value *exponent = b.CreateAnd(moved, constant(kTop));
  Value *normal = b.CreateAdd(moved, constant(kBias));
  // Infinity and NaN have the largest exponent in either type.
  Value *special = b.CreateAdd(normal, constant(kBias));
  // A subnormal is the fraction of a number that is 2^-14 larger.
  Value *shifted =
      b.CreateBitCast(b.CreateAdd(normal, constant(1u << 23)), floats);
  Value *subnormal =
      b.CreateBitCast(b.CreateFSub(shifted, like(shifted, 0x1p-14)), ints);
  Value *finite =
      b.CreateSelect(b.CreateICmpEQ(exponent, constant(0)), subnormal, normal);
  Value *magnitude =
      b.CreateSelect(b.CreateICmpEQ(exponent, constant(kTop)), special, finite);
  return b.CreateBitCast(b.CreateOr(magnitude, sign), floats);
}

/// The upper half of each f32, rounded to nearest even; NaN stays NaN.
Value *Emitter::bf16Bits(Value *floats) {
  unsigned count = cast<FixedVectorType>(floats->getType())->getNumElements();
  if (level >= CpuLevel::Avx512Bf16 && count == 16) {
    Value *rounded = b.CreateIntrinsic(
        Intrinsic::x86_avx512bf16_cvtneps2bf16_512, {}, {floats});
    return b.CreateBitCast(rounded, vector(i16, count));
  }
  Type *ints = vector(i32, count);
  Value *bits = b.CreateBitCast(floats, ints);
  Value *high = b.CreateLShr(bits, 16);
  Value *odd = b.CreateAnd(high, ConstantInt::get(ints, 1));
  Value *bias = b.CreateAdd(odd, ConstantInt::get(ints, 0x7fff));
  Value *rounded = b.CreateLShr(b.CreateAdd(bits, bias), 16);
  Value *quiet = b.CreateOr(high, ConstantInt::get(ints, 0x40));
  Value *isNan = b.CreateFCmpUNO(floats, floats);
  return b.CreateTrunc(b.CreateSelect(isNan, quiet, rounded),
                       vector(i16, count));
}

Value *Emitter::encode(ElementType to, Value *floats) {
  unsigned count = cast<FixedVectorType>(floats->getType())->getNumElements();
  if (to == ElementType::bf16)
    return bf16Bits(floats);
  if (to == ElementType::f16)
    return b.CreateBitCast(
        b.CreateFPTrunc(floats, vector(b.getHalfTy(), count)),
        vector(i16, count));
  assert(to == ElementType::f32 && "`supports` admits floats only");
  return floats;
}

void Emitter::storeFloats(ElementType to, Value *floats, Value *address,
                          Value *mask) {
  Value *raw = encode(to, floats);
  Align align(raw->getType()->getScalarSizeInBits() / 8);
  if (mask)
    b.CreateMaskedStore(raw, address, align, mask);
  else
    b.CreateAlignedStore(raw, address, align);
}

Value *Emitter::loadFloat(ElementType from, Value *address) {
  return b.CreateExtractElement(loadFloats(from, address, 1), uint64_t(0));
}

void Emitter::storeFloat(ElementType to, Value *value, Value *address) {
  storeFloats(to, splat(value, 1), address);
}

Value *Emitter::roundTo(ElementType to, Value *floats) {
  unsigned count = cast<FixedVectorType>(floats->getType())->getNumElements();
  switch (to) {
  case ElementType::f32:
    return floats;
  case ElementType::bf16: {
    Value *bits = b.CreateZExt(bf16Bits(floats), vector(i32, count));
    return b.CreateBitCast(b.CreateShl(bits, 16), vector(f32, count));
  }
  case ElementType::f16:
    return b.CreateFPExt(b.CreateFPTrunc(floats, vector(b.getHalfTy(), count)),
                         floats->getType());
  default:
    llvm_unreachable("`supports` admits floats only");
  }
}

Value *Emitter::fma(Value *x, Value *y, Value *z) {
  // Without an instruction for it, fma would be a call into libm.
  Intrinsic::ID id =
      level == CpuLevel::Generic ? Intrinsic::fmuladd : Intrinsic::fma;
  return b.CreateIntrinsic(id, {x->getType()}, {x, y, z});
}

Value *Emitter::maxNumber(Value *x, Value *y) {
  // NaN compares false on the left and unordered on the right.
  Value *keepX = b.CreateOr(b.CreateFCmpOGE(x, y), b.CreateFCmpUNO(y, y));
  return b.CreateSelect(keepX, x, y);
}

static Value *halve(Emitter &e, Value *vector,
                    function_ref<Value *(Value *, Value *)> combine) {
  unsigned count = cast<FixedVectorType>(vector->getType())->getNumElements();
  for (; count > 1; count /= 2) {
    SmallVector<int, 16> low, high;
    for (unsigned lane = 0; lane < count / 2; ++lane) {
      low.push_back(lane);
      high.push_back(lane + count / 2);
    }
    vector = combine(e.b.CreateShuffleVector(vector, low),
                     e.b.CreateShuffleVector(vector, high));
  }
  return e.b.CreateExtractElement(vector, uint64_t(0));
}

Value *Emitter::sumLanes(Value *vector) {
  return halve(*this, vector,
               [&](Value *x, Value *y) { return b.CreateFAdd(x, y); });
}

Value *Emitter::maxLanes(Value *vector) {
  return halve(*this, vector,
               [&](Value *x, Value *y) { return maxNumber(x, y); });
}

Value *Emitter::maxLanesNoNan(Value *vector) {
  return halve(*this, vector, [&](Value *x, Value *y) {
    return b.CreateSelect(b.CreateFCmpOGT(x, y), x, y);
  });
}

Values Emitter::columns(
    int64_t width, ArrayRef<Value *> init,
    function_ref<Values(Value *, Value *, ArrayRef<Value *>)> body) {
  int64_t full = width / lanes * lanes;
  Values carried(init);
  if (full)
    carried = loop(index(0), index(full), lanes, carried,
                   [&](Value *column, ArrayRef<Value *> values) {
                     return body(column, nullptr, values);
                   });
  if (full < width)
    carried = body(index(full), constantMask(width - full, lanes), carried);
  return carried;
}

void Emitter::columns(int64_t width,
                      function_ref<void(Value *, Value *)> body) {
  columns(width, {}, [&](Value *column, Value *mask, ArrayRef<Value *>) {
    body(column, mask);
    return Values();
  });
}
