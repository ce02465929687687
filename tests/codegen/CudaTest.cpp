//===- CudaTest.cpp - emitted CUDA C++ through NVRTC and ptxas ------------===//
//
// NVRTC and ptxas need no GPU. Where they are not installed, the tests that
// need them are skipped.
//
//===----------------------------------------------------------------------===//

#include "codegen/cuda/EmitCuda.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/DynamicLibrary.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>
#include <cstdlib>

using namespace moec;
using namespace moec::kernel;
using llvm::StringRef;

namespace {

constexpr const char *kArchitectures[] = {"80", "90", "100"};

std::string cudaHome() {
  const char *home = std::getenv("CUDA_HOME");
  return home ? home : "/usr/local/cuda";
}

/// NVRTC's functions, as its documentation declares them.
struct Nvrtc {
  using Program = struct ProgramState *;
  int (*create)(Program *, const char *source, const char *name, int headers,
                const char *const *, const char *const *);
  int (*compile)(Program, int options, const char *const *);
  int (*ptxSize)(Program, size_t *);
  int (*ptx)(Program, char *);
  int (*logSize)(Program, size_t *);
  int (*log)(Program, char *);
  int (*destroy)(Program *);

  static const Nvrtc *get() {
    static const std::optional<Nvrtc> loaded = load();
    return loaded ? &*loaded : nullptr;
  }
  static std::optional<Nvrtc> load() {
    for (std::string folder : {std::string(), cudaHome() + "/lib64/"})
      for (const char *name :
           {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"}) {
        auto library = llvm::sys::DynamicLibrary::getPermanentLibrary(
            (folder + name).c_str());
        if (!library.isValid())
          continue;
        Nvrtc nvrtc;
        auto find = [&](auto &function, const char *symbol) {
          function =
              reinterpret_cast<std::remove_reference_t<decltype(function)>>(
                  library.getAddressOfSymbol(symbol));
          return function != nullptr;
        };
        if (find(nvrtc.create, "nvrtcCreateProgram") &&
            find(nvrtc.compile, "nvrtcCompileProgram") &&
            find(nvrtc.ptxSize, "nvrtcGetPTXSize") &&
            find(nvrtc.ptx, "nvrtcGetPTX") &&
            find(nvrtc.logSize, "nvrtcGetProgramLogSize") &&
            find(nvrtc.log, "nvrtcGetProgramLog") &&
            find(nvrtc.destroy, "nvrtcDestroyProgram"))
          return nvrtc;
      }
    return std::nullopt;
  }
};

/// The PTX of a kernel; fails the test with NVRTC's log.
std::string toPtx(const cuda::CudaKernel &kernel, StringRef architecture) {
  const Nvrtc &nvrtc = *Nvrtc::get();
  Nvrtc::Program program = nullptr;
  EXPECT_EQ(nvrtc.create(&program, kernel.source.c_str(), "kernel.cu", 0,
                         nullptr, nullptr),
            0);
  std::string option = ("--gpu-architecture=compute_" + architecture).str();
  const char *options[] = {option.c_str()};
  int result = nvrtc.compile(program, 1, options);
  size_t size = 0;
  nvrtc.logSize(program, &size);
  std::string log(size, '\0');
  nvrtc.log(program, log.data());
  EXPECT_EQ(result, 0) << log << "\n" << kernel.source;
  // A warning is a mistake in a device file.
  EXPECT_LE(size, 1u) << log;
  std::string ptx;
  if (result == 0) {
    nvrtc.ptxSize(program, &size);
    ptx.resize(size);
    nvrtc.ptx(program, ptx.data());
  }
  nvrtc.destroy(&program);
  return ptx;
}

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

RowwiseSpec normSpec(ElementType element, int64_t width, RowOp::Kind kind) {
  RowwiseSpec spec;
  spec.operands = {
      {element}, {element}, {ElementType::f32}, {ElementType::f32}};
  using Kind = RowOp::Kind;
  spec.ops = {
      {.kind = Kind::Load, .buffer = 0, .width = width},
      {.kind = Kind::Load, .buffer = 1, .width = width},
      {.kind = Kind::LoadRow, .buffer = 2, .width = width},
      {.kind = Kind::LoadRow, .buffer = 3, .width = width},
      {.kind = Kind::Add, .inputs = {0, 1}, .width = width},
      {.kind = kind, .inputs = {4, 2, 3}, .width = width, .scalar = 1e-5}};
  if (kind == Kind::RmsNorm)
    spec.ops[5].inputs.pop_back();
  spec.stores = {{4, element}, {5, element}};
  return spec;
}

/// Query and key rotated and normed by head, value copied; then every
/// elementwise operation.
RowwiseSpec fusedSpec(bool interleaved) {
  using Kind = RowOp::Kind;
  constexpr int64_t headDim = 64, heads = 9, kvHeads = 3;
  RowwiseSpec spec;
  spec.operands = {{ElementType::bf16},
                   {ElementType::i32},
                   {ElementType::f32},
                   {ElementType::f16}};
  std::vector<double> frequencies;
  for (int64_t pair = 0; pair < 24; ++pair)
    frequencies.push_back(std::pow(1e4, -double(pair) / 24));
  spec.ops.push_back({.kind = Kind::Load,
                      .buffer = 0,
                      .width = (heads + 2 * kvHeads) * headDim});
  spec.ops.push_back({.kind = Kind::LoadRow, .buffer = 2, .width = headDim});
  int64_t start = 0;
  for (int64_t groups : {heads, kvHeads}) {
    int slice = int(spec.ops.size());
    int64_t width = groups * headDim;
    spec.ops.push_back(
        {.kind = Kind::Slice, .inputs = {0}, .width = width, .start = start});
    spec.ops.push_back({.kind = Kind::RmsNorm,
                        .inputs = {slice, 1},
                        .width = width,
                        .groups = groups,
                        .scalar = 1e-6});
    spec.ops.push_back({.kind = Kind::Rope,
                        .inputs = {slice + 1},
                        .index = 1,
                        .width = width,
                        .groups = groups,
                        .inverseFrequencies = frequencies,
                        .interleaved = interleaved});
    spec.stores.push_back({slice + 2, ElementType::bf16});
    start += width;
  }
  int x = int(spec.ops.size());
  spec.ops.push_back(
      {.kind = Kind::Gather, .buffer = 3, .index = 1, .width = 192});
  for (Kind kind :
       {Kind::Silu, Kind::GeluTanh, Kind::GeluErf, Kind::QuickGelu, Kind::Relu,
        Kind::SquaredRelu, Kind::Sigmoid, Kind::Tanh, Kind::Scale, Kind::Cast})
    spec.ops.push_back({.kind = kind,
                        .inputs = {int(spec.ops.size()) - 1},
                        .width = 192,
                        .scalar = 0.5,
                        .element = ElementType::bf16});
  for (Kind kind : {Kind::Add, Kind::Sub, Kind::Mul})
    spec.ops.push_back(
        {.kind = kind, .inputs = {int(spec.ops.size()) - 1, x}, .width = 192});
  spec.stores.push_back({int(spec.ops.size()) - 1, ElementType::f16});
  return spec;
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
  if (!Nvrtc::get())
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
  EXPECT_EQ(reason(GemmSpec{.n = 8, .k = 8}), "this kind has no CUDA emitter");
  EXPECT_EQ(reason(normSpec(ElementType::f32, 40000, RowOp::Kind::RmsNorm)),
            "needs 160000 bytes of shared memory, above 101376");
  EXPECT_EQ(reason(RouteSpec{.experts = 4, .topk = 5}),
            "topk is 5, outside [1, 4]");
}
