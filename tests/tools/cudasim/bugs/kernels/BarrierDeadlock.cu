// The producer never arrives at the barrier that the consumer waits at.
extern "C" __global__ void barrierDeadlock(float *out) {
  if (threadIdx.x < 32) {
#ifdef CORRECT
    asm volatile("bar.arrive 1, 64;" ::: "memory");
#endif
    out[threadIdx.x] = 1.0f;
    asm volatile("bar.sync 2, 64;" ::: "memory"); // BUG
  } else {
    asm volatile("bar.sync 1, 64;" ::: "memory"); // BUG
    out[threadIdx.x] = 2.0f;
    asm volatile("bar.arrive 2, 64;" ::: "memory");
  }
}
