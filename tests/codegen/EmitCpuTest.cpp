//===- EmitCpuTest.cpp - names, limits, and levels that cannot run here ---===//

#include "tests/codegen/KernelHarness.h"

using namespace moec;
using namespace moec::test;
using cpu::CpuLevel;
using namespace moec::kernel;

/// One small spec of each kind.
static std::vector<AnySpec> everyKind() {
  RowwiseSpec rowwise;
  rowwise.operands = {{ElementType::bf16}, {ElementType::f32}};
  rowwise.ops = {{.kind = RowOp::Kind::Load, .buffer = 0, .width = 40},
                 {.kind = RowOp::Kind::LoadRow, .buffer = 1, .width = 40},
                 {.kind = RowOp::Kind::RmsNorm, .inputs = {0, 1}, .width = 40}};
  rowwise.stores = {{2, ElementType::bf16}};
  GemmSpec gemm = {.n = 40,
                   .k = 64,
                   .a = ElementType::bf16,
                   .w = ElementType::bf16,
                   .out = ElementType::bf16};
  RaggedGemmSpec grouped = {.experts = 4, .topk = 2, .n = 40, .k = 64};
  grouped.a = grouped.w = grouped.out = ElementType::bf16;
  grouped.gather = grouped.gated = true;
  RaggedGemmSpec direct = grouped;
  direct.form = RaggedGemmSpec::Form::Direct;
  AttentionSpec attention;
  attention.heads = 4;
  attention.kvHeads = 2;
  attention.headDim = 32;
  attention.blockSize = 16;
  attention.scale = 0.125;
  RouteSpec ragged = {.experts = 4, .topk = 2};
  ragged.capacity = 1.25;
  ragged.dropByWeight = true;
  return {rowwise,
          gemm,
          grouped,
          direct,
          KvAppendSpec{.heads = 2, .headDim = 32, .blockSize = 16},
          attention,
          RouteSpec{.experts = 4, .topk = 2},
          ragged,
          DispatchSpec{.experts = 4},
          CombineSpec{.topk = 2, .width = 40},
          GateHeadsSpec{.heads = 4, .headDim = 8, .experts = 2}};
}

TEST(EmitCpu, EmitsTheSameBytesTwice) {
  for (CpuLevel level : cpu::kCpuLevels)
    for (const AnySpec &spec : everyKind()) {
      ASSERT_EQ(cpu::supports(spec, level), std::nullopt);
      cpu::CpuKernel first = cpu::emitCpu(spec, level);
      EXPECT_EQ(first.bitcode, cpu::emitCpu(spec, level).bitcode);
      EXPECT_EQ(first.symbol, name(spec));
      EXPECT_EQ(first.buffers, bufferCount(spec));
      EXPECT_EQ(first.extents, extentCount(spec));
    }
}

// What this processor cannot run must still be code that LLVM selects.
TEST(EmitCpu, CompilesEveryKindAtEveryLevel) {
  for (CpuLevel level : cpu::kCpuLevels)
    for (const AnySpec &spec : everyKind())
      EXPECT_GT(objectSize(cpu::emitCpu(spec, level), level), 500u)
          << describe(spec) << " at " << cpu::variantName(level).str();
}

TEST(EmitCpu, NamesTellSpecsApart) {
  std::vector<std::string> names;
  for (const AnySpec &spec : everyKind()) {
    names.push_back(name(spec));
    EXPECT_EQ(names.back(), name(AnySpec(spec)));
  }
  GemmSpec gemm = {.n = 40, .k = 64};
  names.push_back(name(gemm));
  gemm.bias = true;
  names.push_back(name(gemm));
  RowwiseSpec scaled;
  scaled.operands = {{ElementType::f32}};
  scaled.ops = {
      {.kind = RowOp::Kind::Load, .buffer = 0, .width = 8},
      {.kind = RowOp::Kind::Scale, .inputs = {0}, .width = 8, .scalar = 0.5}};
  scaled.stores = {{1, ElementType::f32}};
  names.push_back(name(scaled));
  scaled.ops[1].scalar = 0.25;
  names.push_back(name(scaled));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

TEST(EmitCpu, SaysWhatIsUnsupported) {
  auto reason = [](const AnySpec &spec, CpuLevel level = CpuLevel::Avx512) {
    return cpu::supports(spec, level).value_or("supported");
  };
  GemmSpec gemm = {.n = 40, .k = 48};
  gemm.w = ElementType::q8_0;
  EXPECT_EQ(reason(gemm), "k is 48, no multiple of q8_0's block of 32");
  gemm.w = ElementType::q4_k;
  EXPECT_EQ(reason(gemm), "w is q4_k, expected f32, bf16, f16 or q8_0");
  gemm.w = ElementType::f32;
  gemm.out = ElementType::i32;
  EXPECT_EQ(reason(gemm), "out is i32, expected f32, bf16 or f16");
  gemm.out = ElementType::f16;
  EXPECT_EQ(reason(gemm), "supported");
  EXPECT_EQ(reason(gemm, CpuLevel::Generic),
            "out is f16, expected f32 or bf16");
  gemm.n = 0;
  EXPECT_EQ(reason(gemm), "n is 0, outside [1, 16777216]");

  RaggedGemmSpec ragged = {.experts = 4, .topk = 5, .n = 8, .k = 8};
  EXPECT_EQ(reason(ragged), "topk is 5, outside [0, 4]");
  EXPECT_EQ(reason(RouteSpec{.experts = 4, .topk = 5}),
            "topk is 5, outside [1, 4]");
  EXPECT_EQ(reason(DispatchSpec{.experts = 0}),
            "experts is 0, outside [1, 65536]");
  EXPECT_EQ(reason(CombineSpec{.topk = 1, .width = 0}),
            "width is 0, outside [1, 16777216]");
  EXPECT_EQ(reason(KvAppendSpec{.heads = 1, .headDim = 0, .blockSize = 16}),
            "head_dim is 0, outside [1, 4096]");
  AttentionSpec attention;
  attention.heads = 5;
  attention.kvHeads = 2;
  attention.headDim = attention.blockSize = 16;
  EXPECT_EQ(reason(attention), "heads is 5, no multiple of kv_heads 2");
  attention.heads = 4;
  attention.blockSize = 24;
  EXPECT_EQ(reason(attention), "block_size is 24, no power of two");
}

TEST(EmitCpu, SaysWhichRowOperationIsBroken) {
  RowwiseSpec spec;
  auto reason = [&] {
    return cpu::supports(spec, CpuLevel::Avx2).value_or("supported");
  };
  EXPECT_EQ(reason(), "stores nothing");
  using Kind = RowOp::Kind;
  spec.operands = {{ElementType::f32}, {ElementType::i32}};
  spec.ops = {{.kind = Kind::Load, .buffer = 0, .width = 12},
              {.kind = Kind::Relu, .inputs = {0}, .width = 12}};
  spec.stores = {{1, ElementType::f32}};
  EXPECT_EQ(reason(), "supported");
  RowOp &op = spec.ops[1];
  op.inputs = {1};
  EXPECT_EQ(reason(),
            "operation 1: reads operation 1, which does not come before it");
  op.inputs = {0};
  op.width = 13;
  EXPECT_EQ(reason(), "operation 1: input 0 has width 12, expected 13");
  op = {.kind = Kind::Slice, .inputs = {0}, .width = 5, .start = 8};
  EXPECT_EQ(reason(), "operation 1: columns [8, 13) of a row of 12");
  op = {.kind = Kind::RmsNorm, .inputs = {0}, .width = 12, .groups = 5};
  EXPECT_EQ(reason(), "operation 1: 5 groups do not divide width 12");
  op = {.kind = Kind::Rope,
        .inputs = {0},
        .index = 1,
        .width = 12,
        .groups = 3,
        .inverseFrequencies = {1, 1, 1}};
  EXPECT_EQ(reason(), "operation 1: rotates 3 pairs of heads of 4");
  op.index = 0;
  EXPECT_EQ(reason(), "operation 1: index is f32, expected i32");
  op = {.kind = Kind::Load, .buffer = 1, .width = 12};
  EXPECT_EQ(reason(), "operation 1: operand is i32, expected f32, bf16 or f16");
  op.buffer = 2;
  EXPECT_EQ(reason(), "operation 1: buffer is operand 2 of 2");
  op = {.kind = Kind::Add, .inputs = {0}, .width = 12};
  EXPECT_EQ(reason(), "operation 1: has 1 inputs, expected 2 to 2");
  spec.ops.pop_back();
  EXPECT_EQ(reason(), "stores operation 1 of 1");
}
