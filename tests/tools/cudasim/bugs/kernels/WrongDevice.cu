// `in` lies on another device and peer access was not enabled.
extern "C" __global__ void wrongDevice(const float *in, float *out) {
  out[threadIdx.x] = in[threadIdx.x]; // BUG
}
