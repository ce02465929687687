// A thread waits for its own copies and reads those of others.
extern "C" __global__ void missingBarrierAfterCopy(const float *in,
                                                   float *out) {
  __shared__ __align__(16) float tile[512];
  unsigned target = __cvta_generic_to_shared(tile + threadIdx.x * 4);
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), // SIDE
      "l"(in + threadIdx.x * 4)
      : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  asm volatile("cp.async.wait_group 0;" ::: "memory"); // SIDE
#ifdef CORRECT
  __syncthreads();
#endif
  out[threadIdx.x] = tile[511 - threadIdx.x]; // BUG
}
