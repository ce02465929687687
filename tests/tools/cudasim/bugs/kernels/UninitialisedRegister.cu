// A register of inline PTX is read on the lanes where it was not set.
extern "C" __global__ void uninitialisedRegister(unsigned *out) {
  unsigned result;
#ifdef CORRECT
  unsigned limit = 32;
#else
  unsigned limit = 16;
#endif
  asm volatile(
      "{ .reg .u32 sum; .reg .pred set; setp.lt.u32 set, %1, %2;\n" // BUG
      "  @set mov.u32 sum, 7; add.u32 %0, sum, 1; }"                // BUG
      : "=r"(result)                                                // BUG
      : "r"(threadIdx.x), "r"(limit));                              // BUG
  out[threadIdx.x] = result;
}
