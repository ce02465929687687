// AdamW over bf16 parameters with float moments. A parameter is rounded up or
// down by the 16 bits below its last, compared with 16 bits of Philox 4x32-10
// that are a function of (seed, step, index) only. Four parameters a thread.
#include "corpus.cuh"

__device__ __forceinline__ uint4 philox(u32 seedLow, u32 seedHigh, uint4 c) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u32 high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const u32 high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ seedLow, low1, high0 ^ c.w ^ seedHigh, low0);
    seedLow += 0x9E3779B9u;
    seedHigh += 0xBB67AE85u;
  }
  return c;
}

__device__ __forceinline__ u32 roundStochastic(float value, u32 random) {
  return (__float_as_uint(value) + (random & 0xffffu)) >> 16;
}

extern "C" __global__ void __launch_bounds__(256)
    adamWStep(u16 *parameters, float *firstMoment, float *secondMoment,
              const float *__restrict__ gradients, long long count, float rate,
              float beta1, float beta2, float epsilon, float decay,
              float correction1, float correction2, u64 seed, u32 step) {
  const long long i =
      (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  if (i >= count)
    return;
  const uint4 random = philox(
      static_cast<u32>(seed), static_cast<u32>(seed >> 32),
      make_uint4(static_cast<u32>(i), static_cast<u32>(i >> 32), step, 0));
  const float4 g4 = __ldg(reinterpret_cast<const float4 *>(gradients + i));
  float4 m4 = *reinterpret_cast<float4 *>(firstMoment + i);
  float4 v4 = *reinterpret_cast<float4 *>(secondMoment + i);
  const uint2 p4 = *reinterpret_cast<const uint2 *>(parameters + i);
  const float g[4] = {g4.x, g4.y, g4.z, g4.w};
  float m[4] = {m4.x, m4.y, m4.z, m4.w}, v[4] = {v4.x, v4.y, v4.z, v4.w};
  const u32 r[4] = {random.x, random.y, random.z, random.w};
  const u32 p[4] = {p4.x << 16, p4.x & 0xffff0000u, p4.y << 16,
                    p4.y & 0xffff0000u};
  u32 rounded[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    m[j] = beta1 * m[j] + (1 - beta1) * g[j];
    v[j] = beta2 * v[j] + (1 - beta2) * g[j] * g[j];
    const float update =
        (m[j] / correction1) / (sqrtf(v[j] / correction2) + epsilon);
    const float old = __uint_as_float(p[j]);
    rounded[j] = roundStochastic(old - rate * (update + decay * old), r[j]);
  }
  *reinterpret_cast<float4 *>(firstMoment + i) =
      make_float4(m[0], m[1], m[2], m[3]);
  *reinterpret_cast<float4 *>(secondMoment + i) =
      make_float4(v[0], v[1], v[2], v[3]);
  *reinterpret_cast<uint2 *>(parameters + i) =
      make_uint2(__byte_perm(rounded[0], rounded[1], 0x5410),
                 __byte_perm(rounded[2], rounded[3], 0x5410));
}
