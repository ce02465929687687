// Cross-entropy of bf16 logits, a block a row: one pass finds the maximum and
// the sum of exponentials together, a second replaces the logits by their
// gradient. Rows with a negative target count for nothing. The total is added
// up in double over blocks.
#include "corpus.cuh"

struct Running {
  float largest, sum;
};

__device__ __forceinline__ Running merge(Running a, Running b) {
  const float largest = fmaxf(a.largest, b.largest);
  return {largest, a.sum * __expf(a.largest - largest) +
                       b.sum * __expf(b.largest - largest)};
}

extern "C" __global__ void __launch_bounds__(512)
    crossEntropy(bf16 *logits, const int *__restrict__ targets, float *losses,
                 double *total, int vocabulary, float gradientScale) {
  __shared__ Running warps[16];
  bf16 *row = logits + static_cast<long long>(blockIdx.x) * vocabulary;
  const int target = targets[blockIdx.x];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (target < 0) {
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x)
      row[i] = __float2bfloat16(0.0f);
    if (threadIdx.x == 0)
      losses[blockIdx.x] = 0;
    return;
  }

  Running mine = {-3.0e38f, 0};
  for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    const float x = __bfloat162float(row[i]);
    if (x > mine.largest) {
      mine.sum *= __expf(mine.largest - x);
      mine.largest = x;
    }
    mine.sum += __expf(x - mine.largest);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1)
    mine = merge(mine, {__shfl_down_sync(kFullMask, mine.largest, offset),
                        __shfl_down_sync(kFullMask, mine.sum, offset)});
  if (lane == 0)
    warps[warp] = mine;
  __syncthreads();
  if (warp == 0) {
    mine = lane < blockDim.x / 32 ? warps[lane] : Running{-3.0e38f, 0};
#pragma unroll
    for (int offset = 8; offset > 0; offset >>= 1)
      mine = merge(mine, {__shfl_down_sync(kFullMask, mine.largest, offset),
                          __shfl_down_sync(kFullMask, mine.sum, offset)});
    if (lane == 0)
      warps[0] = mine;
  }
  __syncthreads();
  const float largest = warps[0].largest, inverse = 1.0f / warps[0].sum;

  // Read before any thread of the block replaces it.
  if (threadIdx.x == 0) {
    const float loss =
        largest + logf(warps[0].sum) - __bfloat162float(row[target]);
    losses[blockIdx.x] = loss;
    atomicAdd(total, static_cast<double>(loss));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    const float p = __expf(__bfloat162float(row[i]) - largest) * inverse;
    row[i] =
        __float2bfloat16((p - (i == target ? 1.0f : 0.0f)) * gradientScale);
  }
}
