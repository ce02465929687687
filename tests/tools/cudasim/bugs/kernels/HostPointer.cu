// `in` is an address of the host's heap.
extern "C" __global__ void hostPointer(const float *in, float *out) {
  out[threadIdx.x] = in[threadIdx.x]; // BUG
}
