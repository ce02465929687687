//===- GateHeadsTest.cpp - a mixture of attention heads, compiled ---------===//

#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using kernel::GateHeadsSpec;

namespace {

class GateHeadsTest : public testing::TestWithParam<CpuLevel> {};

} // namespace

TEST_P(GateHeadsTest, MultipliesHeadsByTheWeightOfTheirExpert) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  for (ElementType element : {ElementType::f32, ElementType::bf16})
    for (int64_t topk : {0, 2})
      for (int64_t headDim : {16, 10}) {
        GateHeadsSpec spec = {.heads = 6,
                              .headDim = headDim,
                              .experts = 3,
                              .topk = topk,
                              .x = element,
                              .out = element};
        SCOPED_TRACE(kernel::describe(spec));
        ASSERT_EQ(cpu::supports(spec, GetParam()), std::nullopt);
        constexpr int64_t tokens = 21;
        Random random(3);
        // Ragged: none, one, two, three pairs in turn.
        Array offsets(ElementType::i32, tokens + 1);
        for (int64_t token = 0; token < tokens; ++token)
          offsets.set(token + 1,
                      offsets.get(token) + double(topk ? topk : token % 4));
        int64_t pairs = offsets.getInt(tokens);
        int64_t width = spec.heads * headDim;
        Array x(element, tokens * width), out(element, tokens * width);
        Array pairExpert(ElementType::i32, pairs);
        Array pairWeight(ElementType::f32, pairs);
        x.fillNormal(random);
        pairWeight.fillNormal(random);
        out.fillBytes(0xFF);
        std::vector<double> exact(tokens * width), typed;
        for (int64_t token = 0; token < tokens; ++token)
          for (int64_t pair = offsets.getInt(token);
               pair < offsets.getInt(token + 1); ++pair) {
            int64_t expert = (token + pair - offsets.getInt(token)) % 3;
            pairExpert.set(pair, double(expert));
            for (int64_t column = 0; column < width; ++column)
              if (column / headDim % 3 == expert) {
                int64_t at = token * width + column;
                exact[at] = pairWeight.get(pair) * x.get(at);
              }
          }
        for (double number : exact)
          typed.push_back(roundTo(element, number));
        std::vector<const Array *> buffers = {&x};
        if (topk == 0)
          buffers.push_back(&offsets);
        buffers.insert(buffers.end(), {&pairExpert, &pairWeight, &out});
        compiled(spec, GetParam()).runSplit(buffers, {tokens}, {&out}, random);
        expectClose(out, exact, typed, toleranceOf(GateHeadsSpec()), "out");
      }
}

MOEC_INSTANTIATE_LEVELS(GateHeadsTest);
