// Sums over the whole grid: by the block that finishes last, and by a grid
// barrier made of flags, which needs a cooperative launch.
#include "corpus.cuh"

__device__ __forceinline__ float blockSum(float value, float *warps) {
  value = warpSum(value);
  if ((threadIdx.x & 31) == 0)
    warps[threadIdx.x >> 5] = value;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < (blockDim.x >> 5); ++i)
    sum += warps[i];
  __syncthreads();
  return sum;
}

__device__ u32 gFinished = 0;

/// Every block writes its part; the last one, told by a counter that wraps to
/// zero for the next launch, adds the parts up.
extern "C" __global__ void __launch_bounds__(128)
    sumLastBlock(const float *values, float *parts, float *total, int count) {
  __shared__ float warps[4];
  __shared__ bool last;
  float mine = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count;
       i += gridDim.x * blockDim.x)
    mine += values[i];
  const float sum = blockSum(mine, warps);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(&gFinished, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last)
    return;
  float rest = 0;
  for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x)
    rest += reinterpret_cast<volatile float *>(parts)[i];
  rest = blockSum(rest, warps);
  if (threadIdx.x == 0)
    *total = rest;
}

/// All blocks meet: the leader of each arrives at a counter and spins until
/// everyone has; the generation counts up with every meeting.
__device__ __forceinline__ void gridBarrier(u32 *arrived, u32 *generation) {
  __syncthreads();
  if (threadIdx.x == 0) {
    volatile u32 *now = generation;
    const u32 mine = *now;
    __threadfence();
    if (atomicAdd(arrived, 1) == gridDim.x - 1) {
      atomicExch(arrived, 0);
      __threadfence();
      atomicAdd(generation, 1);
    } else {
      while (*now == mine)
        __nanosleep(20);
    }
    __threadfence();
  }
  __syncthreads();
}

/// `rounds` steps of a three-point mean over a ring, all blocks together.
extern "C" __global__ void __launch_bounds__(64)
    ringMeans(float *from, float *to, u32 *barrier, int count, int rounds) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int round = 0; round < rounds; ++round) {
    if (i < count) {
      const float left = from[(i + count - 1) % count];
      const float right = from[(i + 1) % count];
      to[i] = (left + from[i] + right) / 3.0f;
    }
    gridBarrier(barrier, barrier + 1);
    float *next = from;
    from = to;
    to = next;
  }
}
