// The upper half of the warp has left when its values are asked for.
extern "C" __global__ void shuffleFromInactive(const float *in, float *out,
                                               int live) {
  if (threadIdx.x >= live)
    return;
#ifdef CORRECT
  int source = (threadIdx.x + 1) % live;
#else
  int source = threadIdx.x + 1;
#endif
  unsigned mask = live == 32 ? 0xffffffffu : (1u << live) - 1;
  out[threadIdx.x] = __shfl_sync(mask, in[threadIdx.x], source); // BUG
}
