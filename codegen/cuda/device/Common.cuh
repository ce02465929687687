// What all kernels share: element types, rounding, reductions, elementary
// functions. Compiles alone with NVRTC; includes nothing.

using Bf16 = unsigned short; // bits
using F16 = unsigned short;  // bits, told apart by the function's name
using Index = long long;

// NVRTC defines no INFINITY and no NAN.
__device__ __forceinline__ float infinity() {
  return __int_as_float(0x7f800000);
}

__device__ __forceinline__ float fromBf16(Bf16 bits) {
  return __uint_as_float(unsigned(bits) << 16);
}
__device__ __forceinline__ Bf16 toBf16(float x) {
  Bf16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
// The element at the lower address first.
__device__ __forceinline__ unsigned toBf16Pair(float low, float high) {
  return unsigned(toBf16(low)) | unsigned(toBf16(high)) << 16;
}
__device__ __forceinline__ float fromF16(F16 bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
__device__ __forceinline__ F16 toF16(float x) {
  F16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ int ceilDiv(int x, int y) { return (x + y - 1) / y; }

// Sum over the lanes of a warp, the same in each: a butterfly, so the order is
// fixed.
__device__ __forceinline__ float warpSum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

// Sum over a block of `Threads`, the same in each thread. `partial` holds one
// float a warp in shared memory.
template <int Threads> __device__ float blockSum(float x, float *partial) {
  x = warpSum(x);
  __syncthreads(); // An earlier sum may still be read.
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < Threads / 32; ++warp)
    sum += partial[warp];
  return sum;
}

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
__device__ __forceinline__ float quickGelu(float x) {
  return x / (1.0f + expf(-1.702f * x));
}
__device__ __forceinline__ float geluTanh(float x) {
  float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + tanhf(inner));
}
__device__ __forceinline__ float geluErf(float x) {
  return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}
// NaN passes.
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }
__device__ __forceinline__ float squaredRelu(float x) {
  return relu(x) * relu(x);
}

// (sin, cos) of an angle in double: the quadrant and the rest in double, then
// polynomials in float, so that an angle of a million keeps its phase.
__device__ __forceinline__ float2 sinCos(double angle) {
  double n = rint(angle * 0.63661977236758134308);
  double rest = fma(n, -0x1.921fb54442d18p+0, angle);
  rest = fma(n, -0x1.1a62633145c07p-54, rest);
  int quadrant = int((long long)(n));
  float x = float(rest), z = x * x;
  float sine = fmaf(fmaf(-1.951462909e-04f, z, 8.332155645e-03f), z,
                    -1.666665524e-01f);
  sine = fmaf(sine * z, x, x);
  float cosine = fmaf(fmaf(2.443241829e-05f, z, -1.388730947e-03f), z,
                      4.166664556e-02f);
  cosine = fmaf(cosine * z, z, fmaf(z, -0.5f, 1.0f));
  float first = quadrant & 1 ? cosine : sine;
  float second = quadrant & 1 ? sine : cosine;
  return make_float2(quadrant & 2 ? -first : first,
                     (quadrant + 1) & 2 ? -second : second);
}

// The token whose pairs `pair` is among: the last one whose first pair is not
// behind it.
__device__ __forceinline__ int tokenOf(const int *tokenOffsets, int tokens,
                                       int pair) {
  int token = 0;
  for (int end = tokens; end - token > 1;) {
    int middle = (token + end) / 2;
    if (tokenOffsets[middle] > pair)
      end = middle;
    else
      token = middle;
  }
  return token;
}
