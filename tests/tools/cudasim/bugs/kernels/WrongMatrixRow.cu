// A 16-row tile; ldmatrix.x4 wants row `lane % 16`, not row `lane`.
extern "C" __global__ void wrongMatrixRow(unsigned *out) {
  __shared__ __align__(16) unsigned short tile[16 * 16];
  for (int i = threadIdx.x; i < 256; i += 32)
    tile[i] = i;
  __syncwarp();
#ifdef CORRECT
  int row = threadIdx.x % 16, column = threadIdx.x / 16 * 8;
#else
  int row = threadIdx.x, column = threadIdx.x / 16 * 8;
#endif
  unsigned r[4];
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" // BUG
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
      : "r"(
          (unsigned)__cvta_generic_to_shared(tile + row * 16 + column))); // BUG
  out[threadIdx.x] = r[0] + r[1] + r[2] + r[3];
}
