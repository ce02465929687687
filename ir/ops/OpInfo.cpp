#include "ir/ops/OpInfo.h"

#include "ir/kernel/KernelOps.h"
#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeOps.h"
#include "ir/ops/TensorOps.h"
#include "ir/ops/Verify.h"
#include "llvm/ADT/StringMap.h"

using namespace moec;

template <typename Attrs> static std::unique_ptr<Attributes> makeAttrs() {
  return std::make_unique<Attrs>();
}

const OpInfo &moec::infoOf(OpKind kind) {
  static const OpInfo table[] = {
#define OP(Name, Mnemonic, Attrs, MinOperands, MaxOperands, Results)           \
  {Mnemonic, MinOperands,       MaxOperands,                                   \
   Results,  &makeAttrs<Attrs>, &verify::check##Name},
#include "ir/ops/Ops.def"
  };
  return table[static_cast<unsigned>(kind)];
}

std::optional<OpKind> moec::parseOpKind(llvm::StringRef mnemonic) {
  static const llvm::StringMap<OpKind> kinds = {
#define OP(Name, Mnemonic, ...) {Mnemonic, OpKind::Name},
#include "ir/ops/Ops.def"
  };
  auto at = kinds.find(mnemonic);
  if (at == kinds.end())
    return std::nullopt;
  return at->second;
}

std::optional<unsigned> moec::inPlaceOperand(const Operation &op,
                                             unsigned result) {
  if (op.is(OpKind::KvAppend) || op.is(OpKind::MoeCount))
    return 0;
  if (!isKernel(op) || !op.result(result).state())
    return std::nullopt;
  // The operand that is a version of the same state.
  for (unsigned i = 0; i < op.numOperands(); ++i)
    if (op.operand(i).state() == op.result(result).state())
      return i;
  return std::nullopt;
}

bool moec::isPure(const Operation &op) {
  return !op.is(OpKind::Return) && !op.is(OpKind::Yield);
}

ErrorBuilder moec::opError(const Operation &op) {
  return error(op.loc()) << "'" << op.mnemonic() << "' ";
}

llvm::Error verify::isFloatTensor(const Operation &op, Value value,
                                  llvm::StringRef what) {
  // A weight may stay quantised; the body of a kernel reads it as an argument.
  bool weight =
      value.weight() || (value.argumentOf() && value.argumentOf()->parentOp);
  if (isFloat(value.type().element()) ||
      (weight && value.type().element() == ElementType::q8_0))
    return llvm::Error::success();
  return opError(op) << "expects " << what << " to be a float tensor, got "
                     << value.type();
}

llvm::Error verify::hasRank(const Operation &op, Value value,
                            llvm::StringRef what, unsigned rank) {
  if (value.type().rank() == rank)
    return llvm::Error::success();
  return opError(op) << "expects " << what << " of rank " << rank << ", got "
                     << value.type();
}

llvm::Error verify::hasShape(const Operation &op, Value value,
                             llvm::StringRef what, llvm::ArrayRef<Dim> shape) {
  if (value.type().shape() == shape)
    return llvm::Error::success();
  return opError(op) << "expects " << what << " of shape "
                     << TensorType(shape, value.type().element()) << ", got "
                     << value.type();
}

llvm::Error verify::isIndex(const Operation &op, Value value,
                            llvm::StringRef what, llvm::ArrayRef<Dim> shape) {
  if (value.type().element() != ElementType::i32)
    return opError(op) << "expects " << what << " of i32, got " << value.type();
  return hasShape(op, value, what, shape);
}
