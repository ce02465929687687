// Long because: there is one case for each kernel op, alike in form.
#include "codegen/package/BindKernel.h"

#include "ir/kernel/KernelOps.h"
#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeOps.h"
#include "ir/ops/OpInfo.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;
using namespace moec::kernel;

namespace {
class Binder {
public:
  explicit Binder(const Operation &op) : op(op), body(*op.body()) {
    for (unsigned i = 0; i < op.numOperands(); ++i)
      outer[body.argument(i)] = op.operand(i);
    const Operation *yield = body.terminator();
    for (unsigned i = 0; i < op.numResults(); ++i)
      outer[yield->operand(i)] = op.result(i);
  }

  llvm::Expected<BoundKernel> run();

private:
  ErrorBuilder fail(llvm::StringRef expected) const {
    return std::move(opError(op) << "has a body that is not " << expected);
  }
  void bind(Value inner) { bindAs(inner, inner.type().element()); }
  void bindAs(Value inner, ElementType element) {
    bound.buffers.push_back({outer.lookup(inner)});
    bound.elements.push_back(element);
  }
  void bindWeight(llvm::ArrayRef<Value> inner) {
    bound.weightBuffer = bound.buffers.size();
    bound.buffers.emplace_back();
    bound.elements.push_back(inner[0].type().element());
    for (Value value : inner)
      bound.buffers.back().push_back(outer.lookup(value));
  }
  void extent(Value value, unsigned dim = 0) {
    bound.extents.push_back(value.type().dim(dim).polynomial().hostBound());
  }
  const Operation *find(OpKind kind) const {
    for (const Operation &inner : body.ops())
      if (inner.is(kind))
        return &inner;
    return nullptr;
  }
  /// The one op that reads a value, if it is of this kind.
  const Operation *reader(Value value, OpKind kind) const {
    if (!value.hasOneUse() || !value.users()[0]->is(kind))
      return nullptr;
    return value.users()[0];
  }

  /// What follows a product: activation, times up, weight of the pair,
  /// residual, cast.
  struct Epilogue {
    kernel::Activation activation = kernel::Activation::None;
    const Operation *up = nullptr;
    Value weight;
    Value residual;
    Value result;
  };
  Epilogue epilogue(const Operation &product) const;
  const Operation *gateOf(OpKind kind) const;

  llvm::Error gemm();
  llvm::Error raggedGemm();
  llvm::Error rowwise();
  llvm::Error addRowOp(const Operation &inner, RowwiseSpec &spec);
  llvm::Error attention();
  llvm::Error kvAppend();
  llvm::Error route();
  llvm::Error dispatch();
  llvm::Error combine();
  llvm::Error gateHeads();
  int64_t pairsPerToken(Value offsets) const;

  const Operation &op;
  Block &body;
  llvm::DenseMap<Value, Value> outer;
  BoundKernel bound;
  // Row-wise kernels: the row op that holds a value, the buffer of an operand.
  llvm::DenseMap<Value, int> rowOps;
  llvm::DenseMap<Value, int> rowBuffers;
};
} // namespace

static kernel::Activation activationOf(const Operation &op) {
  switch (op.attrs<ActivationAttrs>().fn) {
  case ActivationFn::silu:
    return kernel::Activation::Silu;
  case ActivationFn::gelu_tanh:
    return kernel::Activation::GeluTanh;
  case ActivationFn::gelu_erf:
    return kernel::Activation::GeluErf;
  case ActivationFn::quick_gelu:
    return kernel::Activation::QuickGelu;
  case ActivationFn::relu:
    return kernel::Activation::Relu;
  case ActivationFn::squared_relu:
    return kernel::Activation::SquaredRelu;
  default:
    return kernel::Activation::None;
  }
}

Binder::Epilogue Binder::epilogue(const Operation &product) const {
  Epilogue result;
  Value at = product.result();
  if (const Operation *act = reader(at, OpKind::Activation)) {
    result.activation = activationOf(*act);
    at = act->result();
    if (const Operation *mul = reader(at, OpKind::Mul)) {
      result.up = mul->operand(mul->operand(0) == at).definingOp();
      at = mul->result();
    }
  }
  if (const Operation *weigh = reader(at, OpKind::MoeWeigh)) {
    result.weight = weigh->operand(1);
    at = weigh->result();
  }
  if (const Operation *add = reader(at, OpKind::Add)) {
    result.residual = add->operand(add->operand(0) == at);
    at = add->result();
  }
  if (const Operation *cast = reader(at, OpKind::Cast))
    at = cast->result();
  result.result = at;
  return result;
}

/// The product whose result is activated, or the only one.
const Operation *Binder::gateOf(OpKind kind) const {
  const Operation *last = nullptr;
  for (const Operation &inner : body.ops())
    if (inner.is(kind)) {
      if (reader(inner.result(), OpKind::Activation))
        return &inner;
      last = &inner;
    }
  return last;
}

llvm::Error Binder::gemm() {
  const Operation *product = gateOf(OpKind::Linear);
  if (!product)
    return fail("a linear");
  Epilogue end = epilogue(*product);
  GemmSpec spec;
  Value a = product->operand(0), w = product->operand(1);
  spec.n = w.type().dim(0).constant();
  spec.k = w.type().dim(1).constant();
  spec.a = a.type().element();
  spec.w = w.type().element();
  spec.out = end.result.type().element();
  spec.bias = product->numOperands() == 3;
  spec.gated = end.up;
  if (spec.gated && (spec.bias || end.up->numOperands() == 3))
    return fail("gate and up without biases");
  spec.activation = end.activation;
  spec.residual = bool(end.residual);
  bind(a);
  if (end.up)
    bindWeight({w, end.up->operand(1)});
  else
    bindWeight({w});
  if (spec.bias)
    bindAs(product->operand(2), ElementType::f32);
  if (end.residual) {
    spec.residualElement = end.residual.type().element();
    bind(end.residual);
  }
  if (!outer.lookup(end.result))
    return fail("a linear with activation, residual and cast, in this order");
  bind(end.result);
  extent(a);
  bound.spec = spec;
  return llvm::Error::success();
}

/// How many pairs each token has; 0 where that varies, or is not known.
int64_t Binder::pairsPerToken(Value offsets) const {
  Operation *route = outer.lookup(offsets).definingOp();
  if (!route || !route->is(OpKind::KernelRoute))
    return 0;
  for (const Operation &inner : route->body()->ops())
    if (inner.is(OpKind::MoeRoute)) {
      const auto &attrs = inner.attrs<RouteAttrs>();
      return attrs.constantStride() ? attrs.k : 0;
    }
  return 0;
}

llvm::Error Binder::raggedGemm() {
  const Operation *product = gateOf(OpKind::MoeGroupedLinear);
  if (!product)
    return fail("a moe.grouped_linear");
  Epilogue end = epilogue(*product);
  RaggedGemmSpec spec;
  Value a = product->operand(0), offsets = product->operand(1),
        expert = product->operand(2), w = product->operand(3);
  spec.form = op.attrs<KernelAttrs>().form == RaggedForm::grouped
                  ? RaggedGemmSpec::Form::Grouped
                  : RaggedGemmSpec::Form::Direct;
  spec.experts = w.type().dim(0).constant();
  spec.n = w.type().dim(1).constant();
  spec.k = w.type().dim(2).constant();
  spec.a = a.type().element();
  spec.w = w.type().element();
  spec.out = end.result.type().element();
  spec.gather = product->attrs<GroupedLinearAttrs>().gather;
  spec.bias = product->numOperands() == 5;
  spec.gated = end.up;
  if (spec.gated && (spec.bias || end.up->numOperands() == 5))
    return fail("gate and up without biases");
  spec.activation = end.activation;
  spec.topk = pairsPerToken(offsets);
  spec.weighted = bool(end.weight);
  bind(a);
  if (spec.form == RaggedGemmSpec::Form::Grouped) {
    unsigned last = body.numArguments();
    bind(body.argument(last - 2));
    bind(body.argument(last - 1));
  } else {
    bind(expert);
  }
  if (spec.searchesToken())
    bind(offsets);
  if (end.up)
    bindWeight({w, end.up->operand(3)});
  else
    bindWeight({w});
  if (spec.bias)
    bindAs(product->operand(4), ElementType::f32);
  if (end.weight)
    bind(end.weight);
  if (!outer.lookup(end.result) || end.residual)
    return fail("a moe.grouped_linear with activation, weight and cast, in "
                "this order");
  bind(end.result);
  extent(expert);
  if (spec.searchesToken())
    extent(a);
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::addRowOp(const Operation &inner, RowwiseSpec &spec) {
  RowOp row;
  auto bufferOf = [&](Value value) {
    auto [at, isNew] = rowBuffers.try_emplace(value, spec.operands.size());
    if (isNew) {
      // Rows of a quantised table are decoded when the table is loaded.
      ElementType element = value.type().element();
      if (isBlockQuantized(element))
        element = ElementType::f32;
      spec.operands.push_back({element});
      bindAs(value, element);
    }
    return at->second;
  };
  auto inputOf = [&](Value value) -> int {
    auto at = rowOps.find(value);
    if (at != rowOps.end())
      return at->second;
    RowOp load;
    load.kind =
        value.type().rank() == 1 ? RowOp::Kind::LoadRow : RowOp::Kind::Load;
    load.buffer = bufferOf(value);
    load.width = value.type().dim(-1).constant();
    spec.ops.push_back(load);
    return rowOps[value] = spec.ops.size() - 1;
  };
  // A number a row, of rank 1.
  auto columnOf = [&](Value value) -> int {
    RowOp load;
    load.kind = RowOp::Kind::Load;
    load.buffer = bufferOf(value);
    load.width = 1;
    spec.ops.push_back(load);
    return spec.ops.size() - 1;
  };
  row.width = inner.result().type().dim(1).constant();
  switch (inner.kind()) {
  case OpKind::Embedding:
  case OpKind::GatherRows:
    row.kind = RowOp::Kind::Gather;
    row.buffer = bufferOf(inner.operand(0));
    row.index = bufferOf(inner.operand(1));
    break;
  case OpKind::Add:
  case OpKind::Sub:
  case OpKind::Mul:
    row.kind = inner.is(OpKind::Add)   ? RowOp::Kind::Add
               : inner.is(OpKind::Sub) ? RowOp::Kind::Sub
                                       : RowOp::Kind::Mul;
    row.inputs = {inputOf(inner.operand(0)), inputOf(inner.operand(1))};
    break;
  case OpKind::MoeWeigh:
    row.kind = RowOp::Kind::Mul;
    row.inputs = {inputOf(inner.operand(0)), columnOf(inner.operand(1))};
    break;
  case OpKind::Scale:
    row.kind = RowOp::Kind::Scale;
    row.scalar = inner.attrs<ScaleAttrs>().factor;
    row.inputs = {inputOf(inner.operand(0))};
    break;
  case OpKind::Cast:
    row.kind = RowOp::Kind::Cast;
    row.element = inner.result().type().element();
    row.inputs = {inputOf(inner.operand(0))};
    break;
  case OpKind::Clamp:
    row.kind = RowOp::Kind::Clamp;
    row.scalar = inner.attrs<ClampAttrs>().limit;
    row.inputs = {inputOf(inner.operand(0))};
    break;
  case OpKind::JoinHeads:
    row.kind = RowOp::Kind::JoinHeads;
    row.groups = inner.attrs<JoinHeadsAttrs>().heads;
    row.inputs = {inputOf(inner.operand(0)), inputOf(inner.operand(1))};
    break;
  case OpKind::Slice:
    row.kind = RowOp::Kind::Slice;
    row.start = inner.attrs<SliceAttrs>().start;
    row.inputs = {inputOf(inner.operand(0))};
    break;
  case OpKind::RmsNorm:
    row.kind = RowOp::Kind::RmsNorm;
    row.scalar = inner.attrs<RmsNormAttrs>().epsilon;
    row.groups = inner.attrs<RmsNormAttrs>().groups;
    row.inputs = {inputOf(inner.operand(0)), inputOf(inner.operand(1))};
    break;
  case OpKind::LayerNorm:
    row.kind = RowOp::Kind::LayerNorm;
    row.scalar = inner.attrs<LayerNormAttrs>().epsilon;
    row.inputs = {inputOf(inner.operand(0)), inputOf(inner.operand(1)),
                  inputOf(inner.operand(2))};
    break;
  case OpKind::Rope: {
    const auto &attrs = inner.attrs<RopeAttrs>();
    row.kind = RowOp::Kind::Rope;
    row.groups = attrs.heads;
    row.interleaved = attrs.interleaved;
    row.inverseFrequencies = attrs.inverseFrequencies;
    row.magnitude = attrs.magnitude;
    row.inputs = {inputOf(inner.operand(0))};
    row.index = bufferOf(inner.operand(1));
    break;
  }
  case OpKind::Activation: {
    static constexpr RowOp::Kind kinds[] = {
        RowOp::Kind::Silu,      RowOp::Kind::GeluTanh, RowOp::Kind::GeluErf,
        RowOp::Kind::QuickGelu, RowOp::Kind::Relu,     RowOp::Kind::SquaredRelu,
        RowOp::Kind::Sigmoid,   RowOp::Kind::Tanh};
    row.kind = kinds[unsigned(inner.attrs<ActivationAttrs>().fn)];
    row.inputs = {inputOf(inner.operand(0))};
    break;
  }
  default:
    return fail("row-wise ops only");
  }
  spec.ops.push_back(row);
  // A result that is not f32 is rounded where it is read again.
  Value result = inner.result();
  rowOps[result] = spec.ops.size() - 1;
  if (row.kind != RowOp::Kind::Cast &&
      result.type().element() != ElementType::f32) {
    RowOp cast;
    cast.kind = RowOp::Kind::Cast;
    cast.width = row.width;
    cast.element = result.type().element();
    cast.inputs = {rowOps[result]};
    spec.ops.push_back(cast);
    rowOps[result] = spec.ops.size() - 1;
  }
  return llvm::Error::success();
}

llvm::Error Binder::rowwise() {
  RowwiseSpec spec;
  for (const Operation &inner : body.ops())
    if (!inner.is(OpKind::Yield))
      MOEC_TRY(addRowOp(inner, spec));
  for (Value yielded : body.terminator()->operands()) {
    spec.stores.push_back({rowOps.lookup(yielded), yielded.type().element()});
    bind(yielded);
  }
  bound.extents.push_back(op.result().type().dim(0).polynomial().hostBound());
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::attention() {
  const Operation *inner = find(OpKind::Attention);
  if (!inner)
    return fail("an attention");
  const auto &attrs = inner->attrs<AttentionAttrs>();
  AttentionSpec spec;
  const TensorType &keys = inner->operand(1).type();
  Value result = inner->result();
  if (const Operation *cast = reader(result, OpKind::Cast))
    result = cast->result();
  spec.heads = attrs.heads;
  spec.kvHeads = keys.dim(1).constant();
  spec.headDim = keys.dim(2).constant();
  int64_t valueDim = inner->operand(2).type().dim(3).constant();
  spec.valueDim = valueDim == spec.headDim ? 0 : valueDim;
  spec.blockSize = keys.dim(3).constant();
  spec.window = attrs.window;
  spec.scale = attrs.scale;
  spec.softcap = attrs.softcap;
  spec.q = inner->operand(0).type().element();
  spec.cache = keys.element();
  spec.out = result.type().element();
  for (Value operand : inner->operands())
    bind(operand);
  bind(result);
  extent(inner->operand(0));
  extent(inner->operand(5), 0);
  extent(inner->operand(5), 1);
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::kvAppend() {
  const Operation *inner = find(OpKind::KvAppend);
  if (!inner)
    return fail("a kv_append");
  KvAppendSpec spec;
  const TensorType &cache = inner->operand(0).type();
  spec.key = inner->attrs<KvAppendAttrs>().kind == CacheKind::key;
  spec.heads = cache.dim(1).constant();
  spec.headDim = cache.dim(spec.key ? 2 : 3).constant();
  spec.blockSize = cache.dim(spec.key ? 3 : 2).constant();
  spec.x = inner->operand(1).type().element();
  spec.cache = cache.element();
  for (Value operand : inner->operands())
    bind(operand);
  extent(inner->operand(1));
  extent(inner->operand(4), 0);
  extent(inner->operand(4), 1);
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::route() {
  const Operation *inner = find(OpKind::MoeRoute);
  const Operation *count = find(OpKind::MoeCount);
  if (!inner)
    return fail("a moe.route");
  const auto &attrs = inner->attrs<RouteAttrs>();
  RouteSpec spec;
  spec.experts = inner->operand(0).type().dim(1).constant();
  spec.topk = attrs.k;
  spec.score = RouteSpec::Score(attrs.score);
  spec.renorm = RouteSpec::Renorm(attrs.renorm);
  spec.renormEpsilon = attrs.epsilon;
  spec.renormMinimum = attrs.minimum;
  spec.scale = attrs.scale;
  spec.selectBias = inner->numOperands() == 2;
  spec.counts = count;
  spec.zscore = attrs.logitNorm == LogitNorm::zscore;
  spec.logitScale = attrs.logitScale;
  spec.groups = attrs.groups;
  spec.topGroups = attrs.topGroups;
  if (attrs.groups > 1) {
    spec.groupSummed = attrs.groupScore == GroupScore::max ? 1
                       : attrs.groupScore == GroupScore::sum_top2
                           ? 2
                           : attrs.k / attrs.topGroups;
    spec.maskZero = attrs.maskValue == MaskValue::zero;
  }
  spec.select = RouteSpec::Select(attrs.select);
  spec.threshold = attrs.threshold;
  if (attrs.thresholdByExperts)
    spec.threshold /= double(spec.experts);
  spec.capacity = attrs.capacity;
  spec.dropByWeight = attrs.capacity != 0 && attrs.drop == DropPolicy::weight;
  for (Value operand : inner->operands())
    bind(operand);
  if (count)
    bind(count->operand(0));
  if (spec.ragged())
    bind(inner->result(0));
  bind(inner->result(1));
  bind(inner->result(2));
  extent(inner->operand(0));
  if (spec.ragged())
    extent(inner->result(1));
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::dispatch() {
  const Operation *inner = find(OpKind::MoeDispatch);
  if (!inner)
    return fail("a moe.dispatch");
  DispatchSpec spec;
  spec.experts = inner->attrs<MoeDispatchAttrs>().experts;
  // Only a route leaves pairs out.
  Operation *route = outer.lookup(inner->operand(0)).definingOp();
  if (route && route->is(OpKind::KernelRoute))
    for (const Operation &op : route->body()->ops())
      if (op.is(OpKind::MoeRoute))
        spec.ragged = !op.attrs<RouteAttrs>().constantStride();
  bind(inner->operand(0));
  bind(inner->result(0));
  bind(inner->result(1));
  extent(inner->operand(0));
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::combine() {
  const Operation *inner = find(OpKind::MoeCombine);
  if (!inner)
    return fail("a moe.combine");
  CombineSpec spec;
  Value y = inner->operand(0);
  spec.topk = pairsPerToken(inner->operand(1));
  spec.width = y.type().dim(1).constant();
  spec.weighted = inner->numOperands() == 3;
  spec.y = y.type().element();
  Value result = inner->result(), residual;
  if (const Operation *add = reader(result, OpKind::Add)) {
    residual = add->operand(add->operand(0) == result);
    result = add->result();
  }
  if (const Operation *cast = reader(result, OpKind::Cast))
    result = cast->result();
  spec.out = result.type().element();
  bind(y);
  if (spec.topk == 0)
    bind(inner->operand(1));
  if (spec.weighted)
    bind(inner->operand(2));
  if (residual) {
    spec.residual = true;
    spec.residualElement = residual.type().element();
    bind(residual);
  }
  bind(result);
  extent(inner->result());
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Error Binder::gateHeads() {
  const Operation *inner = find(OpKind::MoeGateHeads);
  if (!inner)
    return fail("a moe.gate_heads");
  const auto &attrs = inner->attrs<GateHeadsAttrs>();
  GateHeadsSpec spec;
  Value x = inner->operand(0), result = inner->result();
  if (const Operation *cast = reader(result, OpKind::Cast))
    result = cast->result();
  spec.heads = attrs.heads;
  spec.headDim = x.type().dim(1).constant() / attrs.heads;
  spec.experts = attrs.experts;
  spec.topk = pairsPerToken(inner->operand(1));
  spec.x = x.type().element();
  spec.out = result.type().element();
  bind(x);
  if (spec.topk == 0)
    bind(inner->operand(1));
  bind(inner->operand(2));
  bind(inner->operand(3));
  bind(result);
  extent(x);
  bound.spec = spec;
  return llvm::Error::success();
}

llvm::Expected<BoundKernel> Binder::run() {
  auto dispatchByKind = [&]() -> llvm::Error {
    switch (op.kind()) {
    case OpKind::KernelAttention:
      return attention();
    case OpKind::KernelCombine:
      return combine();
    case OpKind::KernelDispatch:
      return dispatch();
    case OpKind::KernelGateHeads:
      return gateHeads();
    case OpKind::KernelGemm:
      return gemm();
    case OpKind::KernelKvAppend:
      return kvAppend();
    case OpKind::KernelRaggedGemm:
      return raggedGemm();
    case OpKind::KernelRoute:
      return route();
    case OpKind::KernelRowwise:
      return rowwise();
    default:
      return opError(op) << "is no kernel op";
    }
  };
  MOEC_TRY(dispatchByKind());
  for (auto &values : bound.buffers)
    for (Value value : values)
      if (!value)
        return fail("one that reads operands and makes results only");
  return std::move(bound);
}

llvm::Expected<BoundKernel> moec::bindKernel(const Operation &op) {
  return Binder(op).run();
}
