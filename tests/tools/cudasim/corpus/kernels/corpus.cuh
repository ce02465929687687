// What the kernels of the corpus share: warp reductions and the tensor-core,
// ldmatrix and cp.async instructions as inline PTX.
#pragma once

#include <cuda_bf16.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __nv_bfloat16 bf16;
typedef __nv_bfloat162 bf16x2;

constexpr u32 kFullMask = 0xffffffffu;

__device__ __forceinline__ float warpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1)
    value += __shfl_xor_sync(kFullMask, value, offset);
  return value;
}

__device__ __forceinline__ float warpMax(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1)
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, offset));
  return value;
}

/// Two floats as the packed pair that mma wants: `low` in the low half.
__device__ __forceinline__ u32 packPair(float low, float high) {
  bf16x2 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<u32 *>(&pair);
}

__device__ __forceinline__ u32 sharedAddress(const void *pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

/// Copies 16 bytes, of which the first `bytes` are read and the rest zero.
__device__ __forceinline__ void copyAsync(void *shared, const void *global,
                                          int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   sharedAddress(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void copyCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int Pending> __device__ __forceinline__ void copyWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

__device__ __forceinline__ void loadMatrices(u32 (&regs)[4],
                                             const void *shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(regs[0]), "=r"(regs[1]), "=r"(regs[2]), "=r"(regs[3])
               : "r"(sharedAddress(shared))
               : "memory");
}

__device__ __forceinline__ void loadMatricesTransposed(u32 (&regs)[4],
                                                       const void *shared) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(regs[0]), "=r"(regs[1]), "=r"(regs[2]), "=r"(regs[3])
      : "r"(sharedAddress(shared))
      : "memory");
}

/// acc += A (16x16, row) * B (16x8, column), all of a warp together.
__device__ __forceinline__ void mmaBf16(float (&acc)[4], const u32 (&a)[4],
                                        u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
