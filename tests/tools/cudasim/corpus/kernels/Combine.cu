// Sums the experts' outputs of a token, weighted. By scatter, with atomics of
// three widths, a block a slot; and by gather, a block a token.
#include "corpus.cuh"

extern "C" __global__ void __launch_bounds__(256)
    combineFloat(const bf16 *__restrict__ y, const int *__restrict__ rowToken,
                 const float *__restrict__ rowWeight, float *out, int hidden) {
  const int token = rowToken[blockIdx.x];
  if (token < 0)
    return;
  const float weight = rowWeight[blockIdx.x];
  const bf16 *row = y + static_cast<long long>(blockIdx.x) * hidden;
  for (int i = threadIdx.x * 2; i < hidden; i += blockDim.x * 2) {
    const u32 bits = __ldcs(reinterpret_cast<const u32 *>(row + i));
    const float2 value =
        __bfloat1622float2(*reinterpret_cast<const bf16x2 *>(&bits));
    atomicAdd(&out[static_cast<long long>(token) * hidden + i],
              weight * value.x);
    atomicAdd(&out[static_cast<long long>(token) * hidden + i + 1],
              weight * value.y);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    combineBf16(const bf16 *__restrict__ y, const int *__restrict__ rowToken,
                const float *__restrict__ rowWeight, bf16 *out, int hidden) {
  const int token = rowToken[blockIdx.x];
  if (token < 0)
    return;
  const bf16x2 weight = __float2bfloat162_rn(rowWeight[blockIdx.x]);
  const bf16 *row = y + static_cast<long long>(blockIdx.x) * hidden;
  for (int i = threadIdx.x * 2; i < hidden; i += blockDim.x * 2)
    atomicAdd(reinterpret_cast<bf16x2 *>(
                  out + static_cast<long long>(token) * hidden + i),
              __hmul2(weight, *reinterpret_cast<const bf16x2 *>(row + i)));
}

#if __CUDA_ARCH__ >= 900
/// Even blocks use the atomic that returns the old value, odd ones the
/// reduction that does not.
extern "C" __global__ void __launch_bounds__(256)
    combineVector(const bf16 *__restrict__ y, const int *__restrict__ rowToken,
                  const float *__restrict__ rowWeight, float *out, int hidden) {
  const int token = rowToken[blockIdx.x];
  if (token < 0)
    return;
  const float weight = rowWeight[blockIdx.x];
  const bf16 *row = y + static_cast<long long>(blockIdx.x) * hidden;
  for (int i = threadIdx.x * 4; i < hidden; i += blockDim.x * 4) {
    const uint2 bits = __ldcs(reinterpret_cast<const uint2 *>(row + i));
    const float2 low =
        __bfloat1622float2(*reinterpret_cast<const bf16x2 *>(&bits.x));
    const float2 high =
        __bfloat1622float2(*reinterpret_cast<const bf16x2 *>(&bits.y));
    float *target = out + static_cast<long long>(token) * hidden + i;
    const float4 add = make_float4(weight * low.x, weight * low.y,
                                   weight * high.x, weight * high.y);
    if (blockIdx.x % 2 == 0)
      atomicAdd(reinterpret_cast<float4 *>(target), add);
    else
      asm volatile("red.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(
                       __cvta_generic_to_global(target)),
                   "f"(add.x), "f"(add.y), "f"(add.z), "f"(add.w)
                   : "memory");
  }
}
#endif

extern "C" __global__ void __launch_bounds__(256)
    combineGather(const bf16 *__restrict__ y,
                  const int *__restrict__ slotOfPair,
                  const float *__restrict__ weights, bf16 *out, int hidden,
                  int topk) {
  const long long token = blockIdx.x;
  for (int i = threadIdx.x * 2; i < hidden; i += blockDim.x * 2) {
    float2 sum = make_float2(0, 0);
    for (int choice = 0; choice < topk; ++choice) {
      const long long slot = slotOfPair[token * topk + choice];
      const float weight = weights[token * topk + choice];
      const float2 value = __bfloat1622float2(
          *reinterpret_cast<const bf16x2 *>(y + slot * hidden + i));
      sum.x = fmaf(weight, value.x, sum.x);
      sum.y = fmaf(weight, value.y, sum.y);
    }
    *reinterpret_cast<bf16x2 *>(out + token * hidden + i) =
        __float22bfloat162_rn(sum);
  }
}
