// The copy is committed and never waited for.
extern "C" __global__ void missingCopyWait(const float *in, float *out) {
  __shared__ __align__(16) float tile[128];
  unsigned target = __cvta_generic_to_shared(tile + threadIdx.x * 4);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target),
               "l"(in + threadIdx.x * 4)
               : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
#ifdef CORRECT
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
  __syncthreads();
  out[threadIdx.x] = tile[127 - threadIdx.x]; // BUG
#ifndef CORRECT
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
}
