//===- VectorMath.cpp -----------------------------------------------------===//

#include "codegen/cpu/VectorMath.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/IntrinsicsX86.h"
#include "llvm/Support/ErrorHandling.h"

using namespace llvm;
using namespace moec;
using namespace moec::cpu;

/// Adding and subtracting it rounds |x| < 2^22 to an integer, whose bits are
/// then the low ones of the sum. The same for f64 and |x| < 2^51.
static constexpr double kRoundF32 = 12582912.0;
static constexpr double kRoundF64 = 6755399441055744.0;

/// coefficients[0] + x * (coefficients[1] + ...).
static Value *horner(Emitter &e, Value *x, ArrayRef<double> coefficients) {
  Value *sum = e.like(x, coefficients.back());
  for (double coefficient : reverse(coefficients.drop_back()))
    sum = e.fma(sum, x, e.like(x, coefficient));
  return sum;
}

static Type *intsOf(Emitter &e, Value *floats) {
  auto *type = cast<FixedVectorType>(floats->getType());
  return e.vector(type->getScalarSizeInBits() == 64 ? e.i64 : e.i32,
                  type->getNumElements());
}

static Value *absolute(Emitter &e, Value *x) {
  return e.b.CreateUnaryIntrinsic(Intrinsic::fabs, x);
}

Value *cpu::emitExp(Emitter &e, Value *x) {
  IRBuilder<> &b = e.b;
  // Beyond these the result is 0 or infinity anyway; comparisons keep NaN.
  Value *low = e.like(x, -104), *high = e.like(x, 89);
  x = b.CreateSelect(b.CreateFCmpOLT(x, low), low, x);
  x = b.CreateSelect(b.CreateFCmpOGT(x, high), high, x);

  // x = n ln 2 + r, ln 2 in two parts so that n times the first is exact.
  Value *magic = e.like(x, kRoundF32);
  Value *shifted = e.fma(x, e.like(x, 1.44269504088896341), magic);
  Value *n = b.CreateFSub(shifted, magic);
  Value *r = e.fma(n, e.like(x, -0.693359375), x);
  r = e.fma(n, e.like(x, 2.12194440054690583e-4), r);
  Value *p = horner(e, r,
                    {4.999999404e-01, 1.666651517e-01, 4.166845605e-02,
                     8.369419724e-03, 1.381317968e-03});
  p = e.fma(p, b.CreateFMul(r, r), r);
  p = b.CreateFAdd(p, e.like(x, 1));

  if (e.level >= CpuLevel::Avx512 && x->getType() == e.vector(e.f32, 16))
    return b.CreateIntrinsic(
        Intrinsic::x86_avx512_mask_scalef_ps_512, {},
        {p, n, p, b.getInt16(-1), b.getInt32(/*current rounding=*/4)});

  // 2^n as a product of two powers, so that neither over- nor underflows.
  Type *ints = intsOf(e, x);
  Value *whole =
      b.CreateSub(b.CreateBitCast(shifted, ints), b.CreateBitCast(magic, ints));
  Value *half = b.CreateAShr(whole, 1);
  auto power = [&](Value *exponent) {
    Value *biased = b.CreateAdd(exponent, ConstantInt::get(ints, 127));
    return b.CreateBitCast(b.CreateShl(biased, 23), x->getType());
  };
  return b.CreateFMul(b.CreateFMul(p, power(half)),
                      power(b.CreateSub(whole, half)));
}

Value *cpu::emitShortExp2(Emitter &e, Value *x) {
  IRBuilder<> &b = e.b;
  assert(e.level >= CpuLevel::Avx512 && x->getType() == e.vector(e.f32, 16));
  // Keeps -infinity out of the subtraction; the comparison keeps NaN.
  Value *low = e.like(x, -160);
  x = b.CreateSelect(b.CreateFCmpOLT(x, low), low, x);
  Value *n = b.CreateUnaryIntrinsic(Intrinsic::rint, x);
  Value *p = horner(
      e, b.CreateFSub(x, n),
      {1, 6.931241952e-01, 2.402409934e-01, 5.590643210e-02, 9.582846850e-03});
  return b.CreateIntrinsic(
      Intrinsic::x86_avx512_mask_scalef_ps_512, {},
      {p, n, p, b.getInt16(-1), b.getInt32(/*current rounding=*/4)});
}

Value *cpu::emitSigmoid(Emitter &e, Value *x) {
  Value *one = e.like(x, 1);
  Value *denominator = e.b.CreateFAdd(one, emitExp(e, e.b.CreateFNeg(x)));
  return e.b.CreateFDiv(one, denominator);
}

Value *cpu::emitTanh(Emitter &e, Value *x) {
  IRBuilder<> &b = e.b;
  Value *z = b.CreateFMul(x, x);
  Value *small = horner(e, z,
                        {-3.333328068e-01, 1.333144307e-01, -5.373972654e-02,
                         2.063913085e-02, -5.705036223e-03});
  small = e.fma(b.CreateFMul(small, z), x, x);
  // 1 - 2 / (e^2|x| + 1); infinity divides to 0.
  Value *size = absolute(e, x);
  Value *power = emitExp(e, b.CreateFAdd(size, size));
  Value *rest = b.CreateFDiv(e.like(x, 2), b.CreateFAdd(power, e.like(x, 1)));
  Value *large = b.CreateFSub(e.like(x, 1), rest);
  // The sign also for zeros, which the polynomial's sum loses.
  return b.CreateBinaryIntrinsic(
      Intrinsic::copysign,
      b.CreateSelect(b.CreateFCmpOLT(size, e.like(x, 0.625)), small, large), x);
}

Value *cpu::emitErf(Emitter &e, Value *x) {
  IRBuilder<> &b = e.b;
  Value *z = b.CreateFMul(x, x);
  Value *small = horner(e, z,
                        {1.128379167e+00, -3.761262894e-01, 1.128361747e-01,
                         -2.685491554e-02, 5.190162919e-03, -8.024823619e-04,
                         7.898711192e-05});
  small = b.CreateFMul(small, x);
  // 1 - exp(-g(|x|)) with g fitted to -log erfc on [1, 4.05]; above, erfc is
  // less than half a unit in the last place of 1.
  Value *size = absolute(e, x);
  Value *limit = e.like(x, 4.05);
  Value *t = b.CreateSelect(b.CreateFCmpOGT(size, limit), limit, size);
  Value *g = horner(e, t,
                    {-1.880246273e-04, 1.129578352e+00, 6.332200170e-01,
                     1.084184349e-01, -2.520816773e-02, 4.204529338e-03,
                     -4.413298739e-04, 2.168630635e-05});
  Value *tail = emitExp(e, b.CreateFNeg(g));
  Value *large = b.CreateBinaryIntrinsic(Intrinsic::copysign,
                                         b.CreateFSub(e.like(x, 1), tail), x);
  return b.CreateSelect(b.CreateFCmpOLT(size, e.like(x, 1)), small, large);
}

std::pair<Value *, Value *> cpu::emitSinCos(Emitter &e, Value *angles) {
  IRBuilder<> &b = e.b;
  unsigned count = cast<FixedVectorType>(angles->getType())->getNumElements();
  // The quadrant and what is left of the angle, in f64: pi/2 in two parts, the
  // first short enough that n times it is exact for |n| < 2^30.
  Value *magic = e.like(angles, kRoundF64);
  Value *shifted = b.CreateFAdd(
      b.CreateFMul(angles, e.like(angles, 0.63661977236758134308)), magic);
  Value *n = b.CreateFSub(shifted, magic);
  Value *rest =
      b.CreateFSub(angles, b.CreateFMul(n, e.like(angles, 0x1.921fb4p+0)));
  rest = b.CreateFSub(rest,
                      b.CreateFMul(n, e.like(angles, 0x1.4442d18469899p-24)));
  Value *quadrant = b.CreateTrunc(b.CreateBitCast(shifted, intsOf(e, angles)),
                                  e.vector(e.i32, count));
  Value *x = b.CreateFPTrunc(rest, e.vector(e.f32, count));

  Value *z = b.CreateFMul(x, x);
  Value *sine =
      horner(e, z, {-1.666665524e-01, 8.332155645e-03, -1.951462909e-04});
  sine = e.fma(b.CreateFMul(sine, z), x, x);
  Value *cosine =
      horner(e, z, {4.166664556e-02, -1.388730947e-03, 2.443241829e-05});
  cosine = e.fma(b.CreateFMul(cosine, z), z,
                 e.fma(z, e.like(x, -0.5), e.like(x, 1)));

  Type *ints = quadrant->getType();
  auto bit = [&](Value *bits, int mask) {
    return b.CreateICmpNE(b.CreateAnd(bits, ConstantInt::get(ints, mask)),
                          Constant::getNullValue(ints));
  };
  Value *swapped = bit(quadrant, 1);
  auto signedBy = [&](Value *negative, Value *value) {
    return b.CreateSelect(negative, b.CreateFNeg(value), value);
  };
  Value *next = b.CreateAdd(quadrant, ConstantInt::get(ints, 1));
  return {signedBy(bit(quadrant, 2), b.CreateSelect(swapped, cosine, sine)),
          signedBy(bit(next, 2), b.CreateSelect(swapped, sine, cosine))};
}

Value *cpu::emitActivation(Emitter &e, kernel::Activation activation,
                           Value *x) {
  using kernel::Activation;
  IRBuilder<> &b = e.b;
  switch (activation) {
  case Activation::None:
    return x;
  case Activation::Silu: {
    Value *power = emitExp(e, b.CreateFNeg(x));
    return b.CreateFDiv(x, b.CreateFAdd(e.like(x, 1), power));
  }
  case Activation::QuickGelu: {
    Value *power = emitExp(e, b.CreateFMul(x, e.like(x, -1.702)));
    return b.CreateFDiv(x, b.CreateFAdd(e.like(x, 1), power));
  }
  case Activation::GeluTanh: {
    // sqrt(2 / pi) (x + 0.044715 x^3)
    Value *cube = b.CreateFMul(b.CreateFMul(x, x), x);
    Value *inner = b.CreateFMul(e.fma(cube, e.like(x, 0.044715), x),
                                e.like(x, 0.79788456080286535588));
    Value *half = b.CreateFMul(x, e.like(x, 0.5));
    return b.CreateFMul(half, b.CreateFAdd(e.like(x, 1), emitTanh(e, inner)));
  }
  case Activation::GeluErf: {
    Value *scaled = b.CreateFMul(x, e.like(x, 0.70710678118654752440));
    Value *half = b.CreateFMul(x, e.like(x, 0.5));
    return b.CreateFMul(half, b.CreateFAdd(e.like(x, 1), emitErf(e, scaled)));
  }
  case Activation::Relu:
    // NaN passes, as it does through max(0, x) of the interpreter.
    return b.CreateSelect(b.CreateFCmpOLT(x, e.like(x, 0)), e.like(x, 0), x);
  case Activation::SquaredRelu: {
    Value *kept =
        b.CreateSelect(b.CreateFCmpOLT(x, e.like(x, 0)), e.like(x, 0), x);
    return b.CreateFMul(kept, kept);
  }
  }
  llvm_unreachable("all activations are listed");
}
