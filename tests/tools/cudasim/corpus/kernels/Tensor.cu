// One mma.sync a warp for each element type, fragments loaded straight from
// row-major A [16, depth] and column-major B [8, depth], so that the register
// layout of the instruction is what is tested. C is [16, 8].
#include "corpus.cuh"

__device__ __forceinline__ u32 word(const void *matrix, int bytes) {
  return *reinterpret_cast<const u32 *>(static_cast<const u8 *>(matrix) +
                                        bytes);
}

/// A 4-byte piece of every lane: `rowBytes` is the length of a row.
struct Fragments {
  u32 a[4], b[2];
  __device__ Fragments(const void *left, const void *right, int rowBytes) {
    const int lane = threadIdx.x & 31, group = lane / 4, quad = lane % 4;
    a[0] = word(left, group * rowBytes + quad * 4);
    a[1] = word(left, (group + 8) * rowBytes + quad * 4);
    a[2] = word(left, group * rowBytes + quad * 4 + 16);
    a[3] = word(left, (group + 8) * rowBytes + quad * 4 + 16);
    b[0] = word(right, group * rowBytes + quad * 4);
    b[1] = word(right, group * rowBytes + quad * 4 + 16);
  }
};

template <typename T>
__device__ __forceinline__ void storeTile(T *c, const T (&acc)[4]) {
  const int lane = threadIdx.x & 31, group = lane / 4, quad = lane % 4;
  c[group * 8 + quad * 2] = acc[0];
  c[group * 8 + quad * 2 + 1] = acc[1];
  c[(group + 8) * 8 + quad * 2] = acc[2];
  c[(group + 8) * 8 + quad * 2 + 1] = acc[3];
}

#define MMA_FLOAT(name, shape, types)                                          \
  extern "C" __global__ void name(const void *a, const void *b, float *c) {    \
    const Fragments f(a, b, 32);                                               \
    float acc[4] = {0.5f, -0.5f, 1.0f, 0.0f};                                  \
    asm volatile("mma.sync.aligned." shape ".row.col." types                   \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"      \
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])      \
                 : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]),         \
                   "r"(f.b[0]), "r"(f.b[1]));                                  \
    storeTile(c, acc);                                                         \
  }

MMA_FLOAT(mmaF16, "m16n8k16", "f32.f16.f16.f32")
MMA_FLOAT(mmaBf16Once, "m16n8k16", "f32.bf16.bf16.f32")
MMA_FLOAT(mmaTf32, "m16n8k8", "f32.tf32.tf32.f32")
#if __CUDA_ARCH__ >= 890
MMA_FLOAT(mmaE4m3, "m16n8k32", "f32.e4m3.e4m3.f32")
MMA_FLOAT(mmaE5m2, "m16n8k32", "f32.e5m2.e5m2.f32")
MMA_FLOAT(mmaMixed8, "m16n8k32", "f32.e4m3.e5m2.f32")
#endif

#define MMA_INTEGER(name, types)                                               \
  extern "C" __global__ void name(const void *a, const void *b, int *c) {      \
    const Fragments f(a, b, 32);                                               \
    int acc[4] = {3, -4, 5, 0};                                                \
    asm volatile("mma.sync.aligned.m16n8k32.row.col." types                    \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"      \
                 : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])      \
                 : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]),         \
                   "r"(f.b[0]), "r"(f.b[1]));                                  \
    storeTile(c, acc);                                                         \
  }

MMA_INTEGER(mmaS8, "s32.s8.s8.s32")
MMA_INTEGER(mmaU8, "s32.u8.u8.s32")

/// Half-precision sums; C holds pairs of halves.
extern "C" __global__ void mmaF16Sums(const void *a, const void *b, u32 *c) {
  const Fragments f(a, b, 32);
  u32 acc[2] = {0, 0};
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 "
               "{%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
               : "+r"(acc[0]), "+r"(acc[1])
               : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]),
                 "r"(f.b[0]), "r"(f.b[1]));
  const int lane = threadIdx.x & 31, group = lane / 4, quad = lane % 4;
  c[group * 4 + quad] = acc[0];
  c[(group + 8) * 4 + quad] = acc[1];
}

/// The eight-deep bf16 shape, with two registers of A and one of B.
extern "C" __global__ void mmaBf16Short(const void *a, const void *b,
                                        float *c) {
  const int lane = threadIdx.x & 31, group = lane / 4, quad = lane % 4;
  const u32 a0 = word(a, group * 16 + quad * 4);
  const u32 a1 = word(a, (group + 8) * 16 + quad * 4);
  const u32 b0 = word(b, group * 16 + quad * 4);
  float acc[4] = {};
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
               : "r"(a0), "r"(a1), "r"(b0));
  storeTile(c, acc);
}

/// Moves a tile through ldmatrix in its smaller widths, and on sm_90 back
/// through stmatrix: out is [16, 16] halves, transposed if asked.
extern "C" __global__ void moveMatrices(const u16 *in, u16 *out) {
  __shared__ __align__(16) u16 tile[16 * 16];
  const int lane = threadIdx.x & 31;
  for (int i = lane; i < 256; i += 32)
    tile[i] = in[i];
  __syncwarp();
  u32 one, two[2];
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(one)
               : "r"(sharedAddress(tile + (lane % 8) * 16))
               : "memory");
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(two[0]), "=r"(two[1])
               : "r"(sharedAddress(tile + (lane % 16) * 16 + 8))
               : "memory");
  u32 *words = reinterpret_cast<u32 *>(out);
  words[lane] = one;
  words[32 + lane] = two[0];
  words[64 + lane] = two[1];
#if __CUDA_ARCH__ >= 900
  __shared__ __align__(16) u16 back[16 * 16];
  asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};" ::"r"(
                   sharedAddress(back + (lane % 16) * 8)),
               "r"(two[0]), "r"(two[1])
               : "memory");
  __syncwarp();
  words[96 + lane] = *reinterpret_cast<u32 *>(back + lane * 2);
#else
  words[96 + lane] = two[0];
#endif
}
