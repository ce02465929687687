// The lanes of a warp meet at two different barriers.
extern "C" __global__ void divergentBarrier(float *out) {
  __shared__ float tile[64];
  tile[threadIdx.x] = 1.0f;
#ifdef CORRECT
  __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x] + (threadIdx.x % 2 ? 1.0f : 2.0f);
#else
  if (threadIdx.x % 2) {
    __syncthreads(); // BUG
    out[threadIdx.x] = tile[63 - threadIdx.x] + 1.0f;
  } else {
    __syncthreads(); // BUG
    out[threadIdx.x] = tile[63 - threadIdx.x] * 2.0f;
  }
#endif
}
