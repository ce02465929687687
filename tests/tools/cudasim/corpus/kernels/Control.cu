// Calls, recursion, dense switches, tables in constant and local memory,
// structures by value, loops with break and continue, and printf.
#include "corpus.cuh"

__constant__ float kCoefficients[8] = {1.0f, -0.5f,   0.25f, -0.125f,
                                       2.0f, 0.0625f, -3.0f, 0.5f};
__device__ int gCounter = 5;

struct Triple {
  int first;
  long long second;
  float third;
};

__device__ __noinline__ Triple makeTriple(int x, float y) {
  return {x * 3, static_cast<long long>(x) << 35, y + 1.0f};
}

__device__ __noinline__ int mix(const Triple &triple, int salt) {
  return triple.first + static_cast<int>(triple.second >> 35) * salt +
         static_cast<int>(triple.third);
}

__device__ __noinline__ int fibonacci(int n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

extern "C" __global__ void __launch_bounds__(128)
    controlFlow(const int *in, int *out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const int value = in[i];
  int result = 0;
  switch (value % 12) {
  case 0:
    result = value + 1;
    break;
  case 1:
    result = value * 3;
    break;
  case 2:
    result = value - 7; // Falls into the next.
  case 3:
    result += 11;
    break;
  case 4:
    result = value ^ 0x55;
    break;
  case 5:
    result = mix(makeTriple(value, 0.5f), 2);
    break;
  case 6:
    result = fibonacci(value % 7 + 2);
    break;
  case 7: {
    int table[16];
    for (int k = 0; k < 16; ++k)
      table[k] = k * k - value;
    result = table[(value >> 4) & 15] + table[value & 15];
    break;
  }
  case 8: {
    for (int k = 0;; ++k) {
      if (k % 3 == 1)
        continue;
      if (k > value % 20)
        break;
      result += k;
    }
    break;
  }
  case 9:
    result = static_cast<int>(kCoefficients[value & 7] * 1000.0f);
    break;
  case 10:
    result = value / 3 + value % 5;
    break;
  default:
    result = -value;
  }
  out[i] = result + gCounter;
}

/// Insertion sort of 16 values a thread in local memory.
extern "C" __global__ void __launch_bounds__(64)
    sortLocal(const int *in, int *out) {
  int values[16];
  const int base = (blockIdx.x * blockDim.x + threadIdx.x) * 16;
  for (int k = 0; k < 16; ++k)
    values[k] = in[base + k];
  for (int k = 1; k < 16; ++k) {
    const int moving = values[k];
    int at = k;
    while (at > 0 && values[at - 1] > moving) {
      values[at] = values[at - 1];
      --at;
    }
    values[at] = moving;
  }
  for (int k = 0; k < 16; ++k)
    out[base + k] = values[k];
}

extern "C" __global__ void printLines(int base) {
  if (threadIdx.x % 16 == 3)
    printf("block %d thread %u: %s %5.2f %lld %c %%\n", blockIdx.x, threadIdx.x,
           "value", base * 0.5, static_cast<long long>(base) << 33, 'x');
}

/// Special registers and launch shape.
extern "C" __global__ void identify(u32 *out) {
  const u32 thread =
      threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const u32 block =
      blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const u32 threads = blockDim.x * blockDim.y * blockDim.z;
  u32 lane, below;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(below));
  u32 *row = out + (block * threads + thread) * 4;
  row[0] = threadIdx.x | threadIdx.y << 8 | threadIdx.z << 16 | warpSize << 24;
  row[1] = blockIdx.x | blockIdx.y << 8 | blockIdx.z << 16;
  row[2] = lane | gridDim.z << 16;
  row[3] = below;
}
