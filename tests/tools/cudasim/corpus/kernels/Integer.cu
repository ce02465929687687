// Integer and bit operations, one element a thread, each result in a column of
// its own: out[operation * count + i].
#include "corpus.cuh"

extern "C" __global__ void integer32(const u32 *a, const u32 *b, u32 *out,
                                     int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const u32 x = a[i], y = b[i];
  const int sx = static_cast<int>(x), sy = static_cast<int>(y);
  u32 *column = out + i;
  auto emit = [&](u32 value) {
    *column = value;
    column += count;
  };
  emit(__clz(x));
  emit(__popc(x));
  emit(__brev(x));
  emit(__ffs(x));
  emit(31 - __clz(x | 1));
  emit(__byte_perm(x, y, 0x2461));
  emit(__byte_perm(x, y, y & 0x7777));
  emit(__funnelshift_l(x, y, 7));
  emit(__funnelshift_l(x, y, x));
  emit(__funnelshift_r(x, y, y));
  emit(__funnelshift_lc(x, y, y & 63));
  emit(__umulhi(x, y));
  emit(__mulhi(sx, sy));
  emit(__umul24(x, y));
  emit(__mul24(sx, sy));
  emit(__usad(x, y, 17u));
  emit(__sad(sx, sy, 17u));
  emit(__dp4a(sx, sy, 5));
  emit(__dp4a(x, y, 5u));
  emit(__vabsdiffu4(x, y));
  emit(__vadd4(x, y));
  emit(__vmaxs2(x, y));
  emit(__hadd(sx, sy));
  emit(__rhadd(sx, sy));
  emit(x / (y | 1));
  emit(x % (y | 1));
  emit(sx / (sy | 1));
  emit(sx % (sy | 1));
  emit(sx / 7);
  emit(sx % 7);
  emit(sx >> (y & 31));
  emit(x >> (y & 31));
  emit(x << (y & 31));
  emit(min(sx, sy));
  emit(max(x, y));
  emit(abs(sx == -2147483647 - 1 ? 0 : sx));
  emit((x & ~y) ^ (y | (x << 3)));
  emit(sx < sy ? x * 3 + y : y * 5 - x);
  // Bit fields and a shift past the width, which only PTX defines.
  u32 value;
  asm("bfe.u32 %0, %1, 5, 9;" : "=r"(value) : "r"(x));
  emit(value);
  asm("bfe.s32 %0, %1, 5, 9;" : "=r"(value) : "r"(x));
  emit(value);
  asm("bfi.b32 %0, %1, %2, 11, 6;" : "=r"(value) : "r"(x), "r"(y));
  emit(value);
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;"
      : "=r"(value)
      : "r"(x), "r"(y), "r"(0x0f0ff0f0));
  emit(value);
  asm("shl.b32 %0, %1, %2;" : "=r"(value) : "r"(x), "r"(y & 63));
  emit(value);
  asm("bfind.u32 %0, %1;" : "=r"(value) : "r"(x));
  emit(value);
  asm("bfind.s32 %0, %1;" : "=r"(value) : "r"(x));
  emit(value);
  asm("add.sat.s32 %0, %1, %2;" : "=r"(value) : "r"(x), "r"(y));
  emit(value);
  asm("{ .reg .u32 low;\n"
      "  add.cc.u32 low, %1, %2;\n"
      "  addc.u32 %0, 0, 0; }"
      : "=r"(value)
      : "r"(x), "r"(y));
  emit(value);
}

extern "C" __global__ void integer64(const u64 *a, const u64 *b, u64 *out,
                                     int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const u64 x = a[i], y = b[i];
  const long long sx = static_cast<long long>(x);
  const long long sy = static_cast<long long>(y);
  u64 *column = out + i;
  auto emit = [&](u64 value) {
    *column = value;
    column += count;
  };
  emit(__clzll(x));
  emit(__popcll(x));
  emit(__brevll(x));
  emit(__ffsll(x));
  emit(__umul64hi(x, y));
  emit(__mul64hi(sx, sy));
  emit(x * y);
  emit(x / (y | 1));
  emit(x % (y | 1));
  emit(sx / (sy | 1));
  emit(sx % (sy | 1));
  emit(sx >> (y & 63));
  emit(x >> (y & 63));
  emit(x << (y & 63));
  emit(min(sx, sy));
  emit(max(x, y));
  emit(sx < sy ? x + y : x - y);
  emit(static_cast<u64>(static_cast<u32>(x)) * static_cast<u32>(y));
  emit(static_cast<u64>(static_cast<long long>(static_cast<int>(x)) *
                        static_cast<int>(y)));
  emit(static_cast<u64>(static_cast<long long>(static_cast<short>(x))));
  emit(static_cast<u64>(static_cast<long long>(static_cast<signed char>(y))));
  emit(static_cast<u8>(x) | static_cast<u64>(static_cast<u16>(y)) << 16);
}
