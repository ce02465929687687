// Every atomic that C++ has for 32 and 64 bits, on global and on shared words,
// and the loops and locks people build from compare-and-swap.
#include "corpus.cuh"

struct Words {
  u32 add, sub, minimum, maximum, bitAnd, bitOr, bitXor, inc, dec, exchanged;
  int signedMinimum, signedMaximum;
  float product, sum;
  u64 add64, max64, or64, packed;
};

__device__ __forceinline__ void update(Words *words, u32 value) {
  atomicAdd(&words->add, value);
  atomicSub(&words->sub, value);
  atomicMin(&words->minimum, value);
  atomicMax(&words->maximum, value);
  atomicAnd(&words->bitAnd, value | 0x80000001u);
  atomicOr(&words->bitOr, value & 0xff00u);
  atomicXor(&words->bitXor, value);
  atomicInc(&words->inc, 36);
  atomicDec(&words->dec, 52);
  atomicMin(&words->signedMinimum, static_cast<int>(value) - 900);
  atomicMax(&words->signedMaximum, static_cast<int>(value) - 900);
  atomicAdd(&words->sum, static_cast<float>(value) * 0.5f);
  atomicAdd(&words->add64, static_cast<u64>(value) << 20);
  atomicMax(&words->max64, static_cast<u64>(value) << 33);
  atomicOr(&words->or64, 1ull << (value & 63));

  // A product by compare-and-swap: factors are powers of two, so exact.
  u32 *bits = reinterpret_cast<u32 *>(&words->product);
  const float factor = value & 1 ? 2.0f : 0.5f;
  u32 old = *reinterpret_cast<volatile u32 *>(bits), seen;
  do {
    seen = old;
    old =
        atomicCAS(bits, seen, __float_as_uint(__uint_as_float(seen) * factor));
  } while (old != seen);

  // The largest value with its thread, as one 64-bit word.
  const u64 mine =
      static_cast<u64>(value) << 32 | (blockIdx.x * blockDim.x + threadIdx.x);
  u64 best = *reinterpret_cast<volatile u64 *>(&words->packed);
  while (mine > best) {
    const u64 found = atomicCAS(&words->packed, best, mine);
    if (found == best)
      break;
    best = found;
  }
}

extern "C" __global__ void __launch_bounds__(128)
    atomicWords(const u32 *values, Words *global, Words *perBlock) {
  __shared__ Words local;
  if (threadIdx.x == 0)
    local = perBlock[blockIdx.x];
  __syncthreads();
  const u32 value = values[blockIdx.x * blockDim.x + threadIdx.x];
  update(global, value);
  update(&local, value);
  __syncthreads();
  if (threadIdx.x == 0)
    perBlock[blockIdx.x] = local;
}

/// A lock that one lane of a warp at a time may hold, around an update that is
/// not atomic; and a chain of exchanges that must lose no value.
extern "C" __global__ void __launch_bounds__(64)
    lockedCounter(u32 *lock, u32 *counter, u32 *exchanged, u32 *collected) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0u, 1u) == 0u) {
      __threadfence();
      *reinterpret_cast<volatile u32 *>(counter) =
          *reinterpret_cast<volatile u32 *>(counter) + 1;
      __threadfence();
      atomicExch(lock, 0u);
      done = true;
    }
  }
  const u32 id = blockIdx.x * blockDim.x + threadIdx.x + 1;
  atomicAdd(collected, atomicExch(exchanged, id));
}

/// Block 0 hands values to block 1 through a release and an acquire, spelled
/// as cuda::atomic spells them: the operation before its order.
extern "C" __global__ void __launch_bounds__(64)
    handOver(const float *in, float *slots, u32 *flag, float *out) {
  if (blockIdx.x == 0) {
    slots[threadIdx.x] = in[threadIdx.x] * 2.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
      u32 old;
      asm volatile("atom.add.release.gpu.u32 %0, [%1], 1;"
                   : "=r"(old)
                   : "l"(flag)
                   : "memory");
    }
    return;
  }
  if (threadIdx.x == 0) {
    u32 seen;
    do {
      asm volatile("atom.cas.acquire.gpu.b32 %0, [%1], 1, 2;"
                   : "=r"(seen)
                   : "l"(flag)
                   : "memory");
    } while (seen != 1);
  }
  __syncthreads();
  out[threadIdx.x] = slots[63 - threadIdx.x];
}
