//===- DecodeReadsTest.cpp - what a decode step does not touch ------------===//
//
// A decode step reads the chosen experts' weights alone: here the others' lie
// in pages that cannot be read.
//
//===----------------------------------------------------------------------===//

#include "tests/codegen/KernelHarness.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace moec;
using namespace moec::test;
using kernel::RaggedGemmSpec;

namespace {
class DecodeReads : public testing::TestWithParam<cpu::CpuLevel> {};

constexpr std::pair<ElementType, ElementType> kTypes[] = {
    {ElementType::f32, ElementType::f32},
    {ElementType::bf16, ElementType::bf16},
    {ElementType::f32, ElementType::bf16},
    {ElementType::f32, ElementType::q8_0},
    {ElementType::bf16, ElementType::q8_0}};
} // namespace

TEST_P(DecodeReads, TheChosenExpertsAlone) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  constexpr int64_t experts = 6, pairs = 4, n = 64, k = 64;
  for (auto [a, w] : kTypes) {
    RaggedGemmSpec spec = {.form = RaggedGemmSpec::Form::Direct,
                           .experts = experts,
                           .topk = 2,
                           .n = n,
                           .k = k,
                           .a = a,
                           .w = w,
                           .gather = true};
    SCOPED_TRACE(kernel::describe(spec));
    const Compiled &kernel = compiled(spec, GetParam());
    Random random(13);
    std::vector<double> values;
    Array weights = randomWeights(w, experts * n * k, 0.1, random, values);
    Array packed =
        packWeights({&weights}, experts, n, k, *kernel.kernel.weight);
    size_t expertBytes = packed.size() / experts;
    Array rows(a, 2 * k), pairExpert(ElementType::i32, pairs);
    rows.fillNormal(random);
    for (int64_t pair = 0; pair < pairs; ++pair)
      pairExpert.set(pair, pair % 2 ? 4 : 1);
    Array expected(ElementType::f32, pairs * n),
        out(ElementType::f32, pairs * n);
    kernel.run({&rows, &pairExpert, &packed, &expected}, {pairs});

    // Only pages that hold a part of expert 1 or 4 can be read.
    size_t page = ::sysconf(_SC_PAGESIZE);
    auto roundUp = [&](size_t bytes) {
      return (bytes + page - 1) / page * page;
    };
    size_t mapped = roundUp(packed.size());
    void *memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    memcpy(memory, packed.data(), packed.size());
    unsigned hidden = 0;
    for (size_t begin = 0; begin < mapped; begin += page) {
      auto overlaps = [&](size_t expert) {
        return begin < (expert + 1) * expertBytes &&
               begin + page > expert * expertBytes;
      };
      if (overlaps(1) || overlaps(4))
        continue;
      ASSERT_EQ(
          0, ::mprotect(static_cast<char *>(memory) + begin, page, PROT_NONE));
      ++hidden;
    }
    EXPECT_GT(hidden, 0u);
    void *pointers[] = {rows.data(), pairExpert.data(), memory, out.data()};
    int64_t extents[] = {pairs};
    Array scratch(ElementType::i8, kernel.kernel.scratchBytes);
    kernel.function(pointers, extents, 0, kernel.tasks(extents),
                    scratch.data());
    EXPECT_EQ(out.copyBytes(), expected.copyBytes());
    ::munmap(memory, mapped);
  }
}

MOEC_INSTANTIATE_LEVELS(DecodeReads);
