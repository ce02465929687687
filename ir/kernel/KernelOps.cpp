#include "ir/kernel/KernelOps.h"

#include "ir/ops/Verify.h"

using namespace moec;

static llvm::Error checkKernel(const Operation &op) {
  Block *body = op.body();
  if (!body || body->ops().empty())
    return opError(op) << "has no body";
  if (body->numArguments() != op.numOperands()) // C1
    return opError(op) << "has " << op.numOperands()
                       << " operands, but its body has " << body->numArguments()
                       << " arguments";
  for (unsigned i = 0; i < op.numOperands(); ++i) {
    Value operand = op.operand(i), argument = body->argument(i);
    if (operand.type() != argument.type() ||
        operand.state() != argument.state())
      return opError(op) << "passes " << operand.type() << " to argument " << i
                         << " of type " << argument.type();
  }
  const Operation *yield = body->terminator(); // C2
  if (!yield->is(OpKind::Yield) || yield->numOperands() != op.numResults())
    return opError(op) << "has a body that does not yield " << op.numResults()
                       << " results";
  for (unsigned i = 0; i < op.numResults(); ++i)
    if (yield->operand(i).type() != op.result(i).type() ||
        yield->operand(i).state() != op.result(i).state())
      return opError(op) << "yields " << yield->operand(i).type()
                         << " for result " << i << " of type "
                         << op.result(i).type();
  for (const Operation &inner : body->ops()) // C3
    if (isKernel(inner))
      return opError(inner) << "stands in the body of a kernel";
  return llvm::Error::success();
}

#define KERNEL(Name)                                                           \
  llvm::Error verify::check##Name(const Operation &op) {                       \
    return checkKernel(op);                                                    \
  }
KERNEL(KernelAttention)
KERNEL(KernelCombine)
KERNEL(KernelDispatch)
KERNEL(KernelGateHeads)
KERNEL(KernelGemm)
KERNEL(KernelKvAppend)
KERNEL(KernelRaggedGemm)
KERNEL(KernelRoute)
KERNEL(KernelRowwise)
#undef KERNEL
