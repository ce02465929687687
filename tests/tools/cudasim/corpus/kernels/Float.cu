// Floating point, one element a thread, columns as in Integer.cu.
#include "corpus.cuh"

/// Results that IEEE 754 fixes to the bit, with or without contraction: no
/// product of two rounded factors feeds a sum.
extern "C" __global__ void floatExact(const float *a, const float *b,
                                      float *out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const float x = a[i], y = b[i];
  float *column = out + i;
  auto emit = [&](float value) {
    *column = value;
    column += count;
  };
  emit(x + y);
  emit(x - y);
  emit(x * y);
  emit(x / y);
  emit(fmaf(x, y, 0.5f));
  emit(sqrtf(fabsf(x)));
  emit(1.0f / y);
  emit(fminf(x, y));
  emit(fmaxf(x, y));
  emit(copysignf(x, y));
  emit(floorf(x));
  emit(ceilf(x));
  emit(truncf(x));
  emit(rintf(x));
  emit(__saturatef(x) + 0.0f); // The sign of zero is not specified.
  emit(-x);
  emit(fabsf(y));
  emit(__fadd_rz(x, y));
  emit(__fadd_ru(x, y));
  emit(__fadd_rd(x, y));
  emit(__fmul_rz(x, y));
  emit(__fmul_ru(x, y));
  emit(__fmaf_rd(x, y, 0.25f));
  emit(__fmaf_rz(x, y, 0.25f));
  emit(__fdiv_rn(x, y));
  emit(__fsqrt_rn(fabsf(x)));
  emit(__frcp_rn(y));
  emit(static_cast<float>(__float2int_rn(x)));
  emit(static_cast<float>(__float2int_rz(x)));
  emit(static_cast<float>(__float2int_ru(x)));
  emit(static_cast<float>(__float2int_rd(x)));
  emit(static_cast<float>(__float2uint_rz(x)));
  emit(static_cast<float>(static_cast<long long>(x)));
  emit(static_cast<float>(static_cast<unsigned long long>(fabsf(x))));
  emit(static_cast<float>(static_cast<double>(x) * 0.1));
  emit(isnan(x) ? 1.0f : isinf(x) ? 2.0f : signbit(x) ? 3.0f : 4.0f);
  emit(x < y ? 1.0f : x > y ? 2.0f : x == y ? 3.0f : 4.0f);
  emit(__int_as_float(__float_as_int(x) ^ 0x00400000));
}

/// Functions with an error bound; inputs are tame.
extern "C" __global__ void floatMath(const float *a, const float *b, float *out,
                                     int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const float x = a[i], y = b[i];
  float *column = out + i;
  auto emit = [&](float value) {
    *column = value;
    column += count;
  };
  emit(expf(x));
  emit(logf(fabsf(x)));
  emit(sinf(x));
  emit(cosf(x));
  emit(tanhf(x));
  emit(powf(fabsf(x), y));
  emit(rsqrtf(fabsf(x)));
  emit(erff(x));
  emit(exp2f(x));
  emit(log2f(fabsf(x)));
  emit(cbrtf(x));
  emit(fmodf(x, y));
  emit(hypotf(x, y));
  emit(atan2f(x, y));
  emit(log1pf(fabsf(x)));
  emit(expm1f(x));
  emit(__expf(x));
  emit(__logf(fabsf(x)));
  emit(__sinf(x));
  emit(__cosf(x));
  emit(__fdividef(x, y));
  emit(1.0f / (1.0f + expf(-x)));
  float value;
  asm("tanh.approx.f32 %0, %1;" : "=f"(value) : "f"(x));
  emit(value);
  asm("sqrt.approx.f32 %0, %1;" : "=f"(value) : "f"(fabsf(x)));
  emit(value);
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(y));
  emit(value);
}

extern "C" __global__ void doubleMath(const double *a, const double *b,
                                      double *out, double *total, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const double x = a[i], y = b[i];
  double *column = out + i;
  auto emit = [&](double value) {
    *column = value;
    column += count;
  };
  emit(x + y);
  emit(x * y);
  emit(x / y);
  emit(fma(x, y, 0.5));
  emit(sqrt(fabs(x)));
  emit(1.0 / y);
  emit(fmin(x, y));
  emit(fmax(x, y));
  emit(floor(x));
  emit(rint(x));
  emit(__dadd_rd(x, y));
  emit(__dmul_ru(x, y));
  emit(static_cast<double>(static_cast<int>(x)));
  emit(static_cast<double>(static_cast<unsigned>(fabs(x))));
  emit(static_cast<double>(__double2ll_rn(x)));
  emit(static_cast<double>(static_cast<float>(x)));
  emit(__longlong_as_double(__double_as_longlong(x) ^ 1));
  emit(__hiloint2double(__double2hiint(x), __double2loint(y)));
  emit(exp(x));
  emit(log(fabs(x)));
  emit(sin(x));
  emit(rsqrt(fabs(x)));
  atomicAdd(total, x * 0.25);
}
