// Waits for a flag that nobody sets.
extern "C" __global__ void infiniteLoop(volatile unsigned *flag,
                                        unsigned *out) {
#ifdef CORRECT
  if (threadIdx.x == 0)
    *flag = 1;
#endif
  while (*flag == 0) { // BUG
  }
  out[threadIdx.x] = 1;
}
