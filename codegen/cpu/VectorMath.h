//===- VectorMath.h - elementary functions on vectors of f32 --------------===//
//
// Polynomials with no table and no call, at most 2 units in the last place off
// over the whole range unless said otherwise; NaN gives NaN. The coefficients
// are minimax fits of our own (Remez, relative error).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "codegen/cpu/Emitter.h"

#include <utility>

namespace moec::cpu {

/// Gradual underflow below -87, infinity above 88.7.
Value *emitExp(Emitter &e, Value *x);
/// 2^x for x <= 0, to 3e-6 of it: what is rounded to bf16 next. 0 below -149;
/// exactly 1 at 0. Needs CpuLevel::Avx512 and 16 lanes.
Value *emitShortExp2(Emitter &e, Value *x);
Value *emitSigmoid(Emitter &e, Value *x);
Value *emitTanh(Emitter &e, Value *x);
/// Absolute error below 2e-7.
Value *emitErf(Emitter &e, Value *x);
/// (sin, cos) as f32 of angles in f64 with |angle| <= 2^30.
std::pair<Value *, Value *> emitSinCos(Emitter &e, Value *angles);

/// activation(x), computed as ir/interp defines it.
Value *emitActivation(Emitter &e, kernel::Activation activation, Value *x);

} // namespace moec::cpu
