// The partial sums of other warps are read before they are known to be there.
extern "C" __global__ void missingBarrierBeforeReduce(const float *in,
                                                      float *out) {
  __shared__ float parts[4];
  float value = in[threadIdx.x];
  for (int offset = 16; offset > 0; offset >>= 1)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0)
    parts[threadIdx.x / 32] = value; // SIDE
#ifdef CORRECT
  __syncthreads();
#endif
  float sum = 0;
  for (int i = 0; i < 4; ++i)
    sum += parts[i]; // BUG
  out[threadIdx.x] = sum;
}
