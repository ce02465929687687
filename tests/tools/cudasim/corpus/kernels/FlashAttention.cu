// Causal attention, forward, grouped queries, head dimension 64. A block owns
// 64 queries of one head, a warp 16 of them; keys and values stream through
// two cp.async stages of 64 rows. Softmax is online, in base 2, and the log of
// the sum is written for a backward pass.
#include "corpus.cuh"

constexpr int kTile = 64, kDim = 64, kStride = kDim + 8;

struct Stage {
  bf16 keys[kTile * kStride];
  bf16 values[kTile * kStride];
};

/// Rows past `rows` are filled with zeros without being read.
__device__ __forceinline__ void loadTile(bf16 *tile, const bf16 *source,
                                         long long rowStride, int first,
                                         int rows) {
#pragma unroll
  for (int i = 0; i < kTile * kDim / 8 / 128; ++i) {
    const int chunk = i * 128 + threadIdx.x;
    const int row = chunk / 8, column = chunk % 8 * 8;
    const bool valid = first + row < rows;
    copyAsync(tile + row * kStride + column,
              source + (valid ? first + row : 0) * rowStride + column,
              valid ? 16 : 0);
  }
}

extern "C" __global__ void __launch_bounds__(128)
    flashForward(const bf16 *__restrict__ q, const bf16 *__restrict__ k,
                 const bf16 *__restrict__ v, bf16 *__restrict__ out,
                 float *__restrict__ logSumExp, int tokens, int heads,
                 int kvHeads, float scale) {
  extern __shared__ __align__(16) unsigned char arena[];
  bf16 *queries = reinterpret_cast<bf16 *>(arena);
  Stage *stages = reinterpret_cast<Stage *>(queries + kTile * kStride);

  const int head = blockIdx.y, kvHead = head / (heads / kvHeads);
  const int firstQuery = blockIdx.x * kTile;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int group = lane >> 2, quad = lane & 3;
  const long long qRow = static_cast<long long>(heads) * kDim;
  const long long kvRow = static_cast<long long>(kvHeads) * kDim;
  const bf16 *keys = k + kvHead * kDim, *values = v + kvHead * kDim;

  loadTile(queries, q + head * kDim, qRow, firstQuery, tokens);
  loadTile(stages[0].keys, keys, kvRow, 0, tokens);
  loadTile(stages[0].values, values, kvRow, 0, tokens);
  copyCommit();

  u32 qFragments[kDim / 16][4];
  float acc[kDim / 8][4] = {};
  float rowMax[2] = {-1e30f, -1e30f}, rowSum[2] = {0, 0};
  const float scale2 = scale * 1.4426950408889634f;
  const int tiles = blockIdx.x + 1;

  for (int tile = 0; tile < tiles; ++tile) {
    Stage &stage = stages[tile & 1];
    if (tile + 1 < tiles) {
      Stage &next = stages[(tile + 1) & 1];
      loadTile(next.keys, keys, kvRow, (tile + 1) * kTile, tokens);
      loadTile(next.values, values, kvRow, (tile + 1) * kTile, tokens);
    }
    copyCommit();
    copyWait<1>();
    __syncthreads();

    if (tile == 0) {
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step)
        loadMatrices(qFragments[step], queries +
                                           (warp * 16 + lane % 16) * kStride +
                                           step * 16 + lane / 16 * 8);
    }

    float scores[kTile / 8][4] = {};
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
      for (int pair = 0; pair < kTile / 16; ++pair) {
        u32 b[4];
        loadMatrices(b, stage.keys +
                            (pair * 16 + lane / 16 * 8 + lane % 8) * kStride +
                            step * 16 + lane / 8 % 2 * 8);
        mmaBf16(scores[pair * 2], qFragments[step], b[0], b[1]);
        mmaBf16(scores[pair * 2 + 1], qFragments[step], b[2], b[3]);
      }
    }

    const bool diagonal = tile == tiles - 1;
    float tileMax[2] = {rowMax[0], rowMax[1]};
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int key = tile * kTile + n * 8 + quad * 2 + (c & 1);
        const int query = firstQuery + warp * 16 + group + (c >> 1) * 8;
        float score = scores[n][c] * scale2;
        if (diagonal && (key > query || key >= tokens))
          score = -1e30f;
        scores[n][c] = score;
        tileMax[c >> 1] = fmaxf(tileMax[c >> 1], score);
      }
    }
    float correction[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      tileMax[half] =
          fmaxf(tileMax[half], __shfl_xor_sync(kFullMask, tileMax[half], 1));
      tileMax[half] =
          fmaxf(tileMax[half], __shfl_xor_sync(kFullMask, tileMax[half], 2));
      correction[half] = exp2f(rowMax[half] - tileMax[half]);
      rowMax[half] = tileMax[half];
      rowSum[half] *= correction[half];
    }
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        scores[n][c] = exp2f(scores[n][c] - rowMax[c >> 1]);
        rowSum[c >> 1] += scores[n][c];
        acc[n][c] *= correction[c >> 1];
      }
    }

#pragma unroll
    for (int step = 0; step < kTile / 16; ++step) {
      const float(&left)[4] = scores[step * 2];
      const float(&right)[4] = scores[step * 2 + 1];
      const u32 a[4] = {packPair(left[0], left[1]), packPair(left[2], left[3]),
                        packPair(right[0], right[1]),
                        packPair(right[2], right[3])};
#pragma unroll
      for (int pair = 0; pair < kDim / 16; ++pair) {
        u32 b[4];
        loadMatricesTransposed(b, stage.values +
                                      (step * 16 + lane % 16) * kStride +
                                      pair * 16 + lane / 16 * 8);
        mmaBf16(acc[pair * 2], a, b[0], b[1]);
        mmaBf16(acc[pair * 2 + 1], a, b[2], b[3]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = rowSum[half];
    sum += __shfl_xor_sync(kFullMask, sum, 1);
    sum += __shfl_xor_sync(kFullMask, sum, 2);
    const int query = firstQuery + warp * 16 + group + half * 8;
    if (query >= tokens)
      continue;
    const float inverse = 1.0f / sum;
    u32 *target = reinterpret_cast<u32 *>(out + query * qRow + head * kDim);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      target[n * 4 + quad] =
          packPair(acc[n][half * 2] * inverse, acc[n][half * 2 + 1] * inverse);
    if (quad == 0)
      logSumExp[static_cast<long long>(head) * tokens + query] =
          (rowMax[half] + log2f(sum)) * 0.6931471805599453f;
  }
}
