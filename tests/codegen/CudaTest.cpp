//===- CudaTest.cpp - emitted CUDA C++ through NVRTC and ptxas ------------===//
//
// NVRTC and ptxas need no GPU. Where they are not installed, the tests that
// need them are skipped.
//
//===----------------------------------------------------------------------===//

#include "tests/codegen/CudaCompiler.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using namespace moec::kernel;
using namespace moec::test;
using llvm::StringRef;

namespace {

constexpr const char *kArchitectures[] = {"80", "90", "100"};

std::optional<std::string> findPtxas() {
  std::string bin = cudaHome() + "/bin";
  if (auto found = llvm::sys::findProgramByName("ptxas"))
    return *found;
  if (auto found = llvm::sys::findProgramByName("ptxas", {bin}))
    return *found;
  return std::nullopt;
}

/// What ptxas says of registers, spills and shared memory.
std::string assemble(const std::string &ptxas, StringRef ptx,
                     StringRef architecture) {
  llvm::SmallString<64> input, log;
  EXPECT_FALSE(llvm::sys::fs::createTemporaryFile("kernel", "ptx", input));
  EXPECT_FALSE(llvm::sys::fs::createTemporaryFile("ptxas", "log", log));
  {
    std::error_code error;
    llvm::raw_fd_ostream os(input, error);
    os << ptx.rtrim('\0');
  }
  std::string arch = ("-arch=sm_" + architecture).str();
  int result = llvm::sys::ExecuteAndWait(
      ptxas, {ptxas, arch, "-v", "-o", "/dev/null", input}, std::nullopt,
      {std::nullopt, StringRef(log), StringRef(log)});
  auto text = llvm::MemoryBuffer::getFile(log);
  std::string said = text ? (*text)->getBuffer().str() : "";
  EXPECT_EQ(result, 0) << said;
  llvm::sys::fs::remove(input);
  llvm::sys::fs::remove(log);
  return said;
}

std::vector<AnySpec> everySpec() {
  std::vector<AnySpec> specs;
  for (ElementType element : {ElementType::f32, ElementType::bf16}) {
    specs.push_back(normSpec(element, 576, RowOp::Kind::RmsNorm));
    specs.push_back(normSpec(element, 2048, RowOp::Kind::LayerNorm));
    for (auto form :
         {RaggedGemmSpec::Form::Grouped, RaggedGemmSpec::Form::Direct})
      for (bool up : {false, true}) {
        RaggedGemmSpec spec = {.form = form, .experts = 8, .topk = 2};
        spec.n = up ? 1536 : 576;
        spec.k = up ? 576 : 1536;
        spec.a = spec.w = spec.out = element;
        spec.gather = spec.gated = up;
        spec.activation = up ? Activation::Silu : Activation::None;
        spec.weighted = !up;
        specs.push_back(spec);
        // Remainders everywhere, a table of tokens, biases.
        spec.n = 100;
        spec.k = 40;
        spec.topk = 0;
        spec.bias = true;
        spec.gather = true;
        spec.out = ElementType::f32;
        specs.push_back(spec);
      }
  }
  for (bool interleaved : {false, true})
    specs.push_back(fusedSpec(interleaved));
  specs.push_back(latentSpec());
  using Score = RouteSpec::Score;
  using Renorm = RouteSpec::Renorm;
  for (auto [score, renorm] : {std::pair(Score::Softmax, Renorm::None),
                               {Score::Softmax, Renorm::Sum},
                               {Score::Sigmoid, Renorm::Sum},
                               {Score::Identity, Renorm::SoftmaxSelected}}) {
    RouteSpec spec = {
        .experts = 8, .topk = 2, .score = score, .renorm = renorm};
    specs.push_back(spec);
    spec.experts = 160;
    spec.topk = 6;
    spec.selectBias = true;
    spec.scale = 2.5;
    specs.push_back(spec);
    spec.groups = 8;
    spec.topGroups = 4;
    spec.groupSummed = 2;
    spec.maskZero = true;
    spec.zscore = true;
    spec.logitScale = 0.5;
    spec.renormMinimum = 1e-12;
    spec.counts = false;
    specs.push_back(spec);
  }
  return specs;
}

} // namespace

TEST(EmitCuda, IsAPureFunctionThatNamesItsKernel) {
  for (const AnySpec &spec : everySpec()) {
    ASSERT_EQ(cuda::supports(spec), std::nullopt) << describe(spec);
    cuda::CudaKernel kernel = cuda::emitCuda(spec);
    EXPECT_EQ(kernel.source, cuda::emitCuda(spec).source);
    EXPECT_THAT(kernel.source, testing::HasSubstr(kernel.symbol + "("));
    EXPECT_EQ(kernel.buffers, bufferCount(spec));
    EXPECT_EQ(kernel.block % 32, 0u);
  }
}

TEST(EmitCuda, CompilesForEveryArchitectureWithoutSpills) {
  if (!hasNvrtc())
    GTEST_SKIP() << "NVRTC is not installed";
  std::optional<std::string> ptxas = findPtxas();
  for (const AnySpec &spec : everySpec()) {
    cuda::CudaKernel kernel = cuda::emitCuda(spec);
    for (const char *architecture : kArchitectures) {
      SCOPED_TRACE(describe(spec) + " for sm_" + architecture);
      std::string ptx = toPtx(kernel, architecture);
      if (!ptxas)
        continue;
      std::string said = assemble(*ptxas, ptx, architecture);
      EXPECT_THAT(said, testing::HasSubstr("0 bytes spill stores, 0 bytes "
                                           "spill loads"));
      EXPECT_THAT(said, testing::HasSubstr("0 bytes stack frame"));
    }
  }
  if (!ptxas)
    GTEST_SKIP() << "ptxas is not installed; NVRTC took every kernel";
}

TEST(EmitCuda, SaysWhatIsUnsupported) {
  auto reason = [](const AnySpec &spec) {
    return cuda::supports(spec).value_or("supported");
  };
  RaggedGemmSpec ragged = {.experts = 8, .topk = 2, .n = 64, .k = 62};
  EXPECT_EQ(reason(ragged), "k is 62, expected a multiple of 4 up to 65535");
  ragged.w = ElementType::q8_0;
  ragged.k = 64;
  EXPECT_EQ(reason(ragged),
            "a is f32 and w is q8_0, expected both f32 or both bf16");
  ragged.w = ElementType::f32;
  ragged.out = ElementType::f16;
  EXPECT_EQ(reason(ragged), "out is f16, expected f32 or bf16");
  ragged.out = ElementType::f32;
  ragged.experts = 2000;
  EXPECT_EQ(reason(ragged), "experts is 2000, above 1024");
  EXPECT_EQ(reason(RouteSpec{.experts = 2000, .topk = 2}),
            "experts is 2000, above 1024");
  EXPECT_EQ(reason(RouteSpec{.experts = 64, .topk = 33}),
            "topk is 33, above 32");
  RouteSpec route = {.experts = 64, .topk = 2};
  route.select = RouteSpec::Select::Threshold;
  EXPECT_EQ(reason(route), "select is threshold, expected topk");
  route.select = RouteSpec::Select::TopK;
  route.capacity = 1.25;
  EXPECT_EQ(reason(route), "capacity is 1.25, expected none");
  route.capacity = 0;
  route.groups = 64;
  EXPECT_EQ(reason(route), "groups is 64, above 32");
  EXPECT_EQ(reason(GateHeadsSpec{.heads = 4, .headDim = 8, .experts = 4}),
            "this kind has no CUDA emitter");
  EXPECT_EQ(reason(GemmSpec{.n = 8, .k = 8}), "this kind has no CUDA emitter");
  EXPECT_EQ(reason(normSpec(ElementType::f32, 40000, RowOp::Kind::RmsNorm)),
            "needs 160000 bytes of shared memory, above 101376");
  EXPECT_EQ(reason(RouteSpec{.experts = 4, .topk = 5}),
            "topk is 5, outside [1, 4]");
}
