// All 32 lanes call, half of them are in the mask.
extern "C" __global__ void laneOutsideMask(const float *in, float *out) {
#ifdef CORRECT
  unsigned mask = 0xffffffffu;
#else
  unsigned mask = 0x0000ffffu;
#endif
  out[threadIdx.x] = __shfl_xor_sync(mask, in[threadIdx.x], 1); // BUG
}
