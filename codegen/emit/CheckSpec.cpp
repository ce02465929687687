//===- CheckSpec.cpp - whether a spec holds together ----------------------===//

#include "codegen/emit/CheckSpec.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace moec;
using namespace moec::kernel;

using Reason = std::optional<std::string>;

/// Sizes up to here keep every address and task number in 63 bits.
static constexpr int64_t kMaxDimension = int64_t(1) << 24;

namespace {

struct CheckKind {
  bool convertsF16;

  template <typename... Parts> static Reason no(Parts &&...parts) {
    return formatv(std::forward<Parts>(parts)...).str();
  }

  Reason size(const char *name, int64_t value,
              int64_t most = kMaxDimension) const {
    if (value < 1 || value > most)
      return no("{0} is {1}, outside [1, {2}]", name, value, most);
    return std::nullopt;
  }
  /// What every target widens to f32, with an instruction for it or without.
  static bool widens(ElementType element) {
    return element == ElementType::f32 || element == ElementType::bf16 ||
           element == ElementType::f16;
  }
  /// An element type that loads and stores convert.
  Reason floats(const char *name, ElementType element) const {
    if (element == ElementType::f32 || element == ElementType::bf16 ||
        (element == ElementType::f16 && convertsF16))
      return std::nullopt;
    return no("{0} is {1}, expected f32{2}", name, elementTypeName(element),
              convertsF16 ? ", bf16 or f16" : " or bf16");
  }
  Reason gemm(int64_t n, int64_t k, ElementType a, ElementType w,
              ElementType out) const {
    for (Reason reason :
         {size("n", n), size("k", k), floats("a", a), floats("out", out)})
      if (reason)
        return reason;
    if (!widens(w) && w != ElementType::q8_0)
      return no("w is {0}, expected f32, bf16, f16 or q8_0",
                elementTypeName(w));
    if (w == ElementType::q8_0 && k % 32)
      return no("k is {0}, no multiple of q8_0's block of 32", k);
    return std::nullopt;
  }

  Reason rowOp(const RowwiseSpec &spec, size_t number) const;

  Reason operator()(const RowwiseSpec &spec) const {
    if (spec.stores.empty())
      return no("stores nothing");
    for (size_t number = 0; number < spec.ops.size(); ++number)
      if (Reason reason = rowOp(spec, number))
        return no("operation {0}: {1}", number, *reason);
    for (const RowwiseSpec::Store &store : spec.stores) {
      if (store.op < 0 || size_t(store.op) >= spec.ops.size())
        return no("stores operation {0} of {1}", store.op, spec.ops.size());
      if (Reason reason = floats("a result", store.element))
        return reason;
    }
    return std::nullopt;
  }
  Reason operator()(const GemmSpec &spec) const {
    if (Reason reason = gemm(spec.n, spec.k, spec.a, spec.w, spec.out))
      return reason;
    if (spec.residual)
      return floats("residual", spec.residualElement);
    return std::nullopt;
  }
  Reason operator()(const RaggedGemmSpec &spec) const {
    if (Reason reason = gemm(spec.n, spec.k, spec.a, spec.w, spec.out))
      return reason;
    if (Reason reason = size("experts", spec.experts, 1 << 16))
      return reason;
    if (spec.topk < 0 || spec.topk > spec.experts)
      return no("topk is {0}, outside [0, {1}]", spec.topk, spec.experts);
    return std::nullopt;
  }
  Reason operator()(const KvAppendSpec &spec) const {
    for (Reason reason : {size("heads", spec.heads, 1 << 12),
                          size("head_dim", spec.headDim, 1 << 12),
                          size("block_size", spec.blockSize, 1 << 12),
                          floats("x", spec.x), floats("cache", spec.cache)})
      if (reason)
        return reason;
    return std::nullopt;
  }
  Reason operator()(const AttentionSpec &spec) const {
    for (Reason reason :
         {size("kv_heads", spec.kvHeads, 1 << 12),
          size("heads", spec.heads, 1 << 12),
          size("head_dim", spec.headDim, 1 << 12),
          size("value_dim", spec.valueWidth(), 1 << 12),
          size("block_size", spec.blockSize, 1 << 12), floats("q", spec.q),
          floats("cache", spec.cache), floats("out", spec.out)})
      if (reason)
        return reason;
    if (spec.heads % spec.kvHeads)
      return no("heads is {0}, no multiple of kv_heads {1}", spec.heads,
                spec.kvHeads);
    if (!isPowerOf2_64(spec.blockSize))
      return no("block_size is {0}, no power of two", spec.blockSize);
    if (spec.window < 0)
      return no("window is {0}, expected 0 or more", spec.window);
    if (!(spec.softcap >= 0))
      return no("softcap is {0}, expected 0 or more", spec.softcap);
    return std::nullopt;
  }
  Reason operator()(const RouteSpec &spec) const {
    for (Reason reason : {size("experts", spec.experts, 1 << 16),
                          size("topk", spec.topk, spec.experts),
                          size("groups", spec.groups, spec.experts),
                          size("top_groups", spec.topGroups, spec.groups),
                          size("group_summed", spec.groupSummed, 1 << 16)})
      if (reason)
        return reason;
    if (spec.experts % spec.groups)
      return no("{0} groups do not divide {1} experts", spec.groups,
                spec.experts);
    // A table of 256 numbers an expert.
    bool ranksTokens = spec.select == RouteSpec::Select::ExpertChoice ||
                       (spec.capacity != 0 && spec.dropByWeight);
    if (ranksTokens && spec.experts > 4096)
      return no("experts is {0}, above 4096 where tokens are ranked by expert",
                spec.experts);
    return std::nullopt;
  }
  Reason operator()(const DispatchSpec &spec) const {
    return size("experts", spec.experts, 1 << 16);
  }
  Reason operator()(const CombineSpec &spec) const {
    for (Reason reason : {size("width", spec.width), floats("y", spec.y),
                          floats("out", spec.out)})
      if (reason)
        return reason;
    if (spec.topk < 0 || spec.topk > 1 << 16)
      return no("topk is {0}, outside [0, {1}]", spec.topk, 1 << 16);
    if (spec.residual)
      return floats("residual", spec.residualElement);
    return std::nullopt;
  }
  Reason operator()(const GateHeadsSpec &spec) const {
    for (Reason reason : {size("heads", spec.heads, 1 << 12),
                          size("head_dim", spec.headDim, 1 << 12),
                          size("experts", spec.experts, spec.heads),
                          floats("x", spec.x), floats("out", spec.out)})
      if (reason)
        return reason;
    if (spec.heads % spec.experts)
      return no("heads is {0}, no multiple of experts {1}", spec.heads,
                spec.experts);
    if (spec.topk < 0 || spec.topk > spec.experts)
      return no("topk is {0}, outside [0, {1}]", spec.topk, spec.experts);
    return std::nullopt;
  }
};

} // namespace

Reason CheckKind::rowOp(const RowwiseSpec &spec, size_t number) const {
  const RowOp &op = spec.ops[number];
  using Kind = RowOp::Kind;
  if (Reason reason = size("width", op.width))
    return reason;
  for (int input : op.inputs)
    if (input < 0 || size_t(input) >= number)
      return no("reads operation {0}, which does not come before it", input);
  auto inputWidth = [&](size_t input) {
    return spec.ops[op.inputs[input]].width;
  };
  auto operand = [&](const char *name, int which) -> Reason {
    if (which < 0 || size_t(which) >= spec.operands.size())
      return no("{0} is operand {1} of {2}", name, which, spec.operands.size());
    return std::nullopt;
  };
  auto index = [&]() -> Reason {
    if (Reason reason = operand("index", op.index))
      return reason;
    ElementType element = spec.operands[op.index].element;
    if (element != ElementType::i32)
      return no("index is {0}, expected i32", elementTypeName(element));
    return std::nullopt;
  };
  auto count = [&](size_t least, size_t most) -> Reason {
    if (op.inputs.size() < least || op.inputs.size() > most)
      return no("has {0} inputs, expected {1} to {2}", op.inputs.size(), least,
                most);
    return std::nullopt;
  };
  auto elementwise = [&](size_t inputs) -> Reason {
    if (Reason reason = count(inputs, inputs))
      return reason;
    for (size_t input = 0; input < inputs; ++input)
      if (inputWidth(input) != op.width)
        return no("input {0} has width {1}, expected {2}", input,
                  inputWidth(input), op.width);
    return std::nullopt;
  };
  auto groups = [&]() -> Reason {
    if (op.groups < 1 || op.width % op.groups)
      return no("{0} groups do not divide width {1}", op.groups, op.width);
    if (inputWidth(0) != op.width)
      return no("input 0 has width {0}, expected {1}", inputWidth(0), op.width);
    return std::nullopt;
  };

  switch (op.kind) {
  case Kind::Gather:
    if (Reason reason = index())
      return reason;
    [[fallthrough]];
  case Kind::Load:
  case Kind::LoadRow:
    if (Reason reason = operand("buffer", op.buffer))
      return reason;
    if (ElementType element = spec.operands[op.buffer].element;
        !widens(element))
      return no("operand is {0}, expected f32, bf16 or f16",
                elementTypeName(element));
    return std::nullopt;
  case Kind::Add:
  case Kind::Sub:
  case Kind::Mul:
    if (op.inputs.size() == 2 && inputWidth(0) == op.width &&
        inputWidth(1) == 1)
      return std::nullopt;
    return elementwise(2);
  case Kind::Clamp:
    if (!(op.scalar > 0))
      return no("clamps to {0}, expected more than 0", op.scalar);
    [[fallthrough]];
  case Kind::Scale:
  case Kind::Silu:
  case Kind::GeluTanh:
  case Kind::GeluErf:
  case Kind::QuickGelu:
  case Kind::Relu:
  case Kind::SquaredRelu:
  case Kind::Sigmoid:
  case Kind::Tanh:
    return elementwise(1);
  case Kind::Cast:
    if (Reason reason = floats("element", op.element))
      return reason;
    return elementwise(1);
  case Kind::Slice:
    if (Reason reason = count(1, 1))
      return reason;
    if (op.start < 0 || op.start > inputWidth(0) - op.width)
      return no("columns [{0}, {1}) of a row of {2}", op.start,
                op.start + op.width, inputWidth(0));
    return std::nullopt;
  case Kind::RmsNorm:
  case Kind::LayerNorm: {
    if (Reason reason = count(1, op.kind == Kind::LayerNorm ? 3 : 2))
      return reason;
    if (Reason reason = groups())
      return reason;
    for (size_t input = 1; input < op.inputs.size(); ++input)
      if (inputWidth(input) != op.width / op.groups)
        return no("input {0} has width {1}, expected {2}", input,
                  inputWidth(input), op.width / op.groups);
    return std::nullopt;
  }
  case Kind::Rope: {
    if (Reason reason = count(1, 1))
      return reason;
    if (Reason reason = index())
      return reason;
    if (Reason reason = groups())
      return reason;
    int64_t pairs = op.inverseFrequencies.size();
    if (pairs < 1 || 2 * pairs > op.width / op.groups)
      return no("rotates {0} pairs of heads of {1}", pairs,
                op.width / op.groups);
    return std::nullopt;
  }
  case Kind::JoinHeads: {
    if (Reason reason = count(2, 2))
      return reason;
    int64_t rest = op.width - inputWidth(0);
    if (op.groups < 1 || inputWidth(0) % op.groups || rest < 1 ||
        rest % op.groups ||
        (inputWidth(1) != rest && inputWidth(1) != rest / op.groups))
      return no("joins rows of {0} and {1} to {2} heads of {3} in all",
                inputWidth(0), inputWidth(1), op.groups, op.width);
    return std::nullopt;
  }
  }
  return no("is of unknown kind {0}", int(op.kind));
}

Reason kernel::checkSpec(const AnySpec &spec, bool convertsF16) {
  return std::visit(CheckKind{convertsF16}, spec);
}
