//===- CudaRunTest.cpp - emitted CUDA C++ run through the driver API ------===//
//
// On the simulated GPU, with all its checkers, or on the driver library that
// MOEC_CUDA_DRIVER names. Results are compared with those of the CPU kernels
// of the same specs, which the other tests compare with double references.
//
//===----------------------------------------------------------------------===//

#include "tests/codegen/CudaCompiler.h"
#include "tests/codegen/KernelHarness.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/DynamicLibrary.h"

#include <cmath>
#include <cstdlib>
#include <set>

using namespace moec;
using namespace moec::kernel;
using namespace moec::test;

namespace {

/// The driver's functions, as its documentation declares them.
struct Driver {
  using Pointer = unsigned long long;
  int (*init)(unsigned);
  int (*deviceGet)(int *, int);
  int (*retainContext)(void **, int device);
  int (*setContext)(void *);
  int (*loadModule)(void **, const void *image);
  int (*getFunction)(void **, void *module, const char *);
  int (*setAttribute)(void *function, int attribute, int value);
  int (*allocate)(Pointer *, size_t);
  int (*release)(Pointer);
  int (*toDevice)(Pointer, const void *, size_t);
  int (*toHost)(void *, Pointer, size_t);
  int (*launch)(void *function, unsigned, unsigned, unsigned, unsigned,
                unsigned, unsigned, unsigned shared, void *stream, void **,
                void **);
  int (*synchronize)();
  int (*unloadModule)(void *);

  static const Driver *get() {
    static const std::optional<Driver> loaded = load();
    return loaded ? &*loaded : nullptr;
  }
  static std::optional<Driver> load() {
    const char *path = std::getenv("MOEC_CUDA_DRIVER");
#ifdef MOEC_CUDASIM
    if (!path)
      path = MOEC_CUDASIM;
#endif
    if (!path)
      return std::nullopt;
    setenv("MOEC_CUDASIM", "checks=all", /*overwrite=*/0);
    auto library = llvm::sys::DynamicLibrary::getPermanentLibrary(path);
    if (!library.isValid())
      return std::nullopt;
    Driver driver;
    auto find = [&](auto &function, const char *symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          library.getAddressOfSymbol(symbol));
      return function != nullptr;
    };
    int device;
    void *context;
    if (!find(driver.init, "cuInit") ||
        !find(driver.deviceGet, "cuDeviceGet") ||
        !find(driver.retainContext, "cuDevicePrimaryCtxRetain") ||
        !find(driver.setContext, "cuCtxSetCurrent") ||
        !find(driver.loadModule, "cuModuleLoadData") ||
        !find(driver.getFunction, "cuModuleGetFunction") ||
        !find(driver.setAttribute, "cuFuncSetAttribute") ||
        !find(driver.allocate, "cuMemAlloc_v2") ||
        !find(driver.release, "cuMemFree_v2") ||
        !find(driver.toDevice, "cuMemcpyHtoD_v2") ||
        !find(driver.toHost, "cuMemcpyDtoH_v2") ||
        !find(driver.launch, "cuLaunchKernel") ||
        !find(driver.synchronize, "cuCtxSynchronize") ||
        !find(driver.unloadModule, "cuModuleUnload") || driver.init(0) != 0 ||
        driver.deviceGet(&device, 0) != 0 ||
        driver.retainContext(&context, device) != 0 ||
        driver.setContext(context) != 0)
      return std::nullopt;
    return driver;
  }
};

/// Runs a kernel. Buffers whose number is in `written` are results: they are
/// not copied to the device, unless they are also in `read`, and are copied
/// back.
void runOnGpu(const AnySpec &spec, llvm::ArrayRef<Array *> buffers,
              llvm::ArrayRef<int64_t> extents, const std::set<size_t> &written,
              const std::set<size_t> &read = {}) {
  const Driver &driver = *Driver::get();
  ASSERT_EQ(cuda::supports(spec), std::nullopt);
  cuda::CudaKernel kernel = cuda::emitCuda(spec);
  ASSERT_EQ(buffers.size(), kernel.buffers);
  ASSERT_EQ(extents.size(), kernel.extents);
  std::string ptx = toPtx(kernel, "80");
  void *module = nullptr, *function = nullptr;
  ASSERT_EQ(driver.loadModule(&module, ptx.c_str()), 0);
  ASSERT_EQ(driver.getFunction(&function, module, kernel.symbol.c_str()), 0);
  constexpr int maxDynamicShared = 8;
  ASSERT_EQ(driver.setAttribute(function, maxDynamicShared,
                                int(kernel.dynamicSharedBytes)),
            0);
  std::vector<Driver::Pointer> pointers(buffers.size());
  std::vector<void *> parameters;
  for (size_t number = 0; number < buffers.size(); ++number) {
    size_t bytes = buffers[number]->copyBytes().size();
    ASSERT_EQ(driver.allocate(&pointers[number], std::max<size_t>(bytes, 1)),
              0);
    if (!written.count(number) || read.count(number))
      ASSERT_EQ(
          driver.toDevice(pointers[number], buffers[number]->data(), bytes), 0);
    parameters.push_back(&pointers[number]);
  }
  std::vector<int64_t> values(extents.begin(), extents.end());
  for (int64_t &value : values)
    parameters.push_back(&value);
  int64_t blocks = 1;
  for (const GridFactor &factor : kernel.grid) {
    int64_t extent =
        factor.extent < 0 ? factor.constant : extents[factor.extent];
    blocks *= (extent + factor.divisor - 1) / factor.divisor;
  }
  ASSERT_EQ(driver.launch(function, unsigned(blocks), 1, 1, kernel.block, 1, 1,
                          unsigned(kernel.dynamicSharedBytes), nullptr,
                          parameters.data(), nullptr),
            0);
  ASSERT_EQ(driver.synchronize(), 0);
  for (size_t number : written)
    ASSERT_EQ(driver.toHost(buffers[number]->data(), pointers[number],
                            buffers[number]->copyBytes().size()),
              0);
  for (Driver::Pointer pointer : pointers)
    ASSERT_EQ(driver.release(pointer), 0);
  ASSERT_EQ(driver.unloadModule(module), 0);
}

/// Largest difference, by the larger of 1 and the expected value. A sum's
/// order differs between the two: some units in the last place of f32, and one
/// of bf16 where that moves a rounding.
void expectNear(const Array &got, const Array &expected,
                const std::string &what) {
  double bound = got.element == ElementType::f32    ? 4e-6
                 : got.element == ElementType::bf16 ? 0x1p-7
                                                    : 0x1p-10;
  for (size_t at = 0; at < got.size(); ++at) {
    double x = got.get(at), y = expected.get(at);
    if (std::isnan(y)) {
      ASSERT_TRUE(std::isnan(x)) << what << " " << at;
      continue;
    }
    ASSERT_LE(std::abs(x - y), bound * std::max(1.0, std::abs(y)))
        << what << " " << at;
  }
}

class CudaRun : public testing::Test {
protected:
  void SetUp() override {
    if (!hasNvrtc())
      GTEST_SKIP() << "NVRTC is not installed";
    if (!Driver::get())
      GTEST_SKIP() << "there is no CUDA driver, simulated or other";
  }
};

constexpr cpu::CpuLevel kReference = cpu::CpuLevel::Generic;

} // namespace

TEST_F(CudaRun, RaggedGemmInBothFormsAndTypes) {
  for (ElementType element : {ElementType::f32, ElementType::bf16})
    for (auto form :
         {RaggedGemmSpec::Form::Grouped, RaggedGemmSpec::Form::Direct})
      for (bool up : {false, true}) {
        constexpr int64_t tokens = 75, experts = 5, topk = 2;
        RaggedGemmSpec spec = {
            .form = form, .experts = experts, .topk = topk, .n = 100, .k = 72};
        if (element == ElementType::f32)
          spec.topk = 0; // ragged
        spec.a = spec.w = spec.out = element;
        spec.gather = spec.gated = spec.bias = up;
        spec.activation = up ? Activation::Silu : Activation::None;
        spec.weighted = !up;
        SCOPED_TRACE(describe(spec));
        constexpr int64_t pairs = tokens * topk;
        Random random(21);
        std::vector<Array> weights;
        std::vector<const Array *> weightPointers;
        std::vector<double> ignored;
        for (int slab = 0; slab < (up ? 2 : 1); ++slab)
          weights.push_back(randomWeights(element, experts * spec.n * spec.k,
                                          0.1, random, ignored));
        for (const Array &weight : weights)
          weightPointers.push_back(&weight);
        auto pack = [&](const WeightLayout &layout) {
          return packWeights(weightPointers, experts, spec.n, spec.k, layout);
        };
        Array onCpu = pack(*compiled(spec, kReference).kernel.weight);
        Array onGpu = pack(*cuda::emitCuda(spec).weight);
        Array a(element, (up ? tokens : pairs) * spec.k);
        a.fillNormal(random);
        Array bias(ElementType::f32, experts * 2 * spec.n);
        bias.fillNormal(random);
        Array pairWeight(ElementType::f32, pairs);
        pairWeight.fillNormal(random);
        // Expert 2 stays empty, expert 4 has more rows than a tile.
        Array pairExpert(ElementType::i32, pairs);
        Array offsets(ElementType::i32, experts + 1);
        Array order(ElementType::i32, pairs);
        constexpr int choices[] = {4, 0, 4, 1, 4, 3};
        for (int64_t pair = 0; pair < pairs; ++pair)
          pairExpert.set(pair, choices[pair % 6]);
        // One, three, one, three, ...: as many pairs as two a token.
        Array tokenOffsets(ElementType::i32, tokens + 1);
        for (int64_t token = 0; token < tokens; ++token)
          tokenOffsets.set(token + 1,
                           double(2 * (token + 1) - (token + 1) % 2));
        tokenOffsets.set(tokens, double(pairs));
        compiled(DispatchSpec{experts}, kReference)
            .run({&pairExpert, &offsets, &order}, {pairs});
        Array expected(element, pairs * spec.n), out(element, pairs * spec.n);

        std::vector<Array *> buffers = {&a};
        if (form == RaggedGemmSpec::Form::Grouped)
          buffers.insert(buffers.end(), {&offsets, &order});
        else
          buffers.push_back(&pairExpert);
        std::vector<int64_t> extents = {pairs};
        if (spec.searchesToken()) {
          buffers.push_back(&tokenOffsets);
          extents.push_back(tokens);
        }
        size_t weight = buffers.size();
        buffers.push_back(&onCpu);
        buffers.push_back(up ? &bias : &pairWeight);
        buffers.push_back(&expected);
        compiled(spec, kReference)
            .run(std::vector<const Array *>(buffers.begin(), buffers.end()),
                 extents);
        buffers[weight] = &onGpu;
        buffers.back() = &out;
        runOnGpu(spec, buffers, extents, {buffers.size() - 1});
        expectNear(out, expected, "out");
      }
}

TEST_F(CudaRun, RouteWithTiesNanAndBias) {
  for (auto [score, renorm] :
       {std::pair(RouteSpec::Score::Softmax, RouteSpec::Renorm::Sum),
        {RouteSpec::Score::Sigmoid, RouteSpec::Renorm::None},
        {RouteSpec::Score::Relu, RouteSpec::Renorm::Sum},
        {RouteSpec::Score::Identity, RouteSpec::Renorm::SoftmaxSelected}})
    for (int64_t experts : {8, 96, 100}) {
      RouteSpec spec = {.experts = experts,
                        .topk = 3,
                        .score = score,
                        .renorm = renorm,
                        .scale = 1.5};
      spec.selectBias = experts == 100;
      spec.renormMinimum = experts == 100 ? 0.5 : 0;
      if (experts == 96) {
        spec.groups = 6;
        spec.topGroups = 2;
        spec.groupSummed = 2;
        spec.maskZero = score == RouteSpec::Score::Sigmoid;
        spec.zscore = score == RouteSpec::Score::Identity;
        spec.logitScale = 1.5;
      }
      SCOPED_TRACE(describe(spec));
      constexpr int64_t tokens = 13;
      Random random(22);
      Array logits(ElementType::f32, tokens * experts);
      logits.fillNormal(random);
      for (int64_t e = 0; e < experts; ++e) {
        logits.set(e, e % 2 ? 0.0 : -0.0);
        logits.set(experts + e, std::nan(""));
      }
      logits.set(2 * experts + 1, std::nan(""));
      Array bias(ElementType::f32, experts);
      bias.fillNormal(random, 0.1);
      Array counters(ElementType::i64, experts);
      Array gpuCounters(ElementType::i64, experts);
      Array pairExpert(ElementType::i32, tokens * 3);
      Array gpuExpert(ElementType::i32, tokens * 3);
      Array pairWeight(ElementType::f32, tokens * 3);
      Array gpuWeight(ElementType::f32, tokens * 3);
      std::vector<Array *> buffers = {&logits};
      if (spec.selectBias)
        buffers.push_back(&bias);
      size_t first = buffers.size();
      buffers.insert(buffers.end(), {&counters, &pairExpert, &pairWeight});
      compiled(spec, kReference)
          .run(std::vector<const Array *>(buffers.begin(), buffers.end()),
               {tokens});
      buffers.resize(first);
      buffers.insert(buffers.end(), {&gpuCounters, &gpuExpert, &gpuWeight});
      runOnGpu(spec, buffers, {tokens}, {first, first + 1, first + 2}, {first});
      EXPECT_EQ(gpuExpert.copyBytes(), pairExpert.copyBytes());
      EXPECT_EQ(gpuCounters.copyBytes(), counters.copyBytes());
      expectNear(gpuWeight, pairWeight, "weight");
    }
}

TEST_F(CudaRun, RowwiseBodies) {
  std::vector<RowwiseSpec> specs = {
      normSpec(ElementType::f32, 200, RowOp::Kind::RmsNorm),
      normSpec(ElementType::bf16, 1100, RowOp::Kind::LayerNorm),
      fusedSpec(false), fusedSpec(true), latentSpec()};
  // The base of x86-64 writes no f16.
  cpu::CpuLevel level =
      hostRuns(cpu::CpuLevel::Avx2) ? cpu::CpuLevel::Avx2 : kReference;
  for (const RowwiseSpec &spec : specs) {
    if (cpu::supports(spec, level))
      continue;
    SCOPED_TRACE(describe(spec));
    constexpr int64_t rows = 6;
    Random random(23);
    std::vector<Array> operands, expected, got;
    for (size_t number = 0; number < spec.operands.size(); ++number) {
      int64_t count = rows;
      for (const RowOp &op : spec.ops)
        if (op.buffer == int(number))
          count = op.width * rows;
      Array &operand =
          operands.emplace_back(spec.operands[number].element, count);
      if (operand.element == ElementType::i32)
        for (int64_t row = 0; row < rows; ++row)
          operand.set(row, double(row * 3 % rows));
      else
        operand.fillNormal(random);
    }
    for (const RowwiseSpec::Store &store : spec.stores) {
      expected.emplace_back(store.element, rows * spec.ops[store.op].width);
      got.emplace_back(store.element, rows * spec.ops[store.op].width);
    }
    std::vector<Array *> buffers;
    std::vector<const Array *> cpuBuffers;
    std::set<size_t> written;
    for (Array &operand : operands) {
      buffers.push_back(&operand);
      cpuBuffers.push_back(&operand);
    }
    for (auto [onGpu, onCpu] : llvm::zip(got, expected)) {
      written.insert(buffers.size());
      buffers.push_back(&onGpu);
      cpuBuffers.push_back(&onCpu);
    }
    compiled(spec, level).run(cpuBuffers, {rows});
    runOnGpu(spec, buffers, {rows}, written);
    for (size_t number = 0; number < got.size(); ++number)
      expectNear(got[number], expected[number],
                 "result " + std::to_string(number));
  }
}
