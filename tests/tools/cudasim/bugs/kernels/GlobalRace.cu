// Every block adds to the same word without an atomic.
extern "C" __global__ void globalRace(float *total) {
#ifdef CORRECT
  if (threadIdx.x == 0)
    atomicAdd(total, 1.0f);
#else
  if (threadIdx.x == 0)
    *total += 1.0f; // BUG
#endif
}
