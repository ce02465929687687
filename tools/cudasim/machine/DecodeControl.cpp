//===- DecodeControl.cpp - warps, barriers, branches and calls ------------===//

#include "tools/cudasim/machine/Decoder.h"

#include "llvm/ADT/StringSwitch.h"

using namespace cudasim;
using llvm::Error;
using llvm::StringRef;
using ptx::OperandKind;

Error Decoder::warpOp() {
  Instr &instr = draft.instr;
  size_t count = now->operands.size();
  auto need = [&](size_t wanted) -> Error {
    if (count != wanted)
      return fail() << "expected " << wanted << " operands, found " << count;
    return Error::success();
  };
  instr.flow = Flow::Sync;
  switch (form.op) {
  case Op::Activemask:
    MOEC_TRY(need(1));
    instr.flow = Flow::Next;
    MOEC_TRY(result(now->operands[0], 0, 32));
    return finish();
  case Op::Shfl: {
    MOEC_TRY(need(5));
    key.sub =
        llvm::StringSwitch<uint8_t>(form.oneOf({"up", "down", "bfly", "idx"}))
            .Case("up", 0)
            .Case("down", 1)
            .Case("bfly", 2)
            .Default(3);
    const Operand &target = now->operands[0];
    instr.ops[1] = kSink;
    if (target.kind == OperandKind::Pair) {
      MOEC_TRY(result(target.elements[0], 0, 32));
      MOEC_TRY(predicateResult(target.elements[1], 1));
    } else {
      MOEC_TRY(result(target, 0, 32));
    }
    for (unsigned i = 1; i < 4; ++i)
      MOEC_TRY(source(now->operands[i], i + 1, 32, false));
    MOEC_TRY(source(now->operands[4], 7, 32, false));
    return finish();
  }
  case Op::Vote:
    MOEC_TRY(need(3));
    key.sub = form.has("all")   ? 0
              : form.has("any") ? 1
              : form.has("uni") ? 2
                                : 3;
    if (key.sub == 3) {
      MOEC_TRY(result(now->operands[0], 0, 32));
    } else {
      MOEC_TRY(predicateResult(now->operands[0], 0));
    }
    MOEC_TRY(predicateSource(now->operands[1], 1));
    MOEC_TRY(source(now->operands[2], 7, 32, false));
    return finish();
  case Op::Match: {
    MOEC_TRY(need(3));
    key.sub = form.has("all");
    const Operand &target = now->operands[0];
    instr.ops[1] = kSink;
    if (target.kind == OperandKind::Pair && key.sub) {
      MOEC_TRY(result(target.elements[0], 0, 32));
      MOEC_TRY(predicateResult(target.elements[1], 1));
    } else {
      MOEC_TRY(result(target, 0, 32));
    }
    MOEC_TRY(source(now->operands[1], 2, typeBits(form.firstType()), false));
    MOEC_TRY(source(now->operands[2], 7, 32, false));
    return finish();
  }
  case Op::Redux:
    MOEC_TRY(need(3));
    key.sub = llvm::StringSwitch<uint8_t>(
                  form.oneOf({"add", "and", "or", "xor", "min", "max"}))
                  .Case("add", 0)
                  .Case("and", 1)
                  .Case("or", 2)
                  .Case("xor", 3)
                  .Case("min", 4)
                  .Default(5);
    instr.sub = uint8_t(form.has("max") | form.has("abs") << 1 | key.nan << 2);
    MOEC_TRY(result(now->operands[0], 0, 32));
    MOEC_TRY(source(now->operands[1], 1, 32, typeIsFloat(form.firstType())));
    MOEC_TRY(source(now->operands[2], 7, 32, false));
    return finish();
  default: { // elect
    MOEC_TRY(need(2));
    const Operand &target = now->operands[0];
    if (target.kind != OperandKind::Pair)
      return fail(target) << "expected a register and a predicate, d|p";
    MOEC_TRY(result(target.elements[0], 0, 32));
    MOEC_TRY(predicateResult(target.elements[1], 1));
    MOEC_TRY(source(now->operands[1], 7, 32, false));
    return finish();
  }
  }
}

/// ops: 0 result, 1 barrier, 2 count or kSink, 3 predicate of a reduction;
/// sub: 0 sync, 1 popc, 2 and, 3 or; imm: 1 where the whole warp must arrive.
Error Decoder::barrier() {
  Instr &instr = draft.instr;
  size_t count = now->operands.size();
  bool aligned = now->op[0] == "bar" || form.has("aligned");
  instr.imm = aligned;
  instr.ops[2] = instr.ops[3] = kSink;
  size_t at = 0;
  switch (form.op) {
  case Op::BarWarp:
    if (count != 1)
      return fail() << "expected the member mask, found " << count
                    << " operands";
    MOEC_TRY(source(now->operands[0], 7, 32, false));
    instr.flow = Flow::WarpBarrier;
    return finish();
  case Op::BarSync:
  case Op::BarArrive: {
    bool arrives = form.op == Op::BarArrive;
    if (count < (arrives ? 2u : 1u) || count > 2)
      return fail() << "expected a barrier and a count, found " << count
                    << " operands";
    instr.flow = arrives ? Flow::BarArrive : Flow::Barrier;
    break;
  }
  default:
    instr.flow = Flow::Barrier;
    instr.sub = form.has("popc") ? 1 : form.has("and") ? 2 : 3;
    if (count < 3 || count > 4)
      return fail() << "expected 3 or 4 operands, found " << count;
    if (instr.sub == 1) {
      MOEC_TRY(result(now->operands[at++], 0, 32));
    } else {
      MOEC_TRY(predicateResult(now->operands[at++], 0));
    }
    MOEC_TRY(predicateSource(now->operands[count - 1], 3));
    --count;
    break;
  }
  const Operand &which = now->operands[at];
  if (which.kind == OperandKind::Integer && which.bits > 15)
    return fail(which) << "a block has 16 barriers, found number "
                       << which.bits;
  MOEC_TRY(source(which, 1, 32, false));
  if (++at < count) {
    const Operand &threads = now->operands[at];
    if (threads.kind == OperandKind::Integer &&
        (threads.bits == 0 || threads.bits % 32 || threads.bits > 1024))
      return fail(threads)
             << "the thread count is a multiple of 32 up to 1024, found "
             << threads.bits;
    MOEC_TRY(source(threads, 2, 32, false));
  }
  return finish();
}

Error Decoder::branch() {
  if (now->operands.size() != 1 || now->operands[0].kind != OperandKind::Label)
    return fail() << "expected a label";
  draft.instr.flow = Flow::Branch;
  draft.label = now->operands[0].index;
  return finish();
}

Error Decoder::call() {
  const Operand &callee = now->operands[now->callResults];
  const ptx::Function &target = module.functions[callee.index];
  CallInfo info;
  info.callee = callee.index;
  if (target.isDeclaration) {
    info.builtin = llvm::StringSwitch<Builtin>(target.name)
                       .Case("vprintf", Builtin::Printf)
                       .Case("__assertfail", Builtin::AssertFail)
                       .Case("malloc", Builtin::Malloc)
                       .Case("free", Builtin::Free)
                       .Default(Builtin::None);
    if (info.builtin == Builtin::None)
      return fail(callee) << "function '" << target.name
                          << "' has no body, and modules are not linked";
  } else {
    code.functions[functionIndex].callees.push_back(callee.index);
  }
  const FrameLayout &theirs = layout.frames[callee.index];
  auto move = [&](const Operand &ours, uint32_t formal,
                  llvm::SmallVectorImpl<CallInfo::Move> &to,
                  bool intoCallee) -> Error {
    const ptx::Variable &mine = function->variables[ours.index];
    const ptx::Variable &other = target.variables[formal];
    if (mine.bytes != other.bytes)
      return fail(ours) << "'" << target.name << "' expects " << other.bytes
                        << " bytes for '" << other.name << "', found "
                        << mine.bytes;
    if (function->isEntry && ours.index < function->parameterCount)
      return fail(ours) << "kernel parameters cannot be passed on as they are";
    uint32_t from = frame->place[ours.index], into = theirs.place[formal];
    if (!intoCallee)
      std::swap(from, into);
    to.push_back({from, into, uint32_t(mine.bytes)});
    return Error::success();
  };
  for (uint32_t i = 0; i < now->callResults; ++i)
    MOEC_TRY(
        move(now->operands[i], target.parameterCount + i, info.results, false));
  for (uint32_t i = 0; i < target.parameterCount; ++i)
    MOEC_TRY(
        move(now->operands[now->callResults + 1 + i], i, info.arguments, true));
  draft.instr.flow = info.builtin == Builtin::None ? Flow::Call : Flow::Builtin;
  draft.instr.target = uint32_t(code.calls.size());
  code.calls.push_back(std::move(info));
  return finish();
}

Error Decoder::other() {
  Instr &instr = draft.instr;
  switch (form.op) {
  case Op::Ret:
    instr.flow = Flow::Ret;
    return finish();
  case Op::Exit:
    instr.flow = Flow::Exit;
    return finish();
  case Op::Trap:
  case Op::Brkpt:
    instr.flow = Flow::Trap;
    return finish();
  case Op::Nanosleep:
    if (now->operands.size() != 1)
      return fail() << "expected 1 operand";
    MOEC_TRY(source(now->operands[0], 1, 32, false));
    instr.flow = Flow::Sleep;
    return finish();
  case Op::Membar:
  case Op::Fence:
    // sub: 1 where only the own block sees it.
    instr.sub = form.has("cta");
    return finish();
  case Op::CpAsyncWait: {
    bool all = form.has("wait_all");
    uint64_t pending = 0;
    if (!all) {
      if (now->operands.size() != 1)
        return fail() << "expected 1 operand";
      MOEC_ASSIGN(pending,
                  immediate(now->operands[0], "the number of groups", 1 << 16));
    } else if (!now->operands.empty()) {
      return fail() << "expected no operand";
    }
    instr.imm = pending;
    instr.sub = all;
    return finish();
  }
  case Op::Prefetch: {
    if (now->operands.size() != 1)
      return fail() << "expected 1 operand";
    uint64_t offset = 0; // a hint needs no valid address
    MOEC_TRY(address(now->operands[0], 7, spaceOf(), offset));
    return finish();
  }
  case Op::CvtFp8: {
    // Two f32, or one pair, to a pair of 8-bit floats; or back.
    bool toPair = key.types[0] == Ty::F16x2;
    bool fromFloats = key.types[1] == Ty::F32;
    size_t expected = fromFloats ? 3 : 2;
    if (now->operands.size() != expected)
      return fail() << "expected " << expected << " operands, found "
                    << now->operands.size();
    MOEC_TRY(result(now->operands[0], 0, toPair ? 32 : 16));
    MOEC_TRY(source(now->operands[1], 1, toPair ? 16 : 32, fromFloats));
    if (fromFloats) {
      MOEC_TRY(source(now->operands[2], 2, 32, true));
    }
    instr.imm = uint64_t(key.types[0]) | uint64_t(key.types[1]) << 8;
    instr.sub = key.relu;
    return finish();
  }
  default:
    if (!now->operands.empty())
      return fail() << "expected no operand";
    return finish();
  }
}
