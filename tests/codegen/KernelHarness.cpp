//===- KernelHarness.cpp --------------------------------------------------===//

#include "tests/codegen/KernelHarness.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/cpu/jit/Compile.h"
#include "runtime/cpu/jit/Load.h"
#include "tests/codegen/AmxEmulation.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

#include <cmath>
#include <cstdlib>
#include <map>

using namespace llvm;
using namespace moec;
using namespace moec::test;

static constexpr size_t kGuardBytes = 256;
static constexpr uint8_t kGuard = 0xA5;

//===- Numbers ------------------------------------------------------------===//

uint64_t Random::bits() {
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
  return low + (high - low) * double(bits() >> 11) * 0x1p-53;
}

double Random::normal() {
  double u = 1 - uniform(0, 1), v = uniform(0, 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}

double test::roundTo(ElementType element, double value) {
  float single = float(value);
  if (element == ElementType::bf16)
    return bf16ToF32(f32ToBf16(single));
  if (element == ElementType::f16)
    return f16ToF32(f32ToF16(single));
  return single;
}

Array::Array(ElementType element, size_t count)
    : element(element), count(count) {
  bytes = *byteSize(element, count);
  storage = static_cast<uint8_t *>(
      std::aligned_alloc(64, (bytes + kGuardBytes + 63) / 64 * 64));
  memset(storage, 0, bytes);
  memset(storage + bytes, kGuard, kGuardBytes);
}

Array::~Array() { std::free(storage); }

double Array::get(size_t index) const {
  auto as = [&]<typename T>(T) {
    T value;
    memcpy(&value, storage + index * sizeof(T), sizeof(T));
    return value;
  };
  switch (element) {
  case ElementType::bf16:
    return bf16ToF32(as(uint16_t()));
  case ElementType::f16:
    return f16ToF32(as(uint16_t()));
  case ElementType::i32:
    return as(int32_t());
  case ElementType::i64:
    return double(as(int64_t()));
  default:
    return as(float());
  }
}

void Array::set(size_t index, double value) {
  auto put = [&]<typename T>(T converted) {
    memcpy(storage + index * sizeof(T), &converted, sizeof(T));
  };
  switch (element) {
  case ElementType::bf16:
    return put(f32ToBf16(float(value)));
  case ElementType::f16:
    return put(f32ToF16(float(value)));
  case ElementType::i32:
    return put(int32_t(value));
  case ElementType::i64:
    return put(int64_t(value));
  default:
    return put(float(value));
  }
}

Array &Array::fillNormal(Random &random, double deviation) {
  for (size_t index = 0; index < count; ++index)
    set(index, random.normal() * deviation);
  return *this;
}

Array &Array::fillBytes(int byte) {
  memset(storage, byte, bytes);
  return *this;
}

std::vector<uint8_t> Array::copyBytes() const {
  return std::vector<uint8_t>(storage, storage + bytes);
}

void Array::setBytes(ArrayRef<uint8_t> from) {
  memcpy(storage, from.data(), bytes);
}

void Array::checkGuard(const std::string &what) const {
  for (size_t index = 0; index < kGuardBytes; ++index)
    ASSERT_EQ(storage[bytes + index], kGuard)
        << what << ": byte " << index << " behind the buffer was written";
}

//===- Compiling ----------------------------------------------------------===//

static const StringMap<bool> &hostFeatures() {
  static const StringMap<bool> features = sys::getHostCPUFeatures();
  return features;
}

static bool hostHas(cpu::CpuLevel level) {
  return all_of(cpu::requiredFeatures(level), [](StringRef feature) {
    return hostFeatures().lookup(feature);
  });
}

bool test::hostRuns(cpu::CpuLevel level) {
  return hostHas(level == cpu::CpuLevel::Amx ? cpu::CpuLevel::Avx512Bf16
                                             : level);
}

static SmallVector<char, 0> compileObject(const cpu::CpuKernel &kernel,
                                          cpu::CpuLevel level) {
  SmallVector<std::string> features;
  for (StringRef feature : cpu::requiredFeatures(level))
    features.push_back(("+" + feature).str());
  auto object = jit::compile(kernel.bitcode, join(features, ","));
  if (!object)
    report_fatal_error(Twine(toText(object.takeError())));
  return std::move(*object);
}

const Compiled &test::compiled(const kernel::AnySpec &spec,
                               cpu::CpuLevel level) {
  static std::map<std::pair<std::string, cpu::CpuLevel>, Compiled> cache;
  static std::vector<std::unique_ptr<jit::LoadedCode>> loaded;
  auto key = std::pair(kernel::describe(spec), level);
  if (auto found = cache.find(key); found != cache.end())
    return found->second;
  Compiled made;
  made.kernel = cpu::emitCpu(spec, level);
  SmallVector<char, 0> object;
  if (hostHas(level)) {
    object = compileObject(made.kernel, level);
  } else {
    cpu::CpuKernel emulated = made.kernel;
    emulated.bitcode = emulateAmx(emulated.bitcode);
    object = compileObject(emulated, cpu::CpuLevel::Avx512Bf16);
  }
  auto code = jit::LoadedCode::load({StringRef(object.data(), object.size())});
  if (!code)
    report_fatal_error(Twine(toText(code.takeError())));
  const char *symbol = made.kernel.symbol.c_str();
  void *address = nullptr;
  if (Error err = (*code)->lookup({symbol}, {address}))
    report_fatal_error(Twine(toText(std::move(err))));
  made.function = reinterpret_cast<MoecKernel>(address);
  loaded.push_back(std::move(*code));
  return cache.emplace(key, std::move(made)).first->second;
}

size_t test::objectSize(const cpu::CpuKernel &kernel, cpu::CpuLevel level) {
  return compileObject(kernel, level).size();
}

//===- Running ------------------------------------------------------------===//

int64_t Compiled::tasks(ArrayRef<int64_t> extents) const {
  int64_t product = 1;
  for (const cpu::GridFactor &factor : kernel.grid) {
    int64_t extent =
        factor.extent < 0 ? factor.constant : extents[factor.extent];
    product *= (extent + factor.divisor - 1) / factor.divisor;
  }
  return product;
}

static void runRanges(const Compiled &compiled, ArrayRef<const Array *> buffers,
                      ArrayRef<int64_t> extents,
                      ArrayRef<std::pair<int64_t, int64_t>> ranges) {
  ASSERT_EQ(buffers.size(), compiled.kernel.buffers);
  ASSERT_EQ(extents.size(), compiled.kernel.extents);
  std::vector<void *> pointers;
  for (const Array *buffer : buffers)
    pointers.push_back(buffer->data());
  Array scratch(ElementType::i8, compiled.kernel.scratchBytes);
  for (auto [begin, end] : ranges) {
    scratch.fillBytes(0xFF);
    compiled.function(pointers.data(), extents.data(), begin, end,
                      scratch.data());
  }
  scratch.checkGuard("scratch");
  for (auto [number, buffer] : enumerate(buffers))
    buffer->checkGuard("buffer " + std::to_string(number));
}

void Compiled::run(ArrayRef<const Array *> buffers,
                   ArrayRef<int64_t> extents) const {
  runRanges(*this, buffers, extents, {{0, tasks(extents)}});
}

void Compiled::runSplit(ArrayRef<const Array *> buffers,
                        ArrayRef<int64_t> extents, ArrayRef<Array *> outputs,
                        Random &random) const {
  std::vector<std::vector<uint8_t>> before, whole;
  for (Array *output : outputs)
    before.push_back(output->copyBytes());
  run(buffers, extents);
  for (auto [output, bytes] : zip(outputs, before)) {
    whole.push_back(output->copyBytes());
    output->setBytes(bytes);
  }
  std::vector<std::pair<int64_t, int64_t>> ranges;
  int64_t count = tasks(extents);
  for (int64_t begin = 0; begin < count;) {
    int64_t end = std::min(count, begin + 1 + random.below(5));
    ranges.insert(ranges.begin() + random.below(ranges.size() + 1),
                  {begin, end});
    begin = end;
  }
  runRanges(*this, buffers, extents, ranges);
  for (auto [number, output] : enumerate(outputs))
    EXPECT_EQ(output->copyBytes(), whole[number])
        << "output " << number << " depends on how tasks are split";
}

//===- References ---------------------------------------------------------===//

void test::expectClose(const Array &got, ArrayRef<double> exact,
                       ArrayRef<double> typed, Tolerance tolerance,
                       const std::string &what, Errors *measured) {
  ASSERT_EQ(got.size(), exact.size()) << what;
  ASSERT_EQ(got.size(), typed.size()) << what;
  double typedError = 0, error = 0;
  size_t worst = 0;
  for (size_t index = 0; index < exact.size(); ++index) {
    ASSERT_EQ(std::isnan(got.get(index)), std::isnan(exact[index]))
        << what << ": NaN at " << index << ", got " << got.get(index);
    if (std::isnan(exact[index]))
      continue;
    typedError = std::max(typedError, std::abs(typed[index] - exact[index]));
    double difference = std::abs(got.get(index) - exact[index]);
    if (difference > error) {
      error = difference;
      worst = index;
    }
  }
  if (measured)
    *measured = {error, typedError};
  EXPECT_LE(error, tolerance.c * typedError + tolerance.floor)
      << what << ": element " << worst << " is " << got.get(worst)
      << ", exactly " << exact[worst] << "; typed error " << typedError;
}

double test::activate(kernel::Activation activation, double x) {
  using kernel::Activation;
  switch (activation) {
  case Activation::None:
    return x;
  case Activation::Silu:
    return x / (1 + std::exp(-x));
  case Activation::GeluTanh:
    return 0.5 * x *
           (1 + std::tanh(0.7978845608028653559 * (x + 0.044715 * x * x * x)));
  case Activation::GeluErf:
    return 0.5 * x * (1 + std::erf(x * 0.7071067811865475244));
  case Activation::QuickGelu:
    return x / (1 + std::exp(-1.702 * x));
  case Activation::Relu:
    return x < 0 ? 0 : x;
  case Activation::SquaredRelu:
    return x < 0 ? 0 : x * x;
  }
  llvm_unreachable("all activations are listed");
}

float test::activateTyped(kernel::Activation activation, float x) {
  using kernel::Activation;
  switch (activation) {
  case Activation::Silu:
    return x / (1 + std::exp(-x));
  case Activation::GeluTanh:
    return 0.5f * x *
           (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  case Activation::GeluErf:
    return 0.5f * x * (1 + std::erf(x * 0.70710678f));
  case Activation::QuickGelu:
    return x / (1 + std::exp(-1.702f * x));
  default:
    return float(activate(activation, x));
  }
}

Array test::randomWeights(ElementType element, size_t count, double deviation,
                          Random &random, std::vector<double> &values) {
  std::vector<float> floats(count);
  for (float &value : floats)
    value = float(random.normal() * deviation);
  Array weights(element, count);
  auto bytes = MutableArrayRef(static_cast<uint8_t *>(weights.data()),
                               *byteSize(element, count));
  encodeFromF32(element, floats, bytes);
  decodeToF32(element, bytes, floats);
  values.assign(floats.begin(), floats.end());
  return weights;
}

Array test::packWeights(ArrayRef<const Array *> weights, int64_t outer,
                        int64_t n, int64_t k, const cpu::WeightLayout &layout) {
  bool quantized = layout.element == ElementType::q8_0;
  int64_t panel = layout.panel, group = layout.group;
  int64_t panels = (n + panel - 1) / panel;
  int64_t unit = quantized ? 32 : group;
  int64_t units = (k + unit - 1) / unit;
  int64_t elementBytes = quantized ? 1 : blockBytes(layout.element);
  int64_t unitBytes = panel * unit * elementBytes + (quantized ? panel * 4 : 0);
  int64_t slabs = weights.size();
  Array packed(ElementType::i8, outer * panels * slabs * units * unitBytes);
  auto *to = static_cast<uint8_t *>(packed.data());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t slab = 0; slab < slabs; ++slab)
        for (int64_t u = 0; u < units; ++u, to += unitBytes)
          for (int64_t column = 0; column < panel; ++column) {
            int64_t row = p * panel + column;
            if (row >= n)
              continue;
            auto *from = static_cast<const uint8_t *>(weights[slab]->data());
            if (quantized) {
              from += ((o * n + row) * units + u) * 34;
              uint16_t half;
              memcpy(&half, from, 2);
              float scale = f16ToF32(half);
              memcpy(to + column * 4, &scale, 4);
              for (int64_t i = 0; i < 32; ++i)
                to[panel * 4 + (i / group * panel + column) * group +
                   i % group] = from[2 + i];
              continue;
            }
            for (int64_t i = 0; i < group && u * group + i < k; ++i)
              memcpy(to + (column * group + i) * elementBytes,
                     from + ((o * n + row) * k + u * group + i) * elementBytes,
                     elementBytes);
          }
  return packed;
}

std::string test::levelName(const testing::TestParamInfo<cpu::CpuLevel> &info) {
  std::string name;
  for (char c : cpu::variantName(info.param))
    name += c == '-' ? '_' : c;
  return name;
}
