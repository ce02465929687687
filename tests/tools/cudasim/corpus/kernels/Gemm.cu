// C = A * B^T in bf16 with float sums: A [rows, depth], B [columns, depth],
// C [rows, columns]. A block makes 64x64 in steps of 32 through three cp.async
// stages; a warp makes 32x32. Sizes are multiples of the tile.
#include "corpus.cuh"

constexpr int kTile = 64, kDepth = 32, kStages = 3, kStride = kDepth + 8;

struct Stage {
  bf16 a[kTile * kStride];
  bf16 b[kTile * kStride];
};

extern "C" __global__ void __launch_bounds__(128)
    gemmBf16(const bf16 *__restrict__ a, const bf16 *__restrict__ b, bf16 *c,
             int columns, int depth) {
  extern __shared__ __align__(16) unsigned char arena[];
  Stage *stages = reinterpret_cast<Stage *>(arena);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int firstRow = blockIdx.y * kTile, firstColumn = blockIdx.x * kTile;
  const int warpRow = warp / 2 * 32, warpColumn = warp % 2 * 32;

  auto load = [&](int step) {
    Stage &stage = stages[step % kStages];
#pragma unroll
    for (int i = 0; i < kTile * kDepth / 8 / 128; ++i) {
      const int chunk = i * 128 + threadIdx.x;
      const int row = chunk / 4, k = chunk % 4 * 8;
      copyAsync(stage.a + row * kStride + k,
                a + static_cast<long long>(firstRow + row) * depth +
                    step * kDepth + k);
      copyAsync(stage.b + row * kStride + k,
                b + static_cast<long long>(firstColumn + row) * depth +
                    step * kDepth + k);
    }
  };

  const int steps = depth / kDepth;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps)
      load(step);
    copyCommit();
  }

  float acc[2][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copyWait<kStages - 2>();
    __syncthreads();
    if (step + kStages - 1 < steps)
      load(step + kStages - 1);
    copyCommit();
    const Stage &stage = stages[step % kStages];
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      u32 left[2][4], right[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
        loadMatrices(left[m], stage.a +
                                  (warpRow + m * 16 + lane % 16) * kStride + k +
                                  lane / 16 * 8);
#pragma unroll
      for (int n = 0; n < 2; ++n)
        loadMatrices(right[n],
                     stage.b +
                         (warpColumn + n * 16 + lane / 16 * 8 + lane % 8) *
                             kStride +
                         k + lane / 8 % 2 * 8);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
          mmaBf16(acc[m][n], left[m], right[n / 2][n % 2 * 2],
                  right[n / 2][n % 2 * 2 + 1]);
    }
  }
  copyWait<0>();

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const long long row = firstRow + warpRow + m * 16 + lane / 4 + half * 8;
        const int column = firstColumn + warpColumn + n * 8 + lane % 4 * 2;
        *reinterpret_cast<u32 *>(c + row * columns + column) =
            packPair(acc[m][n][half * 2], acc[m][n][half * 2 + 1]);
      }
}
