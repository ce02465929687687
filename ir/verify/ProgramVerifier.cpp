#include "ir/verify/ProgramVerifier.h"

#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace moec;

Declared::Declared(const Module &module) {
  for (const auto &dim : module.dims())
    dims.insert(dim.get());
  for (const auto &file : module.files())
    files.insert(file.get());
  for (const auto &state : module.states())
    states.insert(state.get());
  for (const auto &weight : module.weights())
    weights.insert(weight.get());
}

bool moec::isPlainName(llvm::StringRef name) {
  return !name.empty() && (llvm::isAlpha(name[0]) || name[0] == '_') &&
         llvm::all_of(name, [](char c) {
           return llvm::isAlnum(c) || c == '_' || c == '.';
         });
}

std::string moec::typeProblem(const TensorType &type,
                              const Declared &declared) {
  for (const Dim &dim : type.shape())
    if (!dim.isConstant() && !declared.dims.contains(dim.symbol()))
      return "dimension '" + dim.symbol()->name() +
             "' is not one of this module";
  return type.sizeProblem();
}

static bool hasRaggedDim(const TensorType &type) {
  return llvm::any_of(type.shape(), [](const Dim &dim) {
    return !dim.isConstant() && dim.symbol()->isRagged();
  });
}

static bool isTerminator(const Operation &op) {
  return op.is(OpKind::Return) || op.is(OpKind::Yield);
}

llvm::Error ProgramVerifier::verify() {
  MOEC_TRY(verifySignature());
  MOEC_TRY(verifyBlock(program.body(), program.loc));
  for (const Operation &op : program.body().ops())
    MOEC_TRY(verifyRagged(op));
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::verifySignature() {
  llvm::StringSet<> names;
  for (unsigned i = 0; i < program.body().numArguments(); ++i) {
    Value argument = program.body().argument(i);
    // A number would read back as no name at all.
    if (llvm::all_of(argument.hint(), llvm::isDigit) ||
        !names.insert(argument.hint()).second)
      return error(program.loc)
             << "argument " << i << " of program '" << program.name
             << "' needs a name of its own, got '" << argument.hint() << "'";
    if (hasRaggedDim(argument.type()))
      return error(program.loc)
             << "argument '" << argument.hint() << "' of program '"
             << program.name << "' has a ragged dimension: " << argument.type();
  }
  names.clear();
  for (auto [i, name] : llvm::enumerate(program.resultNames)) {
    if (name.empty())
      return error(program.loc) << "result " << i << " of program '"
                                << program.name << "' needs a name, got ''";
    if (!names.insert(name).second)
      return error(program.loc)
             << "results of program '" << program.name
             << "' need names of their own, got '" << name << "' twice";
  }
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::verifyArguments(const Block &block,
                                             const Location &loc) {
  llvm::DenseSet<const State *> seen;
  for (unsigned i = 0; i < block.numArguments(); ++i) {
    Value argument = block.argument(i);
    if (std::string problem = typeProblem(argument.type(), declared);
        !problem.empty())
      return error(loc) << "argument " << i << " has the bad type "
                        << argument.type() << ": " << problem;
    const State *state = argument.state();
    if (!state)
      continue;
    if (!declared.states.contains(state))
      return error(loc) << "argument " << i << " is a version of the state '"
                        << state->name << "' of another module";
    if (state->type != argument.type())
      return error(loc) << "argument " << i << " is " << argument.type()
                        << ", but the state '" << state->name << "' is "
                        << state->type;
    if (!seen.insert(state).second)
      return error(loc) << "takes the state '" << state->name << "' twice";
  }
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::verifyBlock(const Block &block,
                                         const Location &loc) {
  MOEC_TRY(verifyArguments(block, loc));
  bool isBody = block.parentOp;
  const Operation *end = block.terminator();
  OpKind expected = isBody ? OpKind::Yield : OpKind::Return;
  if (!end || !end->is(expected))
    return error(end ? end->loc() : loc)
           << (isBody ? "the body of a kernel" : "a program") << " ends in '"
           << infoOf(expected).mnemonic << "', found "
           << (end ? ("'" + end->mnemonic() + "'").str() : "no op");
  if (!isBody && end->numOperands() != program.resultNames.size())
    return opError(*end) << "gives " << end->numOperands()
                         << " values, but program '" << program.name << "' has "
                         << program.resultNames.size() << " results";
  llvm::DenseSet<Value> defined;
  for (unsigned i = 0; i < block.numArguments(); ++i)
    defined.insert(block.argument(i));
  for (const Operation &op : block.ops()) {
    if (&op != end && isTerminator(op))
      return opError(op).withNote(end->loc(), "the block ends here")
             << "stands in the middle of a block";
    MOEC_TRY(verifyOp(op, defined));
    for (Value result : op.results())
      defined.insert(result);
  }
  return verifyStates(block);
}

llvm::Error
ProgramVerifier::verifyOperand(const Operation &op, unsigned i,
                               const llvm::DenseSet<Value> &defined) {
  Value operand = op.operand(i);
  if (!operand)
    return opError(op) << "lacks operand " << i;
  if (const Weight *weight = operand.weight()) {
    if (!declared.weights.contains(weight))
      return opError(op) << "reads a weight of another module as operand " << i;
    if (op.parent()->parentOp)
      return opError(op) << "reads the weight '" << weight->name
                         << "' in the body of a kernel, which takes it as an "
                            "operand";
    return llvm::Error::success();
  }
  if (defined.contains(operand))
    return llvm::Error::success();
  const Operation *source = operand.definingOp();
  if (source && source->parent() == op.parent())
    return opError(op).withNote(source->loc(), "it is defined here")
           << "reads operand " << i << " before it is defined";
  return opError(op) << "reads operand " << i << " from outside of its block";
}

llvm::Error ProgramVerifier::verifyOp(const Operation &op,
                                      const llvm::DenseSet<Value> &defined) {
  const OpInfo &info = infoOf(op.kind());
  int operands = op.numOperands(), results = op.numResults();
  if (operands < info.minOperands ||
      (info.maxOperands >= 0 && operands > info.maxOperands)) {
    ErrorBuilder message = opError(op);
    std::move(message) << "has " << operands << " operands, expects "
                       << info.minOperands;
    if (info.maxOperands < 0)
      std::move(message) << " or more";
    else if (info.maxOperands != info.minOperands)
      std::move(message) << " to " << info.maxOperands;
    return std::move(message);
  }
  if (info.results >= 0 && results != info.results)
    return opError(op) << "has " << results << " results, expects "
                       << info.results;
  for (unsigned i = 0; i < op.numOperands(); ++i)
    MOEC_TRY(verifyOperand(op, i, defined));
  for (Value result : op.results())
    if (std::string problem = typeProblem(result.type(), declared);
        !problem.empty())
      return opError(op) << "has the bad result type " << result.type() << ": "
                         << problem;
  if (op.body() && !isKernel(op))
    return opError(op) << "has a body, but is no kernel op";
  MOEC_TRY(info.verify(op));
  if (op.body())
    MOEC_TRY(verifyBlock(*op.body(), op.loc()));
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// States
//===----------------------------------------------------------------------===//

llvm::Error ProgramVerifier::readStates(const Operation &op,
                                        const Versions &versions) {
  for (Value operand : op.operands()) {
    if (!operand.state())
      continue;
    auto at = versions.find(operand.state());
    if (at == versions.end())
      return opError(op) << "reads the state '" << operand.state()->name
                         << "', which the block does not take";
    if (at->second.value == operand)
      continue;
    return opError(op).withNote(at->second.writer->loc(),
                                "it was written over here")
           << "reads an old version of the state '" << operand.state()->name
           << "'";
  }
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::writeStates(const Operation &op,
                                         Versions &versions) {
  llvm::SmallPtrSet<const State *, 4> written;
  for (unsigned i = 0; i < op.numResults(); ++i) {
    State *state = op.result(i).state();
    if (!state)
      continue;
    if (!declared.states.contains(state) || state->type != op.result(i).type())
      return opError(op) << "makes a version of the state '" << state->name
                         << "' of another type, " << op.result(i).type();
    auto source = inPlaceOperand(op, i);
    if (!source || op.operand(*source).state() != state)
      return opError(op) << "makes a version of the state '" << state->name
                         << "' out of nothing; it takes the last version";
    if (!written.insert(state).second)
      return opError(op) << "makes two versions of the state '" << state->name
                         << "'";
    if (llvm::count(op.operands(), op.operand(*source)) > 1)
      return opError(op) << "reads the state '" << state->name
                         << "' as a further operand while it writes it";
    versions[state] = {op.result(i), &op};
  }
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::returnStates(const Operation &end,
                                          const Versions &versions) {
  llvm::SmallPtrSet<const State *, 8> returned;
  for (Value operand : end.operands())
    if (operand.state() && !returned.insert(operand.state()).second)
      return opError(end) << "gives the state '" << operand.state()->name
                          << "' twice";
  for (const auto &[state, version] : versions)
    if (version.writer && !returned.contains(state))
      return opError(end).withNote(version.writer->loc(), "it is written here")
             << "does not give the last version of the state '" << state->name
             << "'";
  return llvm::Error::success();
}

llvm::Error ProgramVerifier::verifyStates(const Block &block) {
  Versions versions;
  for (unsigned i = 0; i < block.numArguments(); ++i)
    if (State *state = block.argument(i).state())
      versions[state] = {block.argument(i), nullptr};
  for (const Operation &op : block.ops()) {
    MOEC_TRY(readStates(op, versions));
    MOEC_TRY(writeStates(op, versions));
  }
  return returnStates(*block.terminator(), versions);
}

//===----------------------------------------------------------------------===//
// Ragged dimensions
//===----------------------------------------------------------------------===//

/// A route must be the only one that defines its dimension. Uses need no check
/// of their own: arguments have no ragged dimensions, and every other op has
/// those of its operands, so that a use stands behind the definition.
llvm::Error ProgramVerifier::verifyRagged(const Operation &op) {
  if (op.body())
    for (const Operation &inner : op.body()->ops())
      MOEC_TRY(verifyRagged(inner));
  if (op.is(OpKind::MoeRoute)) {
    Dim pairs = op.result(1).type().dim(0);
    if (!pairs.isConstant() && pairs.symbol()->isRagged()) {
      auto [at, added] = raggedDefinitions.try_emplace(pairs.symbol(), &op);
      if (!added)
        return opError(op).withNote(at->second->loc(), "it is defined here")
               << "defines the ragged dimension '" << pairs.symbol()->name()
               << "' again";
    }
  }
  return llvm::Error::success();
}
