// What the lanes of a warp tell each other: votes, matches, shuffles of every
// kind and width, redux, and divergent groups that each do so on their own.
// One warp; out[operation * 32 + lane].
#include "corpus.cuh"

extern "C" __global__ void warpExchange(const u32 *in, u32 *out) {
  const int lane = threadIdx.x;
  const u32 value = in[lane];
  u32 *column = out + lane;
  auto emit = [&](u32 result) {
    *column = result;
    column += 32;
  };
  emit(__ballot_sync(kFullMask, value & 1));
  emit(__all_sync(kFullMask, value < 1000));
  emit(__any_sync(kFullMask, value == 7));
  emit(__match_any_sync(kFullMask, value & 3));
  int uniform;
  emit(__match_all_sync(kFullMask, value >> 20, &uniform));
  emit(uniform);
  emit(__shfl_sync(kFullMask, value, (lane * 5 + 3) & 31));
  emit(__shfl_up_sync(kFullMask, value, 3));
  emit(__shfl_down_sync(kFullMask, value, 5));
  emit(__shfl_xor_sync(kFullMask, value, 9));
  emit(__shfl_sync(kFullMask, value, lane + 1, 8));
  emit(__shfl_up_sync(kFullMask, value, 2, 16));
  emit(__shfl_down_sync(kFullMask, value, 1, 4));
  emit(__shfl_xor_sync(kFullMask, value, 3, 8));
  emit(__reduce_add_sync(kFullMask, value));
  emit(__reduce_min_sync(kFullMask, static_cast<int>(value - 500)));
  emit(__reduce_max_sync(kFullMask, value));
  emit(__reduce_and_sync(kFullMask, value));
  emit(__reduce_or_sync(kFullMask, value));
  emit(__reduce_xor_sync(kFullMask, value));
  const u64 wide =
      __shfl_xor_sync(kFullMask, static_cast<u64>(value) << 33 | lane, 1);
  emit(static_cast<u32>(wide >> 32));
  emit(static_cast<u32>(wide));

  // Odd and even lanes each among themselves.
  const u32 side = lane & 1 ? 0xaaaaaaaau : 0x55555555u;
  u32 sum, first, vote;
  if (lane & 1) {
    sum = __reduce_add_sync(side, value);
    first = __shfl_sync(side, value, 31);
    vote = __ballot_sync(side, value > 500);
  } else {
    sum = __reduce_max_sync(side, value);
    first = __shfl_sync(side, value, 0);
    vote = __ballot_sync(side, value < 500);
  }
  __syncwarp();
  emit(sum);
  emit(first);
  emit(vote);

  // A loop whose lanes leave at different times.
  u32 steps = 0;
  for (u32 n = value % 97 + 1; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
    ++steps;
  emit(steps);
  emit(__ballot_sync(kFullMask, steps > 20));
}

/// Votes of a whole block through its barrier.
extern "C" __global__ void blockVotes(const u32 *in, u32 *out) {
  const u32 value = in[threadIdx.x];
  out[threadIdx.x] = __syncthreads_count(value & 1);
  out[threadIdx.x + blockDim.x] = __syncthreads_and(value < 2000) ? 1 : 0;
  out[threadIdx.x + blockDim.x * 2] = __syncthreads_or(value == 5) ? 1 : 0;
}
