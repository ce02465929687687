// Grouped GEMM in bf16 on tensor cores: a block of four warps makes 64 rows by
// 64 columns (gated: of gate and of up), a warp 32 by 32. K goes by 32 through
// three stages of shared memory, filled by cp.async straight from the gathered
// rows; rows are 80 bytes apart there, which spreads the eight rows of an
// ldmatrix over all banks. Sums are f32 in ascending k. `Op` gives the source
// row of a pair and takes what a thread has made.
//
// Shared bytes: 3 stages * (64 + 64 * Slabs) rows * 80, and 64 row numbers.

namespace mma {

constexpr int kRows = 64, kColumns = 64, kDepth = 32, kStages = 3;
constexpr int kThreads = 128;
// Blocks that a multiprocessor holds at once: lets a thread have 168 registers.
constexpr int kBlocks = 3;
constexpr int kStride = kDepth + 8; // elements between rows in shared memory

__device__ __forceinline__ void loadMatrices(unsigned (&out)[4],
                                             const Bf16 *row) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
      : "r"(sharedAddress(row)));
}

__device__ __forceinline__ void multiply(float (&sum)[4],
                                         const unsigned (&a)[4], unsigned b0,
                                         unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Weights of an expert: [ceil(N / 64)][Slabs][64][K], so a tile's slabs are
// consecutive and a row's K is contiguous.
template <typename Op>
__device__ void raggedGemm(const Op &op, const Bf16 *a, const Bf16 *weights,
                           const int *offsets, int *firstTile,
                           Bf16 *shared) {
  constexpr int slabs = Op::kSlabs, k = Op::kK;
  constexpr int columnTiles = (Op::kN + kColumns - 1) / kColumns;
  constexpr int bRows = slabs * kColumns;
  constexpr int stageElements = (kRows + bRows) * kStride;
  constexpr int chunks = kDepth / 8; // of 16 bytes in a row of a stage
  constexpr int steps = (k + kDepth - 1) / kDepth;
  __shared__ int sourceRow[kRows];

  countTiles<Op::kExperts, kRows, kThreads>(offsets, firstTile);
  int tiles = firstTile[Op::kExperts] * columnTiles;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int warpRow = warp / 2 * 32, warpColumn = warp % 2 * 32;

  for (int number = blockIdx.x; number < tiles; number += gridDim.x) {
    RaggedTile tile =
        findTile<Op::kExperts, kRows, columnTiles, kColumns>(
            offsets, firstTile, number);
    __syncthreads(); // The tile before has read its rows and stages.
    if (threadIdx.x < kRows)
      sourceRow[threadIdx.x] =
          threadIdx.x < tile.rows ? op.sourceRow(tile.row + threadIdx.x) : 0;
    __syncthreads();
    const Bf16 *slab =
        weights + ((Index)(tile.expert) * columnTiles +
                   tile.column / kColumns) *
                      bRows * k;

    auto fill = [&](int step) {
      Bf16 *stage = shared + step % kStages * stageElements;
#pragma unroll
      for (int i = threadIdx.x; i < (kRows + bRows) * chunks; i += kThreads) {
        int row = i / chunks, column = i % chunks * 8;
        int at = step * kDepth + column;
        bool isA = row < kRows;
        bool valid = at < k && (!isA || row < tile.rows);
        const Bf16 *from =
            isA ? a + (Index)(sourceRow[row]) * k : slab + (Index)(row - kRows) * k;
        copyAsync16(stage + row * kStride + column, valid ? from + at : from,
                    valid);
      }
    };

    float sums[slabs][2][4][4] = {};
#pragma unroll
    for (int step = 0; step < kStages - 1; ++step) {
      if (step < steps)
        fill(step);
      commitCopies();
    }
    for (int step = 0; step < steps; ++step) {
      waitCopies<kStages - 2>();
      __syncthreads();
      if (step + kStages - 1 < steps)
        fill(step + kStages - 1);
      commitCopies();
      const Bf16 *stageA = shared + step % kStages * stageElements;
      const Bf16 *stageB = stageA + kRows * kStride;
#pragma unroll
      for (int depth = 0; depth < kDepth; depth += 16) {
        unsigned left[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i)
          loadMatrices(left[i], stageA +
                                    (warpRow + i * 16 + lane % 16) * kStride +
                                    depth + lane / 16 * 8);
#pragma unroll
        for (int s = 0; s < slabs; ++s)
#pragma unroll
          for (int j = 0; j < 4; j += 2) {
            // Two groups of 8 columns: their low and high halves of k.
            unsigned right[4];
            int column = s * kColumns + warpColumn + j * 8 + lane % 8 +
                         lane / 16 * 8;
            loadMatrices(right, stageB + column * kStride + depth +
                                    lane / 8 % 2 * 8);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              multiply(sums[s][i][j], left[i], right[0], right[1]);
              multiply(sums[s][i][j + 1], left[i], right[2], right[3]);
            }
          }
      }
    }
    waitCopies<0>();

    // A thread holds columns 2 * (lane % 4) and the next, of rows lane / 4 and
    // 8 below.
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        int row = warpRow + i * 16 + half * 8 + lane / 4;
        if (row >= tile.rows)
          continue;
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            int column = tile.column + warpColumn + j * 8 + lane % 4 * 2 + c;
            if (column >= Op::kN)
              continue;
            float made[slabs];
#pragma unroll
            for (int s = 0; s < slabs; ++s)
              made[s] = sums[s][i][j][half * 2 + c];
            op.finish(tile.expert, op.pair(tile.row + row), column, made);
          }
      }
  }
}

} // namespace mma
