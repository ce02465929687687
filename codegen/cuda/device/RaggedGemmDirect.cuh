// The GEMM of single pairs, for decoding: a block of four warps takes one pair
// and 16 columns, a warp four of them at once, so that eight streams of
// weights (gated) are in flight. Lanes take 16 bytes of K by turns; their sums
// meet in a butterfly. Only the chosen expert's rows are read, each once, and
// no order of pairs is needed.

namespace direct {

constexpr int kThreads = 128, kColumns = 16, kColumnsPerWarp = 4;
// Blocks that a multiprocessor holds at once: lets a thread have 128 registers.
constexpr int kBlocks = 4;
constexpr int kPanel = 64; // columns of a panel of the weight

template <typename T> struct Vector16;
template <> struct Vector16<float> {
  static constexpr int kCount = 4;
  float4 raw;
  __device__ __forceinline__ float get(int i) const {
    return i == 0 ? raw.x : i == 1 ? raw.y : i == 2 ? raw.z : raw.w;
  }
};
template <> struct Vector16<Bf16> {
  static constexpr int kCount = 8;
  uint4 raw;
  __device__ __forceinline__ float get(int i) const {
    unsigned word = i < 2   ? raw.x
                    : i < 4 ? raw.y
                    : i < 6 ? raw.z
                            : raw.w;
    return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
  }
};

template <typename T, typename Op>
__device__ void raggedGemm(const Op &op, const T *a, const T *weights,
                           const int *pairExpert) {
  constexpr int slabs = Op::kSlabs, k = Op::kK;
  constexpr int columnTiles = (Op::kN + kColumns - 1) / kColumns;
  constexpr int panels = (Op::kN + kPanel - 1) / kPanel;
  constexpr int count = Vector16<T>::kCount;
  int pair = blockIdx.x / columnTiles;
  if (pair >= op.pairs)
    return;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int first =
      blockIdx.x % columnTiles * kColumns + warp * kColumnsPerWarp;
  int expert = pairExpert[pair];
  if (expert < 0)
    return;
  const T *row = a + (Index)(op.sourceRow(pair)) * k;
  // Panels are padded with zeros, so every column of a tile can be read.
  const T *panel = weights + ((Index)(expert)*panels + first / kPanel) *
                                 slabs * kPanel * k;

  float sums[slabs][kColumnsPerWarp] = {};
  for (int at = lane * count; at < k; at += 32 * count) {
    Vector16<T> left;
    left.raw = *reinterpret_cast<const decltype(left.raw) *>(row + at);
#pragma unroll
    for (int s = 0; s < slabs; ++s)
#pragma unroll
      for (int c = 0; c < kColumnsPerWarp; ++c) {
        Vector16<T> right;
        right.raw = *reinterpret_cast<const decltype(right.raw) *>(
            panel + (Index)(s * kPanel + first % kPanel + c) * k + at);
#pragma unroll
        for (int i = 0; i < count; ++i)
          sums[s][c] = fmaf(left.get(i), right.get(i), sums[s][c]);
      }
  }
#pragma unroll
  for (int c = 0; c < kColumnsPerWarp; ++c) {
    float made[slabs];
#pragma unroll
    for (int s = 0; s < slabs; ++s)
      made[s] = warpSum(sums[s][c]);
    if (lane == c && first + c < Op::kN)
      op.finish(expert, pair, first + c, made);
  }
}

} // namespace direct
