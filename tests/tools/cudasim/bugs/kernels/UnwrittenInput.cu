// `in` comes from the allocator and nobody has written its last element.
extern "C" __global__ void unwrittenInput(const float *in, float *out) {
  out[threadIdx.x] = in[threadIdx.x] + 1.0f; // BUG
}
