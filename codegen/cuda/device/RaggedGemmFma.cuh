// Grouped GEMM in f32 by fused multiply-adds: a block of 256 threads makes 64
// rows by 64 columns (gated: of gate and of up), a thread 4 by 4. K goes by 16
// through two stages of shared memory. Sums are in ascending k.
//
// Shared bytes: 2 stages * (64 + 64 * Slabs) rows * 80, and 64 row numbers.

namespace fmas {

constexpr int kRows = 64, kColumns = 64, kDepth = 16, kStages = 2;
constexpr int kThreads = 256;
// Blocks that a multiprocessor holds at once: lets a thread have 128 registers.
constexpr int kBlocks = 2;
constexpr int kStride = kDepth + 4; // floats between rows in shared memory

// Weights as in RaggedGemmMma.cuh.
template <typename Op>
__device__ void raggedGemm(const Op &op, const float *a, const float *weights,
                           const int *offsets, int *firstTile,
                           float *shared) {
  constexpr int slabs = Op::kSlabs, k = Op::kK;
  constexpr int columnTiles = (Op::kN + kColumns - 1) / kColumns;
  constexpr int bRows = slabs * kColumns;
  constexpr int stageElements = (kRows + bRows) * kStride;
  constexpr int chunks = kDepth / 4;
  constexpr int steps = (k + kDepth - 1) / kDepth;
  __shared__ int sourceRow[kRows];

  countTiles<Op::kExperts, kRows, kThreads>(offsets, firstTile);
  int tiles = firstTile[Op::kExperts] * columnTiles;
  // Rows and columns of a thread are 16 apart, so that the threads of a warp
  // read neighbouring rows of shared memory.
  int threadRow = threadIdx.x / 16, threadColumn = threadIdx.x % 16;

  for (int number = blockIdx.x; number < tiles; number += gridDim.x) {
    RaggedTile tile =
        findTile<Op::kExperts, kRows, columnTiles, kColumns>(
            offsets, firstTile, number);
    __syncthreads(); // The tile before has read its rows and stages.
    if (threadIdx.x < kRows)
      sourceRow[threadIdx.x] =
          threadIdx.x < tile.rows ? op.sourceRow(tile.row + threadIdx.x) : 0;
    __syncthreads();
    const float *slab =
        weights + ((Index)(tile.expert) * columnTiles +
                   tile.column / kColumns) *
                      bRows * k;

    auto fill = [&](int step) {
      float *stage = shared + step % kStages * stageElements;
#pragma unroll
      for (int i = threadIdx.x; i < (kRows + bRows) * chunks; i += kThreads) {
        int row = i / chunks, column = i % chunks * 4;
        int at = step * kDepth + column;
        bool isA = row < kRows;
        bool valid = at < k && (!isA || row < tile.rows);
        const float *from =
            isA ? a + (Index)(sourceRow[row]) * k : slab + (Index)(row - kRows) * k;
        copyAsync16(stage + row * kStride + column, valid ? from + at : from,
                    valid);
      }
    };

    float sums[slabs][4][4] = {};
    fill(0);
    commitCopies();
    for (int step = 0; step < steps; ++step) {
      waitCopies<0>();
      __syncthreads();
      if (step + 1 < steps)
        fill(step + 1);
      commitCopies();
      const float *stageA = shared + step % kStages * stageElements;
      const float *stageB = stageA + kRows * kStride;
#pragma unroll 4
      for (int depth = 0; depth < kDepth; ++depth) {
        float left[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          left[i] = stageA[(threadRow + i * 16) * kStride + depth];
#pragma unroll
        for (int s = 0; s < slabs; ++s)
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            float right = stageB[(s * kColumns + threadColumn + j * 16) *
                                     kStride +
                                 depth];
#pragma unroll
            for (int i = 0; i < 4; ++i)
              sums[s][i][j] = fmaf(left[i], right, sums[s][i][j]);
          }
      }
    }

#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int row = threadRow + i * 16;
      if (row >= tile.rows)
        continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int column = tile.column + threadColumn + j * 16;
        if (column >= Op::kN)
          continue;
        float made[slabs];
#pragma unroll
        for (int s = 0; s < slabs; ++s)
          made[s] = sums[s][i][j];
        op.finish(tile.expert, op.pair(tile.row + row), column, made);
      }
    }
  }
}

} // namespace fmas
