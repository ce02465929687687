// Four floats at once from an address that is a multiple of four bytes only.
extern "C" __global__ void misalignedVector(const float *in, float *out,
                                            int offset) {
#ifdef CORRECT
  offset = 0;
#endif
  float4 v = *(const float4 *)(in + threadIdx.x * 4 + offset); // BUG
  out[threadIdx.x] = v.x + v.y + v.z + v.w;
}
