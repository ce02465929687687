// Softmax over up to 64 experts and the `topk` largest, a warp a token: a lane
// holds experts `lane` and `lane + 32`. A round finds the largest remaining
// probability with redux and its owner with a ballot; ties go to the lower
// expert. Weights are renormalised over the chosen. The mean probability and
// the number of tokens of every expert are collected for the balancing loss.
#include "corpus.cuh"

constexpr int kMaxExperts = 64, kMaxTopk = 8;

extern "C" __global__ void __launch_bounds__(128)
    routeTopk(const float *__restrict__ logits, float *weights, int *experts,
              float *probabilitySums, u32 *loads, int tokens, int numExperts,
              int topk) {
  __shared__ float blockSums[kMaxExperts];
  __shared__ u32 blockLoads[kMaxExperts];
  for (int i = threadIdx.x; i < kMaxExperts; i += blockDim.x) {
    blockSums[i] = 0;
    blockLoads[i] = 0;
  }
  __syncthreads();

  const int lane = threadIdx.x & 31;
  const int token = (blockIdx.x * blockDim.x + threadIdx.x) >> 5;
  if (token < tokens) {
    float probability[2];
    float largest = -__int_as_float(0x7f800000);
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      const int expert = lane + slot * 32;
      probability[slot] = expert < numExperts
                              ? logits[token * numExperts + expert]
                              : -__int_as_float(0x7f800000);
      largest = fmaxf(largest, probability[slot]);
    }
    largest = warpMax(largest);
    float sum = 0;
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      probability[slot] = expf(probability[slot] - largest);
      sum += probability[slot];
    }
    sum = warpSum(sum);
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      probability[slot] /= sum;
      if (lane + slot * 32 < numExperts)
        atomicAdd(&blockSums[lane + slot * 32], probability[slot]);
    }

    // Probabilities are not negative, so their bits order as they do; a taken
    // or absent expert has key 0, any other its bits plus one.
    u32 keys[2];
#pragma unroll
    for (int slot = 0; slot < 2; ++slot)
      keys[slot] = lane + slot * 32 < numExperts
                       ? __float_as_uint(probability[slot]) + 1
                       : 0;
    float chosen[kMaxTopk], total = 0;
    int winner[kMaxTopk];
#pragma unroll
    for (int round = 0; round < kMaxTopk; ++round) {
      if (round >= topk)
        break;
      const u32 best =
          __reduce_max_sync(kFullMask, keys[0] > keys[1] ? keys[0] : keys[1]);
      const u32 low = __ballot_sync(kFullMask, keys[0] == best);
      const u32 high = __ballot_sync(kFullMask, keys[1] == best);
      const int slot = low ? 0 : 1;
      const int owner = __ffs(low ? low : high) - 1;
      const float mine = slot ? probability[1] : probability[0];
      chosen[round] = __shfl_sync(kFullMask, mine, owner);
      winner[round] = owner + slot * 32;
      total += chosen[round];
      if (lane == owner)
        keys[slot] = 0;
    }
#pragma unroll
    for (int round = 0; round < kMaxTopk; ++round) {
      if (round < topk && lane == round) {
        weights[token * topk + round] = chosen[round] / total;
        experts[token * topk + round] = winner[round];
        atomicAdd(&blockLoads[winner[round]], 1u);
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < numExperts; i += blockDim.x) {
    atomicAdd(&probabilitySums[i], blockSums[i]);
    atomicAdd(&loads[i], blockLoads[i]);
  }
}
