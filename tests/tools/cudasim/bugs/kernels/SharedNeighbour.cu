// A write behind the end of one shared array lands in the next.
extern "C" __global__ void sharedNeighbour(float *out, int shift) {
  __shared__ float first[32];
  __shared__ float second[32];
  second[threadIdx.x] = 5.0f;
  __syncthreads();
#ifdef CORRECT
  first[(threadIdx.x + shift) % 32] = 1.0f;
#else
  first[threadIdx.x + shift] = 1.0f; // BUG
#endif
  __syncthreads();
  out[threadIdx.x] = first[31 - threadIdx.x] + second[31 - threadIdx.x];
}
