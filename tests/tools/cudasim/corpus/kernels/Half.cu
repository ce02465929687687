// bf16x2 and f16x2 arithmetic; out[operation * count + i] holds the bits of
// the pair.
#include "corpus.cuh"
#include <cuda_fp16.h>

__device__ __forceinline__ u32 bitsOf(bf16x2 pair) {
  return *reinterpret_cast<u32 *>(&pair);
}
__device__ __forceinline__ u32 bitsOf(__half2 pair) {
  return *reinterpret_cast<u32 *>(&pair);
}

template <typename Pair>
__device__ __forceinline__ void operations(Pair x, Pair y, u32 *column,
                                           int count) {
  auto emit = [&](u32 value) {
    *column = value;
    column += count;
  };
  emit(bitsOf(__hadd2(x, y)));
  emit(bitsOf(__hsub2(x, y)));
  emit(bitsOf(__hmul2(x, y)));
  emit(bitsOf(__hfma2(x, y, x)));
  emit(bitsOf(__hmin2(x, y)));
  emit(bitsOf(__hmax2(x, y)));
  emit(bitsOf(__hneg2(x)));
  emit(bitsOf(__habs2(y)));
  emit(bitsOf(__hgt2(x, y)));
  emit(bitsOf(__hle2(x, y)));
  emit(__hgt2_mask(x, y));
  emit(bitsOf(__halves2pair(x, y)));
}

__device__ __forceinline__ bf16x2 __halves2pair(bf16x2 x, bf16x2 y) {
  return __halves2bfloat162(__high2bfloat16(x), __low2bfloat16(y));
}
__device__ __forceinline__ __half2 __halves2pair(__half2 x, __half2 y) {
  return __halves2half2(__high2half(x), __low2half(y));
}

extern "C" __global__ void bf16Pairs(const u32 *a, const u32 *b, u32 *out,
                                     int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  u32 x = a[i], y = b[i];
  operations(*reinterpret_cast<bf16x2 *>(&x), *reinterpret_cast<bf16x2 *>(&y),
             out + i, count);
}

extern "C" __global__ void f16Pairs(const u32 *a, const u32 *b, u32 *out,
                                    int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  u32 x = a[i], y = b[i];
  operations(*reinterpret_cast<__half2 *>(&x), *reinterpret_cast<__half2 *>(&y),
             out + i, count);
}

/// Scalars and conversions: f32 to bf16 and f16 in both roundings, and back.
extern "C" __global__ void halfConversions(const float *a, float *out,
                                           int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const float x = a[i];
  float *column = out + i;
  auto emit = [&](float value) {
    *column = value;
    column += count;
  };
  emit(__bfloat162float(__float2bfloat16_rn(x)));
  emit(__bfloat162float(__float2bfloat16_rz(x)));
  emit(__half2float(__float2half_rn(x)));
  emit(__half2float(__float2half_rz(x)));
  emit(__half2float(__float2half_ru(x)));
  emit(__half2float(__hfma(__float2half_rn(x), __float2half_rn(3.0f),
                           __float2half_rn(0.5f))));
  emit(
      __bfloat162float(__hfma(__float2bfloat16_rn(x), __float2bfloat16_rn(3.0f),
                              __float2bfloat16_rn(0.5f))));
  emit(__hlt(__float2bfloat16_rn(x), __float2bfloat16_rn(0.25f)) ? 1.0f : 0.0f);
  emit(__hge(__float2half_rn(x), __float2half_rn(0.25f)) ? 1.0f : 0.0f);
  emit(static_cast<float>(__half2int_rn(__float2half_rn(x))));
  emit(__half2float(__int2half_rn(static_cast<int>(x * 100.0f))));
}
