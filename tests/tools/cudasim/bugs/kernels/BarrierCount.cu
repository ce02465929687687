// The two warps name different thread counts for the same barrier.
extern "C" __global__ void barrierCount(float *out) {
  if (threadIdx.x < 32)
    asm volatile("bar.sync 1, 64;" ::: "memory"); // BUG
  else
#ifdef CORRECT
    asm volatile("bar.sync 1, 64;" ::: "memory");
#else
    asm volatile("bar.sync 1, 96;" ::: "memory"); // BUG
#endif
  out[threadIdx.x] = 1.0f;
}
