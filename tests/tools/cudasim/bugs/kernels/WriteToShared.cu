// Two threads of different warps write different values to one shared word.
extern "C" __global__ void writeToShared(float *out) {
  __shared__ float winner;
#ifdef CORRECT
  if (threadIdx.x == 0)
    winner = threadIdx.x;
#else
  if (threadIdx.x % 32 == 0)
    winner = threadIdx.x; // BUG
#endif
  __syncthreads();
  out[threadIdx.x] = winner;
}
