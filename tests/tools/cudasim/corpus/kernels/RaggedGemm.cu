// out[row] = silu(x[token(row)] * gate[e]) * (x[token(row)] * up[e]), where e
// is the expert of the row's tile of 64 rows. A block makes 64 rows by 32
// columns: 32 columns of the gate and the same 32 of the up projection lie
// side by side in one B tile, so that a thread ends with both factors.
// Weights are [experts, columns, depth]; depth a multiple of 32, columns of
// 32. Three cp.async stages. Padding rows have token -1 and become zero.
#include "corpus.cuh"

constexpr int kRows = 64, kColumns = 64, kDepth = 32, kStages = 3;
constexpr int kStride = kDepth + 8;

struct Stage {
  bf16 a[kRows * kStride];
  bf16 b[kColumns * kStride];
};

extern "C" __global__ void __launch_bounds__(128)
    raggedGemmSwiGlu(const bf16 *__restrict__ x, const bf16 *__restrict__ gate,
                     const bf16 *__restrict__ up,
                     const int *__restrict__ rowToken,
                     const int *__restrict__ tileExpert, bf16 *out, int columns,
                     int depth) {
  extern __shared__ __align__(16) unsigned char arena[];
  Stage *stages = reinterpret_cast<Stage *>(arena);
  __shared__ int tokens[kRows];

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int firstRow = blockIdx.y * kRows, firstColumn = blockIdx.x * 32;
  const long long expert = tileExpert[blockIdx.y];
  if (threadIdx.x < kRows)
    tokens[threadIdx.x] = rowToken[firstRow + threadIdx.x];
  __syncthreads();

  auto load = [&](int step) {
    Stage &stage = stages[step % kStages];
#pragma unroll
    for (int i = 0; i < kRows * kDepth / 8 / 128; ++i) {
      const int chunk = i * 128 + threadIdx.x;
      const int row = chunk / 4, k = chunk % 4 * 8;
      const int token = tokens[row];
      copyAsync(stage.a + row * kStride + k,
                x + static_cast<long long>(max(token, 0)) * depth +
                    step * kDepth + k,
                token < 0 ? 0 : 16);
      const bf16 *matrix = row < 32 ? gate : up;
      copyAsync(stage.b + row * kStride + k,
                matrix + (expert * columns + firstColumn + row % 32) * depth +
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

  float acc[8][4] = {};
  for (int step = 0; step < steps; ++step) {
    copyWait<kStages - 2>();
    __syncthreads();
    if (step + kStages - 1 < steps)
      load(step + kStages - 1);
    copyCommit();
    const Stage &stage = stages[step % kStages];
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      u32 a[4];
      loadMatrices(a, stage.a + (warp * 16 + lane % 16) * kStride + k +
                          lane / 16 * 8);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        u32 b[4];
        loadMatrices(b, stage.b +
                            (pair * 16 + lane / 16 * 8 + lane % 8) * kStride +
                            k + lane / 8 % 2 * 8);
        mmaBf16(acc[pair * 2], a, b[0], b[1]);
        mmaBf16(acc[pair * 2 + 1], a, b[2], b[3]);
      }
    }
  }
  asm volatile("cp.async.wait_all;" ::: "memory");

#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float value[2];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float g = acc[n][half * 2 + c];
        value[c] = __fdividef(g, 1.0f + __expf(-g)) * acc[n + 4][half * 2 + c];
      }
      const long long row = firstRow + warp * 16 + lane / 4 + half * 8;
      *reinterpret_cast<u32 *>(out + row * columns + firstColumn + n * 8 +
                               lane % 4 * 2) = packPair(value[0], value[1]);
    }
  }
}
