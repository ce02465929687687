//===- AnySpec.cpp --------------------------------------------------------===//

#include "codegen/emit/AnySpec.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

using namespace llvm;
using namespace moec;
using namespace moec::kernel;

namespace {

/// Prints fields as ` name=value`; doubles exactly, in hexadecimal.
class FieldPrinter {
public:
  FieldPrinter(std::string &text, StringRef kind) : os(text) { os << kind; }

  FieldPrinter &field(StringRef name, int64_t value) {
    os << ' ' << name << '=' << value;
    return *this;
  }
  FieldPrinter &field(StringRef name, double value) {
    os << ' ' << name << '=' << format("%a", value);
    return *this;
  }
  FieldPrinter &field(StringRef name, ElementType value) {
    os << ' ' << name << '=' << elementTypeName(value);
    return *this;
  }
  FieldPrinter &flag(StringRef name, bool value) {
    if (value)
      os << ' ' << name;
    return *this;
  }

  raw_string_ostream os;
};

void describeOp(raw_ostream &os, const RowOp &op) {
  os << " (" << int(op.kind) << " [";
  interleave(op.inputs, os, ",");
  os << "] " << op.buffer << ' ' << op.index << ' ' << op.width << ' '
     << op.start << ' ' << op.groups << ' ' << format("%a", op.scalar) << ' '
     << elementTypeName(op.element) << ' ' << int(op.interleaved) << " [";
  interleave(
      op.inverseFrequencies, os,
      [&](double frequency) { os << format("%a", frequency); }, ",");
  os << ']';
  if (op.magnitude != 1)
    os << " magnitude=" << format("%a", op.magnitude);
  os << ')';
}

struct Describe {
  std::string operator()(const RowwiseSpec &spec) const {
    std::string text;
    FieldPrinter p(text, "rowwise");
    for (const RowwiseSpec::Operand &operand : spec.operands)
      p.field("in", operand.element);
    for (const RowOp &op : spec.ops)
      describeOp(p.os, op);
    for (const RowwiseSpec::Store &store : spec.stores)
      p.field("out", int64_t(store.op)).field("as", store.element);
    return text;
  }
  std::string operator()(const GemmSpec &spec) const {
    std::string text;
    FieldPrinter(text, "gemm")
        .field("n", spec.n)
        .field("k", spec.k)
        .field("a", spec.a)
        .field("w", spec.w)
        .field("out", spec.out)
        .field("activation", int64_t(spec.activation))
        .flag("row_index", spec.rowIndex)
        .flag("bias", spec.bias)
        .flag("gated", spec.gated)
        .flag("residual", spec.residual)
        .field("residual_element", spec.residualElement);
    return text;
  }
  std::string operator()(const RaggedGemmSpec &spec) const {
    std::string text;
    FieldPrinter(text, spec.form == RaggedGemmSpec::Form::Grouped
                           ? "grouped_gemm"
                           : "direct_gemm")
        .field("experts", spec.experts)
        .field("topk", spec.topk)
        .field("n", spec.n)
        .field("k", spec.k)
        .field("a", spec.a)
        .field("w", spec.w)
        .field("out", spec.out)
        .field("activation", int64_t(spec.activation))
        .flag("gather", spec.gather)
        .flag("bias", spec.bias)
        .flag("gated", spec.gated)
        .flag("weighted", spec.weighted);
    return text;
  }
  std::string operator()(const KvAppendSpec &spec) const {
    std::string text;
    FieldPrinter(text, "kv_append")
        .flag("key", spec.key)
        .field("heads", spec.heads)
        .field("head_dim", spec.headDim)
        .field("block_size", spec.blockSize)
        .field("x", spec.x)
        .field("cache", spec.cache);
    return text;
  }
  std::string operator()(const AttentionSpec &spec) const {
    std::string text;
    FieldPrinter printer(text, "attention");
    printer.field("heads", spec.heads)
        .field("kv_heads", spec.kvHeads)
        .field("head_dim", spec.headDim)
        .field("block_size", spec.blockSize)
        .field("window", spec.window)
        .field("scale", spec.scale)
        .field("q", spec.q)
        .field("cache", spec.cache)
        .field("out", spec.out);
    if (spec.valueWidth() != spec.headDim)
      printer.field("value_dim", spec.valueDim);
    if (spec.softcap)
      printer.field("softcap", spec.softcap);
    return text;
  }
  std::string operator()(const RouteSpec &spec) const {
    std::string text;
    FieldPrinter(text, "route")
        .field("experts", spec.experts)
        .field("topk", spec.topk)
        .field("score", int64_t(spec.score))
        .field("renorm", int64_t(spec.renorm))
        .field("renorm_epsilon", spec.renormEpsilon)
        .field("scale", spec.scale)
        .flag("select_bias", spec.selectBias)
        .flag("counts", spec.counts)
        .flag("zscore", spec.zscore)
        .field("logit_scale", spec.logitScale)
        .field("groups", spec.groups)
        .field("top_groups", spec.topGroups)
        .field("group_summed", spec.groupSummed)
        .flag("mask_zero", spec.maskZero)
        .field("select", int64_t(spec.select))
        .field("threshold", spec.threshold)
        .field("renorm_minimum", spec.renormMinimum)
        .field("capacity", spec.capacity)
        .flag("drop_by_weight", spec.dropByWeight);
    return text;
  }
  std::string operator()(const DispatchSpec &spec) const {
    std::string text;
    FieldPrinter(text, "dispatch")
        .field("experts", spec.experts)
        .flag("ragged", spec.ragged);
    return text;
  }
  std::string operator()(const CombineSpec &spec) const {
    std::string text;
    FieldPrinter(text, "combine")
        .field("topk", spec.topk)
        .field("width", spec.width)
        .flag("weighted", spec.weighted)
        .flag("residual", spec.residual)
        .field("y", spec.y)
        .field("residual_element", spec.residualElement)
        .field("out", spec.out);
    return text;
  }
  std::string operator()(const GateHeadsSpec &spec) const {
    std::string text;
    FieldPrinter(text, "gate_heads")
        .field("heads", spec.heads)
        .field("head_dim", spec.headDim)
        .field("experts", spec.experts)
        .field("topk", spec.topk)
        .field("x", spec.x)
        .field("out", spec.out);
    return text;
  }
};

struct CountBuffers {
  unsigned operator()(const RowwiseSpec &spec) const {
    return spec.operands.size() + spec.stores.size();
  }
  unsigned operator()(const GemmSpec &spec) const {
    return 3 + spec.rowIndex + spec.bias + spec.residual;
  }
  unsigned operator()(const RaggedGemmSpec &spec) const {
    unsigned routing = spec.form == RaggedGemmSpec::Form::Grouped ? 2 : 1;
    return 3 + routing + spec.searchesToken() + spec.bias + spec.weighted;
  }
  unsigned operator()(const KvAppendSpec &) const { return 5; }
  unsigned operator()(const AttentionSpec &) const { return 7; }
  unsigned operator()(const RouteSpec &spec) const {
    return 3 + spec.selectBias + spec.counts + spec.ragged();
  }
  unsigned operator()(const DispatchSpec &) const { return 3; }
  unsigned operator()(const CombineSpec &spec) const {
    return 2 + (spec.topk == 0) + spec.weighted + spec.residual;
  }
  unsigned operator()(const GateHeadsSpec &spec) const {
    return 4 + (spec.topk == 0);
  }
};

struct CountExtents {
  unsigned operator()(const KvAppendSpec &) const { return 3; }
  unsigned operator()(const AttentionSpec &) const { return 3; }
  unsigned operator()(const RaggedGemmSpec &spec) const {
    return 1 + spec.searchesToken();
  }
  unsigned operator()(const RouteSpec &spec) const { return 1 + spec.ragged(); }
  template <typename Spec> unsigned operator()(const Spec &) const { return 1; }
};

} // namespace

std::string kernel::describe(const AnySpec &spec) {
  return std::visit(Describe(), spec);
}

std::string kernel::name(const AnySpec &spec) {
  std::string text = describe(spec);
  StringRef kind = StringRef(text).take_until([](char c) { return c == ' '; });
  return formatv(
             "moec_{0}_{1:x-16}", kind,
             xxh3_64bits(ArrayRef(
                 reinterpret_cast<const uint8_t *>(text.data()), text.size())))
      .str();
}

unsigned kernel::bufferCount(const AnySpec &spec) {
  return std::visit(CountBuffers(), spec);
}

unsigned kernel::extentCount(const AnySpec &spec) {
  return std::visit(CountExtents(), spec);
}
