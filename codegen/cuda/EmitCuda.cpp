//===- EmitCuda.cpp -------------------------------------------------------===//

#include "codegen/cuda/EmitCuda.h"
#include "codegen/cuda/DeviceText.h"
#include "codegen/cuda/Kernels.h"
#include "codegen/emit/CheckSpec.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

#include <cassert>

using namespace llvm;
using namespace moec;
using namespace moec::cuda;
using namespace moec::kernel;

StringRef cuda::deviceText(StringRef name) {
  for (const DeviceText &file : kDeviceTexts)
    if (name == file.name)
      return file.text;
  llvm_unreachable("the emitters name device files that exist");
}

StringRef cuda::typeName(ElementType element) {
  switch (element) {
  case ElementType::f32:
    return "float";
  case ElementType::bf16:
    return "Bf16";
  case ElementType::f16:
    return "F16";
  case ElementType::i32:
    return "int";
  default:
    llvm_unreachable("`supports` admits no other element");
  }
}

std::string cuda::toF32(ElementType element, const std::string &value) {
  if (element == ElementType::f32)
    return value;
  return (element == ElementType::bf16 ? "fromBf16(" : "fromF16(") + value +
         ")";
}

std::string cuda::fromF32(ElementType element, const std::string &value) {
  if (element == ElementType::f32)
    return value;
  return (element == ElementType::bf16 ? "toBf16(" : "toF16(") + value + ")";
}

std::string cuda::activationText(Activation activation,
                                 const std::string &value) {
  switch (activation) {
  case Activation::None:
    return value;
  case Activation::Silu:
    return "silu(" + value + ")";
  case Activation::GeluTanh:
    return "geluTanh(" + value + ")";
  case Activation::GeluErf:
    return "geluErf(" + value + ")";
  case Activation::QuickGelu:
    return "quickGelu(" + value + ")";
  case Activation::Relu:
    return "relu(" + value + ")";
  case Activation::SquaredRelu:
    return "squaredRelu(" + value + ")";
  }
  llvm_unreachable("all activations are listed");
}

std::string cuda::f64Literal(double value) {
  std::string text;
  raw_string_ostream(text) << format("%a", value);
  return text;
}

std::string cuda::f32Literal(double value) {
  return f64Literal(float(value)) + "f";
}

namespace {

using Reason = std::optional<std::string>;

/// What CUDA asks for beyond what every target does.
struct SupportsKind {
  template <typename... Parts> static Reason no(Parts &&...parts) {
    return formatv(std::forward<Parts>(parts)...).str();
  }

  Reason operator()(const RowwiseSpec &spec) const;
  Reason operator()(const RaggedGemmSpec &spec) const {
    if (spec.a != spec.w ||
        (spec.a != ElementType::f32 && spec.a != ElementType::bf16))
      return no("a is {0} and w is {1}, expected both f32 or both bf16",
                elementTypeName(spec.a), elementTypeName(spec.w));
    if (spec.out == ElementType::f16)
      return no("out is f16, expected f32 or bf16");
    // Rows are read 16 bytes at a time, and a row of the weight is one group.
    int64_t unit = 16 / blockBytes(spec.a);
    if (spec.k % unit || spec.k > 65535)
      return no("k is {0}, expected a multiple of {1} up to 65535", spec.k,
                unit);
    if (spec.experts > 1024)
      return no("experts is {0}, above 1024", spec.experts);
    return std::nullopt;
  }
  Reason operator()(const RouteSpec &spec) const {
    if (spec.experts > 1024)
      return no("experts is {0}, above 1024", spec.experts);
    if (spec.topk > 32)
      return no("topk is {0}, above 32", spec.topk);
    static constexpr const char *selects[] = {
        "topk", "topp", "threshold", "all", "expert_choice", "sparse_mixer"};
    if (spec.select != RouteSpec::Select::TopK)
      return no("select is {0}, expected topk", selects[int(spec.select)]);
    if (spec.groups > 32)
      return no("groups is {0}, above 32", spec.groups);
    if (spec.capacity != 0)
      return no("capacity is {0}, expected none", spec.capacity);
    return std::nullopt;
  }
  template <typename Spec> Reason operator()(const Spec &) const {
    return no("this kind has no CUDA emitter");
  }
};

struct EmitKind {
  raw_ostream &os;
  CudaKernel &result;

  void operator()(const RowwiseSpec &spec) { emitRowwise(os, spec, result); }
  void operator()(const RaggedGemmSpec &spec) {
    emitRaggedGemm(os, spec, result);
  }
  void operator()(const RouteSpec &spec) { emitRoute(os, spec, result); }
  template <typename Spec> void operator()(const Spec &) {
    llvm_unreachable("`supports` refuses this kind");
  }
};

} // namespace

Reason SupportsKind::operator()(const RowwiseSpec &spec) const {
  CudaKernel kernel;
  raw_null_ostream os;
  emitRowwise(os, spec, kernel);
  // What every device from sm_80 on can give a block.
  constexpr uint64_t most = 99 << 10;
  if (kernel.dynamicSharedBytes > most)
    return no("needs {0} bytes of shared memory, above {1}",
              kernel.dynamicSharedBytes, most);
  return std::nullopt;
}

std::optional<std::string> cuda::supports(const AnySpec &spec) {
  if (Reason reason = checkSpec(spec, /*convertsF16=*/true))
    return reason;
  return std::visit(SupportsKind(), spec);
}

CudaKernel cuda::emitCuda(const AnySpec &spec) {
  assert(!supports(spec) && "asked to emit an unsupported spec");
  CudaKernel result;
  result.symbol = name(spec);
  result.buffers = bufferCount(spec);
  result.extents = extentCount(spec);
  raw_string_ostream os(result.source);
  os << "// " << describe(spec) << "\n\n";
  std::visit(EmitKind{os, result}, spec);
  return result;
}
