// A register of inline PTX is read on the lanes where it was not set; that
// matters where the sum is stored.
extern "C" __global__ void uninitialisedRegister(unsigned *out) {
  unsigned result;
#ifdef CORRECT
  unsigned limit = 32;
#else
  unsigned limit = 16;
#endif
  asm volatile("{ .reg .u32 sum; .reg .pred set; setp.lt.u32 set, %1, %2;\n"
               "  @set mov.u32 sum, 7; add.u32 %0, sum, 1; }"
               : "=r"(result)
               : "r"(threadIdx.x), "r"(limit));
  out[threadIdx.x] = result; // BUG
}
