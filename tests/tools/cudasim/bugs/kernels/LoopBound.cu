// One turn too many of the loop that fills shared memory.
extern "C" __global__ void loopBound(const float *in, float *out, int count) {
  __shared__ float tile[96];
#ifdef CORRECT
  for (int i = threadIdx.x; i < count; i += 32)
#else
  for (int i = threadIdx.x; i <= count; i += 32)
#endif
    tile[i] = in[i % 96]; // BUG
  __syncthreads();
  out[threadIdx.x] = tile[95 - threadIdx.x];
}
