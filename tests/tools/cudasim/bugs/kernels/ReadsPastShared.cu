// red[8] of red[8]; behind it lies the block's dynamic shared memory, which is
// mapped and written.
extern "C" __global__ void readsPastShared(float *out, int last) {
  extern __shared__ float row[];
  __shared__ float red[8];
  row[threadIdx.x] = 1.0f;
  if (threadIdx.x < 8)
    red[threadIdx.x] = 2.0f;
  __syncthreads();
  float sum = 0;
#ifdef CORRECT
  for (int i = 0; i < last; ++i)
#else
  for (int i = 0; i <= last; ++i)
#endif
    sum += red[i]; // BUG
  out[threadIdx.x] = sum + row[31 - threadIdx.x];
}
