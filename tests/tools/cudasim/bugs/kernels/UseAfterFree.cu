// The host frees `in` before it launches.
extern "C" __global__ void useAfterFree(const float *in, float *out) {
  out[threadIdx.x] = in[threadIdx.x]; // BUG
}
