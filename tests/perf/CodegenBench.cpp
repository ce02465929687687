//===- CodegenBench.cpp - emitted kernels against measured peaks ----------===//
//
// codegen-bench [filter]: GFLOP/s and GB/s of the GEMM kernels on one thread,
// each as a share of a peak that the same run measures just before and after:
// multiply-adds in registers, and reading memory with several streams. The
// machine may be shared; a share is worth more than a figure.
//
//===----------------------------------------------------------------------===//

#include "tests/codegen/KernelHarness.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <chrono>
#include <cstring>

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::GemmSpec;
using kernel::RaggedGemmSpec;

static double now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// The best rate of short runs that together take some 0.2 s.
static double bestRate(double work, llvm::function_ref<void()> body) {
  body();
  double best = 0, end = now() + 0.2;
  do {
    double start = now();
    body();
    best = std::max(best, work / (now() - start));
  } while (now() < end);
  return best;
}

/// Tasks in some 16 ranges, the best time of each: ranges are short enough that
/// some of their runs are undisturbed.
static double rangeRate(double work, int64_t tasks,
                        llvm::function_ref<void(int64_t, int64_t)> body) {
  int64_t step = std::max<int64_t>(1, tasks / 16);
  std::vector<double> best((tasks + step - 1) / step, 1e9);
  double end = now() + 0.4;
  do {
    for (int64_t range = 0; range < int64_t(best.size()); ++range) {
      double start = now();
      body(range * step, std::min(tasks, (range + 1) * step));
      best[range] = std::min(best[range], now() - start);
    }
  } while (now() < end);
  double seconds = 0;
  for (double time : best)
    seconds += time;
  return work / seconds;
}

/// The rate that one run in ten reaches, of short runs that differ in the
/// memory they touch: what other programs do to the machine meanwhile is in
/// the other nine.
static double coldRate(double work, int64_t parts,
                       llvm::function_ref<void(int64_t)> body) {
  std::vector<double> seconds;
  double end = now() + 0.3;
  for (int64_t part = 0; now() < end; part = (part + 1) % parts) {
    double start = now();
    body(part);
    seconds.push_back(now() - start);
  }
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 10,
                   seconds.end());
  return work / seconds[seconds.size() / 10];
}

/// Raw bytes that mean small numbers in every element type.
static Array weightBytes(size_t bytes) {
  Array packed(ElementType::i8, bytes);
  auto *words = static_cast<uint16_t *>(packed.data());
  for (size_t at = 0; at < bytes / 2; ++at)
    words[at] = uint16_t(0x3c00 + at % 64);
  return packed;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static void fmaPeak(int64_t rounds) {
  __m512 sums[12];
  for (__m512 &sum : sums)
    sum = _mm512_set1_ps(1);
  __m512 x = _mm512_set1_ps(0.999f);
  for (int64_t round = 0; round < rounds; ++round) {
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(sum, x, x);
    asm volatile("" : "+v"(x));
  }
  for (__m512 &sum : sums)
    asm volatile("" ::"v"(sum));
}

__attribute__((target("avx512f,avx512bf16"))) static void
dotPeak(int64_t rounds) {
  __m512 sums[12];
  for (__m512 &sum : sums)
    sum = _mm512_set1_ps(1);
  __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1));
  for (int64_t round = 0; round < rounds; ++round) {
    for (__m512 &sum : sums)
      sum = _mm512_dpbf16_ps(sum, x, x);
    asm volatile("" : "+v"(x));
  }
  for (__m512 &sum : sums)
    asm volatile("" ::"v"(sum));
}

__attribute__((target("avx2,fma"))) static void fmaPeak256(int64_t rounds) {
  __m256 sums[12];
  for (__m256 &sum : sums)
    sum = _mm256_set1_ps(1);
  __m256 x = _mm256_set1_ps(0.999f);
  for (int64_t round = 0; round < rounds; ++round) {
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(sum, x, x);
    asm volatile("" : "+x"(x));
  }
  for (__m256 &sum : sums)
    asm volatile("" ::"x"(sum));
}

__attribute__((target("avx2"))) static void readStreams(const uint8_t *from,
                                                        size_t bytes) {
  __m256i sums[4] = {};
  size_t part = bytes / 4;
  for (size_t at = 0; at < part; at += 64)
    for (size_t stream = 0; stream < 4; ++stream) {
      const auto *line =
          reinterpret_cast<const __m256i *>(from + stream * part + at);
      sums[stream] =
          _mm256_xor_si256(sums[stream], _mm256_xor_si256(line[0], line[1]));
    }
  for (__m256i &sum : sums)
    asm volatile("" ::"x"(sum));
}

/// Multiply-adds of `level` on bf16 (or f32) operands, in FLOP/s.
static double computePeak(CpuLevel level, bool bf16) {
  constexpr int64_t rounds = 200000;
  if (level == CpuLevel::Avx2)
    return bestRate(rounds * 12 * 8 * 2, [] { fmaPeak256(rounds); });
  if (level >= CpuLevel::Avx512Bf16 && bf16)
    return bestRate(rounds * 12 * 32 * 2, [] { dotPeak(rounds); });
  return bestRate(rounds * 12 * 16 * 2, [] { fmaPeak(rounds); });
}

/// Reading memory in pieces of `bytes`.
static double readPeak(int64_t bytes) {
  static Array memory = weightBytes(size_t(512) << 20);
  bytes = bytes / 256 * 256;
  const auto *from = static_cast<const uint8_t *>(memory.data());
  return coldRate(
      double(bytes), int64_t(memory.size()) / bytes,
      [&](int64_t part) { readStreams(from + part * bytes, bytes); });
}
#else
#error "the peaks are written for x86-64"
#endif

static int64_t packedBytes(const cpu::WeightLayout &layout, int64_t outer,
                           int64_t n, int64_t k) {
  int64_t rows = (n + layout.panel - 1) / layout.panel * layout.panel;
  int64_t elements = outer * rows * k * (layout.gated ? 2 : 1);
  switch (layout.element) {
  case ElementType::bf16:
  case ElementType::f16:
    return elements * 2;
  case ElementType::q8_0:
    return elements * 36 / 32;
  default:
    return elements * 4;
  }
}

static void report(const std::string &name, double rate, double peak,
                   const char *unit) {
  llvm::outs() << llvm::left_justify(name, 52)
               << llvm::format("%8.1f %s  %5.1f%% of %.1f\n", rate / 1e9, unit,
                               100 * rate / peak, peak / 1e9);
  llvm::outs().flush();
}

static std::string typeName(ElementType a, ElementType w) {
  return (elementTypeName(a) + "*" + elementTypeName(w)).str();
}

/// Few rows read another copy of the weight each time, so that it comes from
/// memory.
static void benchGemm(CpuLevel level, GemmSpec spec, int64_t m) {
  spec.out = spec.a;
  const Compiled &kernel = compiled(spec, level);
  int64_t bytes = packedBytes(*kernel.kernel.weight, 1, spec.n, spec.k);
  int64_t copies = m <= 4 ? std::max<int64_t>(1, (256 << 20) / bytes) : 1;
  Array packed = weightBytes(bytes * copies);
  Array a(spec.a, m * spec.k), out(spec.out, m * spec.n);
  Random random(1);
  a.fillNormal(random);
  Array scratch(ElementType::i8, kernel.kernel.scratchBytes);
  int64_t tasks = kernel.tasks({m});
  auto run = [&](int64_t copy, int64_t begin, int64_t end) {
    void *buffers[] = {a.data(),
                       static_cast<char *>(packed.data()) + copy * bytes,
                       out.data()};
    kernel.function(buffers, &m, begin, end, scratch.data());
  };
  std::string name =
      (cpu::variantName(level) + " gemm " + typeName(spec.a, spec.w) +
       " m=" + llvm::Twine(m) + " n=" + llvm::Twine(spec.n) +
       " k=" + llvm::Twine(spec.k) + (spec.gated ? " gated" : ""))
          .str();
  if (m <= 4) {
    report(name,
           coldRate(double(bytes), copies,
                    [&](int64_t copy) { run(copy, 0, tasks); }),
           readPeak(bytes), "GB/s");
    return;
  }
  bool bf16 = spec.a == ElementType::bf16 && spec.w == ElementType::bf16;
  double flops = 2.0 * double(m * spec.n * spec.k) * (spec.gated ? 2 : 1);
  double rate = rangeRate(
      flops, tasks, [&](int64_t begin, int64_t end) { run(0, begin, end); });
  report(name, rate, computePeak(level, bf16), "GFLOP/s");
}

static void benchRagged(CpuLevel level, RaggedGemmSpec spec, int64_t tokens) {
  spec.out = spec.a;
  const Compiled &kernel = compiled(spec, level);
  int64_t pairs = tokens * spec.topk;
  Array packed = weightBytes(
      packedBytes(*kernel.kernel.weight, spec.experts, spec.n, spec.k));
  Array a(spec.a, (spec.gather ? tokens : pairs) * spec.k);
  Array out(spec.out, pairs * spec.n);
  Random random(1);
  a.fillNormal(random);
  Array offsets(ElementType::i32, spec.experts + 1);
  Array order(ElementType::i32, pairs);
  int64_t next = 0;
  for (int64_t expert = 0; expert < spec.experts; ++expert) {
    offsets.set(expert, double(next));
    for (int64_t pair = expert; pair < pairs; pair += spec.experts)
      order.set(next++, double(pair));
  }
  offsets.set(spec.experts, double(next));
  void *buffers[] = {a.data(), offsets.data(), order.data(), packed.data(),
                     out.data()};
  Array scratch(ElementType::i8, kernel.kernel.scratchBytes);
  double flops = 2.0 * double(pairs * spec.n * spec.k) * (spec.gated ? 2 : 1);
  bool bf16 = spec.a == ElementType::bf16 && spec.w == ElementType::bf16;
  double rate =
      rangeRate(flops, kernel.tasks({pairs}), [&](int64_t begin, int64_t end) {
        kernel.function(buffers, &pairs, begin, end, scratch.data());
      });
  report((cpu::variantName(level) + " ragged " + typeName(spec.a, spec.w) +
          " experts=" + llvm::Twine(spec.experts) +
          " pairs=" + llvm::Twine(pairs) + " n=" + llvm::Twine(spec.n) +
          " k=" + llvm::Twine(spec.k) + (spec.gated ? " gated" : ""))
             .str(),
         rate, computePeak(level, bf16), "GFLOP/s");
}

/// `tokens` of one sequence that has `before` positions in its cache already;
/// multiply-adds of the positions that are seen.
static void benchAttention(CpuLevel level, ElementType element, int64_t before,
                           int64_t tokens) {
  kernel::AttentionSpec spec;
  spec.heads = 9;
  spec.kvHeads = 3;
  spec.headDim = 64;
  spec.blockSize = 16;
  spec.scale = 0.125;
  spec.q = spec.cache = spec.out = element;
  const Compiled &kernel = compiled(spec, level);
  int64_t width = spec.heads * spec.headDim;
  int64_t blocks = (before + tokens + spec.blockSize - 1) / spec.blockSize;
  Array q(element, tokens * width), out(element, tokens * width);
  Array keys(element, blocks * spec.kvHeads * spec.headDim * spec.blockSize);
  Array values(element, keys.size());
  Random random(1);
  q.fillNormal(random);
  keys.fillNormal(random);
  values.fillNormal(random);
  Array positions(ElementType::i32, tokens), offsets(ElementType::i32, 2);
  Array table(ElementType::i32, blocks);
  for (int64_t token = 0; token < tokens; ++token)
    positions.set(token, double(before + token));
  offsets.set(1, double(tokens));
  for (int64_t block = 0; block < blocks; ++block)
    table.set(block, double(block));
  void *buffers[] = {q.data(),         keys.data(),    values.data(),
                     positions.data(), offsets.data(), table.data(),
                     out.data()};
  int64_t extents[] = {tokens, 1, blocks};
  Array scratch(ElementType::i8, kernel.kernel.scratchBytes);
  double seen = double(tokens) * (double(before) + double(tokens + 1) / 2);
  double flops = seen * double(width) * 4;
  double rate =
      rangeRate(flops, kernel.tasks(extents), [&](int64_t begin, int64_t end) {
        kernel.function(buffers, extents, begin, end, scratch.data());
      });
  report((cpu::variantName(level) + " attention " + elementTypeName(element) +
          " before=" + llvm::Twine(before) + " tokens=" + llvm::Twine(tokens))
             .str(),
         rate, computePeak(level, false), "GFLOP/s");
}

int main(int argc, char **argv) {
  const char *filter = argc > 1 ? argv[1] : "";
  constexpr ElementType f32 = ElementType::f32, bf16 = ElementType::bf16,
                        f16 = ElementType::f16, q8 = ElementType::q8_0;
  constexpr std::pair<ElementType, ElementType> types[] = {
      {f32, f32}, {f32, bf16}, {f32, f16}, {bf16, bf16}, {bf16, q8}};
  for (CpuLevel level :
       {CpuLevel::Avx2, CpuLevel::Avx512, CpuLevel::Avx512Bf16}) {
    if (!hostRuns(level))
      continue;
    for (ElementType element : {f32, bf16}) {
      std::string name =
          (cpu::variantName(level) + " attention " + elementTypeName(element))
              .str();
      if (!strstr(name.c_str(), filter))
        continue;
      benchAttention(level, element, 0, 512);
      benchAttention(level, element, 1024, 1);
    }
    for (auto [a, w] : types) {
      std::string name = (cpu::variantName(level) + " " + typeName(a, w)).str();
      if (!strstr(name.c_str(), filter))
        continue;
      for (int64_t m : {1, 2, 4, 512})
        benchGemm(level, {.n = 1536, .k = 576, .a = a, .w = w}, m);
      benchGemm(level, {.n = 576, .k = 1536, .a = a, .w = w}, 512);
      benchGemm(level, {.n = 512, .k = 5632, .a = a, .w = w}, 256);
      RaggedGemmSpec up = {.experts = 8, .topk = 2, .n = 1536, .k = 576};
      up.a = a;
      up.w = w;
      up.gather = up.gated = true;
      up.activation = kernel::Activation::Silu;
      benchRagged(level, up, 512);
      RaggedGemmSpec down = {.experts = 8, .topk = 2, .n = 576, .k = 1536};
      down.a = a;
      down.w = w;
      benchRagged(level, down, 512);
    }
  }
}
