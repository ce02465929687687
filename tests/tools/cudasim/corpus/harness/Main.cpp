//===- Main.cpp - every test on every architecture and schedule -----------===//
//
//   cudasim_corpus_test [--archs=80,90,100] [--seeds=1,2,3] [--gtest_...]
//
// Compiles the corpus with NVRTC once for an architecture and runs all tests
// in a child process for each schedule seed, with all checkers on. Reads
// nothing but the ordinary driver API, so that it runs on a GPU just as well.
//
//===----------------------------------------------------------------------===//
#include "tests/tools/cudasim/corpus/harness/Children.h"
#include "tests/tools/cudasim/corpus/harness/Compile.h"
#include "tests/tools/cudasim/corpus/harness/Device.h"
#include "tests/tools/cudasim/corpus/harness/Files.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>

using namespace corpus;

/// The simulated part that has this architecture.
static const char *partOf(int arch) {
  return arch >= 100 ? "b200" : arch >= 90 ? "h100" : "a100";
}

/// What the seed also decides: whether products and sums are fused, and
/// whether approximate instructions err within their bounds.
static const char *modeOf(int seed) {
  return seed % 3 == 2 ? ",fma=never" : seed % 3 == 0 ? ",perturb=1" : "";
}

static std::vector<int> numbersOf(const std::string &text) {
  std::vector<int> numbers;
  std::stringstream words(text);
  for (std::string word; std::getline(words, word, ',');)
    numbers.push_back(atoi(word.c_str()));
  return numbers;
}

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  std::vector<int> archs = {80, 90, 100}, seeds = {1, 2, 3};
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.rfind("--archs=", 0) == 0) {
      archs = numbersOf(word.substr(8));
    } else if (word.rfind("--seeds=", 0) == 0) {
      seeds = numbersOf(word.substr(8));
    } else {
      fprintf(stderr, "unknown word '%s'\n", argv[i]);
      return 2;
    }
  }
  if (GTEST_FLAG_GET(list_tests))
    return RUN_ALL_TESTS();

  int failures = 0;
  for (int arch : archs) {
    setCurrentArch(arch);
    for (const char *file : kFiles) {
      const Compiled &compiled = compileKernel(CORPUS_KERNELS, file, arch);
      if (!compiled.error.empty()) {
        fprintf(stderr, "%s: %s\n", file, compiled.error.c_str());
        return 1;
      }
    }
    for (int seed : seeds) {
      printf("== sm_%d, seed %d\n", arch, seed);
      ChildResult result =
          runChild(std::string("checks=all,device=") + partOf(arch) +
                       ",seed=" + std::to_string(seed) + modeOf(seed),
                   /*capture=*/true, [] {
                     int failed = RUN_ALL_TESTS();
                     releaseDevice();
                     return failed || testing::Test::HasFailure() ? 1 : 0;
                   });
      fputs(result.output.c_str(), stdout);
      // Nobody but a checker writes there, and the corpus has no faults.
      fputs(result.errors.c_str(), stderr);
      if (result.status == 0 && result.errors.empty())
        continue;
      ++failures;
      printf("== sm_%d, seed %d: FAILED (status %d, signal %d, %zu bytes of "
             "reports)\n",
             arch, seed, result.status, result.signal, result.errors.size());
    }
  }
  printf("== %d of %zu runs failed\n", failures, archs.size() * seeds.size());
  return failures ? 1 : 0;
}
