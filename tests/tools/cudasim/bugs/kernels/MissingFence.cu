// Block 0 publishes a value and a flag; without the fences nothing orders the
// value before the flag.
extern "C" __global__ void missingFence(float *value, unsigned *flag,
                                        float *out) {
  if (threadIdx.x != 0)
    return;
  if (blockIdx.x == 0) {
    *value = 42.0f; // BUG
#ifdef CORRECT
    __threadfence();
#endif
    atomicExch(flag, 1u);
  } else {
    while (atomicAdd(flag, 0u) == 0u) {
    }
#ifdef CORRECT
    __threadfence();
#endif
    *out = *value; // BUG
  }
}
