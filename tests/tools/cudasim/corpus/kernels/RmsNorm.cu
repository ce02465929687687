// residual += x; out = weight * residual / rms(residual), a block a row.
// The row stays in dynamic shared memory as floats between the two passes, so
// that global memory is read once.
#include "corpus.cuh"

union Eight {
  uint4 bits;
  bf16x2 pairs[4];
};

extern "C" __global__ void __launch_bounds__(256)
    residualRmsNorm(const bf16 *__restrict__ x, bf16 *residual,
                    const bf16 *__restrict__ weight, bf16 *out, int hidden,
                    float epsilon) {
  extern __shared__ float row[];
  __shared__ float warpSums[8];
  const long long base = static_cast<long long>(blockIdx.x) * hidden;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

  float sum = 0;
  for (int i = threadIdx.x * 8; i < hidden; i += blockDim.x * 8) {
    Eight add, old;
    add.bits = __ldg(reinterpret_cast<const uint4 *>(x + base + i));
    old.bits = *reinterpret_cast<const uint4 *>(residual + base + i);
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      float2 a = __bfloat1622float2(add.pairs[pair]);
      float2 b = __bfloat1622float2(old.pairs[pair]);
      bf16x2 both = __floats2bfloat162_rn(a.x + b.x, a.y + b.y);
      float2 kept = __bfloat1622float2(both);
      old.pairs[pair] = both;
      *reinterpret_cast<float2 *>(row + i + pair * 2) = kept;
      sum += kept.x * kept.x + kept.y * kept.y;
    }
    *reinterpret_cast<uint4 *>(residual + base + i) = old.bits;
  }

  sum = warpSum(sum);
  if (lane == 0)
    warpSums[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    float part = lane < (blockDim.x >> 5) ? warpSums[lane] : 0.0f;
    part = warpSum(part);
    if (lane == 0)
      warpSums[0] = part;
  }
  __syncthreads();
  const float scale = rsqrtf(warpSums[0] / hidden + epsilon);

  for (int i = threadIdx.x * 8; i < hidden; i += blockDim.x * 8) {
    Eight gain, result;
    gain.bits = __ldg(reinterpret_cast<const uint4 *>(weight + i));
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      float2 g = __bfloat1622float2(gain.pairs[pair]);
      float2 r = *reinterpret_cast<const float2 *>(row + i + pair * 2);
      result.pairs[pair] =
          __floats2bfloat162_rn(r.x * scale * g.x, r.y * scale * g.y);
    }
    *reinterpret_cast<uint4 *>(out + base + i) = result.bits;
  }
}
