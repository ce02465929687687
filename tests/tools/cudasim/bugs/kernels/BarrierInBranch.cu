// A barrier inside a branch that only some threads take; the others go on,
// write their results and exit, which the hardware counts as having arrived.
extern "C" __global__ void barrierInBranch(float *out, int count) {
  __shared__ float tile[128];
  float value = 0;
#ifdef CORRECT
  tile[threadIdx.x] = threadIdx.x;
  __syncthreads();
  if (threadIdx.x < count)
    value = tile[count - 1 - threadIdx.x];
#else
  if (threadIdx.x < count) {
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads(); // BUG
    value = tile[count - 1 - threadIdx.x];
  }
#endif
  out[threadIdx.x] = value;
}
