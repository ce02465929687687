// Groups (token, choice) pairs by expert: count, exclusive scan with every
// expert's segment padded to whole tiles, then scatter.
#include "corpus.cuh"

constexpr int kMaxExperts = 64;

/// Lanes with the same expert add together: one atomic an expert a warp.
extern "C" __global__ void __launch_bounds__(256)
    countExperts(const int *__restrict__ experts, u32 *counts, int pairs,
                 int numExperts) {
  __shared__ u32 local[kMaxExperts];
  for (int i = threadIdx.x; i < kMaxExperts; i += blockDim.x)
    local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pairs;
       i += gridDim.x * blockDim.x) {
    const int expert = experts[i];
    const u32 peers = __match_any_sync(__activemask(), expert);
    if ((threadIdx.x & 31) == __ffs(peers) - 1)
      atomicAdd(&local[expert], __popc(peers));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < numExperts; i += blockDim.x)
    if (local[i])
      atomicAdd(&counts[i], local[i]);
}

/// One block of 64 threads, a thread an expert. offsets has numExperts + 1
/// entries; tileExpert gets an expert for every tile of `tile` rows.
extern "C" __global__ void __launch_bounds__(64)
    scanExperts(const u32 *__restrict__ counts, int *offsets, int *cursors,
                int *tileExpert, int numExperts, int tile) {
  __shared__ int warpTotals[2];
  const int expert = threadIdx.x, lane = expert & 31, warp = expert >> 5;
  const int tiles = expert < numExperts
                        ? static_cast<int>((counts[expert] + tile - 1) / tile)
                        : 0;
  int inclusive = tiles;
#pragma unroll
  for (int offset = 1; offset < 32; offset <<= 1) {
    const int below = __shfl_up_sync(kFullMask, inclusive, offset);
    if (lane >= offset)
      inclusive += below;
  }
  if (lane == 31)
    warpTotals[warp] = inclusive;
  __syncthreads();
  if (warp == 1)
    inclusive += warpTotals[0];
  const int first = inclusive - tiles;
  if (expert < numExperts) {
    offsets[expert] = first * tile;
    cursors[expert] = first * tile;
    for (int i = 0; i < tiles; ++i)
      tileExpert[first + i] = expert;
  }
  if (expert == numExperts - 1)
    offsets[numExperts] = inclusive * tile;
}

/// rowToken[slot] is the token of a slot (padding keeps what was there), and
/// slotOfPair[pair] is where the pair went.
extern "C" __global__ void __launch_bounds__(256)
    permutePairs(const int *__restrict__ experts, int *cursors, int *rowToken,
                 int *slotOfPair, int pairs, int topk) {
  const int pair = blockIdx.x * blockDim.x + threadIdx.x;
  if (pair >= pairs)
    return;
  const int expert = experts[pair];
  const u32 peers = __match_any_sync(__activemask(), expert);
  const int leader = __ffs(peers) - 1;
  const int lane = threadIdx.x & 31;
  int base = 0;
  if (lane == leader)
    base = atomicAdd(&cursors[expert], __popc(peers));
  base = __shfl_sync(peers, base, leader);
  const int slot = base + __popc(peers & ((1u << lane) - 1));
  rowToken[slot] = pair / topk;
  slotOfPair[pair] = slot;
}
