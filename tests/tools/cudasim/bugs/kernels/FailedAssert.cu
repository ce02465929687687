// An assertion of the kernel's own.
extern "C" __global__ void failedAssert(const int *in, int *out) {
#ifdef CORRECT
  assert(in[threadIdx.x] < 64);
#else
  assert(in[threadIdx.x] < 32); // BUG
#endif
  out[threadIdx.x] = 1;
}
