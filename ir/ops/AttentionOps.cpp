#include "ir/ops/AttentionOps.h"

#include "ir/core/Module.h"
#include "ir/ops/Verify.h"

using namespace moec;
using namespace moec::verify;

llvm::Error verify::checkRope(const Operation &op) {
  Value x = op.operand(0);
  const auto &attrs = op.attrs<RopeAttrs>();
  MOEC_TRY(isFloatTensor(op, x, "x")); // C1
  MOEC_TRY(hasRank(op, x, "x", 2));
  MOEC_TRY(isIndex(op, op.operand(1), "positions", {x.type().dim(0)}));
  int64_t width =
      x.type().dim(1).isConstant() ? x.type().dim(1).constant() : -1;
  if (attrs.heads < 1 || width < 0 || width % attrs.heads)
    return opError(op) << "has " << attrs.heads
                       << " heads, which do not divide " << x.type();
  int64_t pairs = attrs.inverseFrequencies.size();
  if (2 * pairs > width / attrs.heads) // C2
    return opError(op) << "rotates " << pairs << " pairs of a head of "
                       << width / attrs.heads;
  return hasShape(op, op.result(), "a result", x.type().shape()); // C3
}

llvm::Error verify::checkJoinHeads(const Operation &op) {
  Value a = op.operand(0), b = op.operand(1);
  for (Value value : {a, b}) {
    MOEC_TRY(isFloatTensor(op, value, "an operand")); // C1
    MOEC_TRY(hasRank(op, value, "an operand", 2));
    if (!value.type().dim(1).isConstant())
      return opError(op) << "expects a constant number of columns, got "
                         << value.type();
  }
  if (a.type().dim(0) != b.type().dim(0))
    return opError(op) << "joins rows of " << a.type() << " and " << b.type();
  int64_t heads = op.attrs<JoinHeadsAttrs>().heads;
  int64_t first = a.type().dim(1).constant(),
          second = b.type().dim(1).constant();
  if (heads < 1 || first % heads) // C2
    return opError(op) << "has " << heads << " heads, which do not divide "
                       << a.type();
  bool isOnePart = op.result().type().rank() == 2 &&
                   op.result().type().dim(1) != Dim(first + second);
  if (!isOnePart && second % heads)
    return opError(op) << "has " << heads << " heads, which do not divide "
                       << b.type();
  std::optional<uint64_t> all = checkedMul(isOnePart ? heads : 1, second);
  if (!all || *all > uint64_t(INT64_MAX - first))
    return opError(op) << "makes rows that are too long";
  return hasShape(op, op.result(), "a result", // C3
                  {a.type().dim(0), Dim(first + int64_t(*all))});
}

/// The three operands that say where tokens live.
static llvm::Error checkPaging(const Operation &op, unsigned first,
                               Dim tokens) {
  Value offsets = op.operand(first + 1), table = op.operand(first + 2);
  MOEC_TRY(isIndex(op, op.operand(first), "positions", {tokens}));
  MOEC_TRY(hasRank(op, table, "a block_table", 2));
  MOEC_TRY(isIndex(op, table, "block_table", table.type().shape()));
  Dim seqs = table.type().dim(0);
  Dim ends = seqs.isConstant() ? Dim(seqs.constant() + 1)
                               : Dim(seqs.symbol(), seqs.addend() + 1);
  return isIndex(op, offsets, "seq_offsets", {ends});
}

llvm::Error verify::checkKvAppend(const Operation &op) {
  Value cache = op.operand(0), x = op.operand(1);
  if (!cache.state() || cache.state()->kind != StateKind::kv) // C1
    return opError(op) << "expects a version of a kv state, got "
                       << cache.type();
  MOEC_TRY(isFloatTensor(op, cache, "the cache"));
  MOEC_TRY(isFloatTensor(op, x, "x"));
  MOEC_TRY(hasRank(op, cache, "a cache", 4));
  MOEC_TRY(hasRank(op, x, "x", 2));
  bool key = op.attrs<KvAppendAttrs>().kind == CacheKind::key;
  Dim heads = cache.type().dim(1), dim = cache.type().dim(key ? 2 : 3);
  if (!heads.isConstant() || !dim.isConstant() ||
      x.type().dim(1) != Dim(heads.constant() * dim.constant()))
    return opError(op) << "appends rows of " << x.type() << " to "
                       << cache.type();
  MOEC_TRY(checkPaging(op, 2, x.type().dim(0))); // C2
  if (op.result().type() != cache.type() ||      // C3
      op.result().state() != cache.state())
    return opError(op) << "makes the next version of its cache, got "
                       << op.result().type() << " from " << cache.type();
  return llvm::Error::success();
}

llvm::Error verify::checkAttention(const Operation &op) {
  Value q = op.operand(0), keys = op.operand(1), values = op.operand(2);
  const auto &attrs = op.attrs<AttentionAttrs>();
  MOEC_TRY(isFloatTensor(op, q, "q")); // C1
  MOEC_TRY(hasRank(op, q, "q", 2));
  MOEC_TRY(hasRank(op, keys, "keys", 4));
  MOEC_TRY(hasRank(op, values, "values", 4));
  const TensorType &k = keys.type(), &v = values.type();
  if (k.dim(0) != v.dim(0) || k.dim(1) != v.dim(1) || k.dim(3) != v.dim(2) ||
      !k.dim(1).isConstant() || !k.dim(2).isConstant() ||
      !v.dim(3).isConstant())
    return opError(op) << "expects keys [blocks, heads, headDim, block] and "
                          "values [blocks, heads, block, valueDim], got "
                       << k << " and " << v;
  std::optional<uint64_t> width;
  if (attrs.heads >= 1)
    width = checkedMul(attrs.heads, k.dim(2).constant());
  if (!width || q.type().dim(1) != Dim(*width))
    return opError(op) << "has " << attrs.heads << " heads of "
                       << k.dim(2).constant() << ", got q " << q.type();
  if (!k.dim(1).constant() || attrs.heads % k.dim(1).constant()) // C2
    return opError(op) << "has " << attrs.heads << " heads over "
                       << k.dim(1).constant() << " cache heads";
  if (attrs.window < 0) // C5
    return opError(op) << "has window " << attrs.window
                       << ", expects 0 or more";
  if (!(attrs.softcap >= 0))
    return opError(op) << "has softcap " << attrs.softcap
                       << ", expects 0 or more";
  MOEC_TRY(checkPaging(op, 3, q.type().dim(0))); // C3
  width = checkedMul(attrs.heads, v.dim(3).constant());
  if (!width)
    return opError(op) << "has " << attrs.heads << " heads of "
                       << v.dim(3).constant() << ", which are too long";
  return hasShape(op, op.result(), "a result", // C4
                  {q.type().dim(0), Dim(*width)});
}
