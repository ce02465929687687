//===- CudaCompiler.cpp ---------------------------------------------------===//

#include "tests/codegen/CudaCompiler.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/DynamicLibrary.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstdlib>
#include <optional>

using namespace moec;
using namespace moec::kernel;
using llvm::StringRef;

namespace {

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
    for (std::string folder : {std::string(), test::cudaHome() + "/lib64/"})
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

} // namespace

std::string test::cudaHome() {
  const char *home = std::getenv("CUDA_HOME");
  return home ? home : "/usr/local/cuda";
}

bool test::hasNvrtc() { return Nvrtc::get() != nullptr; }

std::string test::toPtx(const cuda::CudaKernel &kernel,
                        StringRef architecture) {
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

RowwiseSpec test::normSpec(ElementType element, int64_t width,
                           RowOp::Kind kind) {
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

RowwiseSpec test::fusedSpec(bool interleaved) {
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

RowwiseSpec test::latentSpec() {
  using Kind = RowOp::Kind;
  constexpr int64_t heads = 3, plain = 24, turned = 10;
  constexpr int64_t all = heads * (plain + turned);
  RowwiseSpec spec;
  spec.operands = {{ElementType::f32},
                   {ElementType::bf16},
                   {ElementType::f32},
                   {ElementType::i32}};
  spec.ops = {{.kind = Kind::Load, .buffer = 0, .width = heads * plain},
              {.kind = Kind::Load, .buffer = 1, .width = heads * turned},
              {.kind = Kind::Load, .buffer = 2, .width = turned},
              {.kind = Kind::Clamp,
               .inputs = {0},
               .width = heads * plain,
               .scalar = 0.75},
              {.kind = Kind::Rope,
               .inputs = {1},
               .index = 3,
               .width = heads * turned,
               .groups = heads,
               .inverseFrequencies = {1, 0.5, 0.25, 0.125},
               .magnitude = 1.25},
              {.kind = Kind::JoinHeads,
               .inputs = {3, 4},
               .width = all,
               .groups = heads},
              {.kind = Kind::JoinHeads,
               .inputs = {0, 2},
               .width = all,
               .groups = heads},
              {.kind = Kind::Add, .inputs = {5, 6}, .width = all}};
  spec.stores = {{5, ElementType::f32}, {7, ElementType::bf16}};
  return spec;
}
