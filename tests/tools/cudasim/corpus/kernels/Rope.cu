// Rotary embedding, in place, over a packed [tokens, (heads + 2 * kvHeads) *
// headDim] tensor of queries, keys and values; values stay as they are. The
// pairs are (i, i + headDim / 2). Angles go through powf and sincosf, whose
// slow path for large arguments keeps a table in local memory.
#include "corpus.cuh"

extern "C" __global__ void __launch_bounds__(128)
    ropePackedQkv(bf16 *qkv, const int *__restrict__ positions, int heads,
                  int kvHeads, int headDim, float base) {
  const int half = headDim / 2;
  const int rotated = (heads + kvHeads) * half;
  bf16 *token = qkv + static_cast<long long>(blockIdx.x) *
                          (heads + 2 * kvHeads) * headDim;
  const float position = static_cast<float>(positions[blockIdx.x]);
  for (int i = threadIdx.x; i < rotated; i += blockDim.x) {
    const int head = i / half, pair = i % half;
    const float inverse = powf(base, -2.0f * pair / headDim);
    float sine, cosine;
    sincosf(position * inverse, &sine, &cosine);
    bf16 *low = token + head * headDim + pair;
    bf16 *high = low + half;
    const float a = __bfloat162float(*low), b = __bfloat162float(*high);
    *low = __float2bfloat16(a * cosine - b * sine);
    *high = __float2bfloat16(b * cosine + a * sine);
  }
}
