// Warp specialisation with named barriers: two producer warps copy tiles into
// a ring of two buffers, four consumer warps take them out. For buffer b,
// barrier 1 + b says "full" and 3 + b says "empty"; who fills waits on empty
// and arrives at full, who empties the other way round.
#include "corpus.cuh"

constexpr int kTile = 256, kBuffers = 2, kThreads = 192;

__device__ __forceinline__ void barrierSync(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}
__device__ __forceinline__ void barrierArrive(int id) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}

/// out[i] = sum over tiles of values[tile * 256 + i] * (tile + 1).
extern "C" __global__ void __launch_bounds__(192)
    producersAndConsumers(const float *__restrict__ values, float *out,
                          int tiles) {
  __shared__ float ring[kBuffers][kTile];
  const int warp = threadIdx.x >> 5;
  if (warp < 2) {
    for (int tile = 0; tile < tiles; ++tile) {
      const int buffer = tile % kBuffers;
      if (tile >= kBuffers)
        barrierSync(3 + buffer);
      for (int i = threadIdx.x; i < kTile; i += 64)
        ring[buffer][i] = values[tile * kTile + i];
      barrierArrive(1 + buffer);
    }
    return;
  }
  const int first = threadIdx.x - 64;
  float sums[2] = {0, 0};
  for (int tile = 0; tile < tiles; ++tile) {
    const int buffer = tile % kBuffers;
    barrierSync(1 + buffer);
    sums[0] += ring[buffer][first] * (tile + 1);
    sums[1] += ring[buffer][first + 128] * (tile + 1);
    if (tile + kBuffers < tiles)
      barrierArrive(3 + buffer);
  }
  out[first] = sums[0];
  out[first + 128] = sums[1];
}
