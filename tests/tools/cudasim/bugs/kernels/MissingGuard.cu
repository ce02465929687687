// The grid is rounded up and the threads beyond the end write all the same.
extern "C" __global__ void missingGuard(const float *in, float *out,
                                        int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float value = i < count ? in[i] : 0.0f;
#ifdef CORRECT
  if (i < count)
#endif
    out[i] = value * 2.0f; // BUG
}
