// A barrier inside a branch that some warps do not take: they have exited,
// which the hardware counts as having arrived.
extern "C" __global__ void barrierAfterExit(float *out, int count) {
  __shared__ float tile[128];
#ifdef CORRECT
  tile[threadIdx.x] = threadIdx.x;
  __syncthreads();
  if (threadIdx.x < count)
    out[threadIdx.x] = tile[count - 1 - threadIdx.x];
#else
  if (threadIdx.x < count) {
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads(); // BUG
    out[threadIdx.x] = tile[count - 1 - threadIdx.x];
  }
#endif
}
