// The last group of copies is still in flight when the threads exit.
extern "C" __global__ void exitWithPendingCopy(const float *in, float *out) {
  __shared__ __align__(16) float tile[128];
  unsigned target = __cvta_generic_to_shared(tile + threadIdx.x * 4);
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), // SIDE
      "l"(in + threadIdx.x * 4)
      : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  out[threadIdx.x] = 1.0f;
#ifdef CORRECT
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
} // BUG
