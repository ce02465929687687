// Two groups are in flight; the second is used when only the first is there.
extern "C" __global__ void wrongCopyGroup(const float *in, float *out) {
  __shared__ __align__(16) float tiles[2][128];
  for (int stage = 0; stage < 2; ++stage) {
    unsigned target = __cvta_generic_to_shared(&tiles[stage][threadIdx.x * 4]);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target),
                 "l"(in + stage * 128 + threadIdx.x * 4)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
#ifdef CORRECT
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#else
  asm volatile("cp.async.wait_group 1;" ::: "memory");
#endif
  __syncthreads();
  out[threadIdx.x] = tiles[0][127 - threadIdx.x];
  out[threadIdx.x + 32] = tiles[1][127 - threadIdx.x]; // BUG
  asm volatile("cp.async.wait_all;" ::: "memory");
}
