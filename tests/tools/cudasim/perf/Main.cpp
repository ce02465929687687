//===- Main.cpp - how fast the simulator runs, printed --------------------===//
//
//   cudasim_perf [kernel ...]
//
// Every kernel runs unchecked, several times, on one thread; the best time is
// printed, since a shared machine only ever adds. Warp instructions come from
// the simulator's own counters, of a run apart from the timed ones. Nothing
// here passes or fails.
//
//===----------------------------------------------------------------------===//
#include "tests/tools/cudasim/corpus/harness/Children.h"
#include "tests/tools/cudasim/corpus/harness/Compile.h"
#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Numbers.h"
#include "tests/tools/cudasim/driver/TemporaryFile.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>

using namespace corpus;

namespace {

/// Launches once; what it needs lives in its captures.
using Launch = std::function<void()>;

struct Case {
  const char *name, *file;
  double mmaFlops;
  std::function<Launch()> prepare;
};

template <typename T>
std::shared_ptr<Buffer<T>> share(const std::vector<T> &content) {
  return std::make_shared<Buffer<T>>(content);
}

Launch gemm() {
  const int size = 256;
  Random random(1);
  auto a = share(random.bf16s(size * size, -1, 1));
  auto b = share(random.bf16s(size * size, -1, 1));
  auto c = std::make_shared<Buffer<uint16_t>>(size_t(size) * size);
  CUfunction function = kernel("Gemm.cu", "gemmBf16");
  return
      [=] { launch(function, {4, 4}, {128}, 30720, *a, *b, *c, size, size); };
}

Launch flash() {
  const int tokens = 256, heads = 4, kvHeads = 2;
  Random random(2);
  auto q = share(random.bf16s(size_t(tokens) * heads * 64, -1, 1));
  auto k = share(random.bf16s(size_t(tokens) * kvHeads * 64, -1, 1));
  auto v = share(random.bf16s(size_t(tokens) * kvHeads * 64, -1, 1));
  auto out = std::make_shared<Buffer<uint16_t>>(size_t(tokens) * heads * 64);
  auto log = std::make_shared<Buffer<float>>(size_t(tokens) * heads);
  CUfunction function = kernel("FlashAttention.cu", "flashForward");
  return [=] {
    launch(function, {4, 4}, {128}, 46080, *q, *k, *v, *out, *log, tokens,
           heads, kvHeads, 0.125f);
  };
}

Launch norm() {
  const int rows = 256, hidden = 2048;
  Random random(3);
  auto x = share(random.bf16s(size_t(rows) * hidden, -1, 1));
  auto residual = share(random.bf16s(size_t(rows) * hidden, -1, 1));
  auto weight = share(random.bf16s(hidden, 0.5, 1.5));
  auto out = std::make_shared<Buffer<uint16_t>>(size_t(rows) * hidden);
  CUfunction function = kernel("RmsNorm.cu", "residualRmsNorm");
  return [=] {
    launch(function, {rows}, {256}, hidden * 4, *x, *residual, *weight, *out,
           hidden, 1e-5f);
  };
}

Launch router() {
  const int tokens = 2048, experts = 64, topk = 8;
  Random random(4);
  auto logits = share(random.floats(size_t(tokens) * experts, -3, 3));
  auto weights = std::make_shared<Buffer<float>>(size_t(tokens) * topk);
  auto winners = std::make_shared<Buffer<int>>(size_t(tokens) * topk);
  auto sums = std::make_shared<Buffer<float>>(experts, 0.0f);
  auto loads = std::make_shared<Buffer<uint32_t>>(experts, 0u);
  CUfunction function = kernel("Router.cu", "routeTopk");
  return [=] {
    launch(function, {tokens / 4}, {128}, 0, *logits, *weights, *winners, *sums,
           *loads, tokens, experts, topk);
  };
}

Launch adamw() {
  const long long count = 65536;
  Random random(5);
  auto p = share(random.bf16s(count, -1, 1));
  auto m = share(random.floats(count, -0.1, 0.1));
  auto v = share(random.floats(count, 0, 0.01));
  auto g = share(random.floats(count, -0.2, 0.2));
  CUfunction function = kernel("AdamW.cu", "adamWStep");
  return [=] {
    launch(function, {unsigned(count / 1024)}, {256}, 0, *p, *m, *v, *g, count,
           1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 7ull, 1u);
  };
}

Launch crossEntropy() {
  const int rows = 32, vocabulary = 8192;
  Random random(6);
  auto logits = share(random.bf16s(size_t(rows) * vocabulary, -6, 6));
  auto targets = share(std::vector<int>(rows, 5));
  auto losses = std::make_shared<Buffer<float>>(rows);
  auto total = std::make_shared<Buffer<double>>(1, 0.0);
  CUfunction function = kernel("CrossEntropy.cu", "crossEntropy");
  return [=] {
    launch(function, {rows}, {512}, 0, *logits, *targets, *losses, *total,
           vocabulary, 1.0f);
  };
}

const Case kCases[] = {
    {"gemm 256^3", "Gemm.cu", 2.0 * 256 * 256 * 256, gemm},
    {"flash T=256 H=4", "FlashAttention.cu", 0, flash},
    {"rmsnorm 256x2048", "RmsNorm.cu", 0, norm},
    {"router 2048x64", "Router.cu", 0, router},
    {"adamw 64k", "AdamW.cu", 0, adamw},
    {"xent 32x8192", "CrossEntropy.cu", 0, crossEntropy},
};

/// Processor seconds of this process, whichever thread the launch runs on.
double processorSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

/// The number behind the first `"key":` of a JSON text; 0 where there is none.
double numberOf(const std::string &json, const std::string &key) {
  size_t at = json.find('"' + key + '"');
  if (at == std::string::npos)
    return 0;
  at = json.find_first_of("0123456789", at + key.size() + 2);
  return at == std::string::npos ? 0 : atof(json.c_str() + at);
}

} // namespace

int main(int argc, char **argv) {
  setCurrentArch(90);
  printf("%-18s %12s %10s %16s %10s\n", "kernel", "warp instr", "best ms",
         "M warp instr/s", "GFLOP/s");
  for (const Case &each : kCases) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i)
      wanted |= std::strstr(each.name, argv[i]) != nullptr;
    if (!wanted)
      continue;
    const Compiled &compiled = compileKernel(CORPUS_KERNELS, each.file, 90);
    if (!compiled.error.empty()) {
      fprintf(stderr, "%s: %s\n", each.file, compiled.error.c_str());
      return 1;
    }
    cudasim::test::TemporaryFile counters(".json");
    ChildResult counted =
        runChild("checks=none,device=h100,counters=" + counters.path(),
                 /*capture=*/true, [&] {
                   each.prepare()();
                   releaseDevice();
                   return 0;
                 });
    double instructions = numberOf(counters.read(), "warp_instructions");
    ChildResult timed =
        runChild("checks=none,device=h100", /*capture=*/true, [&] {
          Launch launchOnce = each.prepare();
          double best = 1e9;
          double until = processorSeconds() + 0.5;
          for (int turn = 0; turn < 8 || processorSeconds() < until; ++turn) {
            double start = processorSeconds();
            launchOnce();
            best = std::min(best, processorSeconds() - start);
          }
          printf("%.9f\n", best);
          return 0;
        });
    double seconds = atof(timed.output.c_str());
    if (counted.status != 0 || timed.status != 0 || seconds <= 0) {
      fprintf(stderr, "%s did not run:\n%s%s", each.name,
              counted.errors.c_str(), timed.errors.c_str());
      return 1;
    }
    printf("%-18s %12.0f %10.2f %16.1f %10.1f\n", each.name, instructions,
           seconds * 1e3, instructions / seconds / 1e6,
           each.mmaFlops / seconds / 1e9);
  }
  return 0;
}
