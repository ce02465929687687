#include "ir/interp/Interpreter.h"

#include "ir/interp/OpRunner.h"
#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/support/QuantizedBlocks.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <numeric>

using namespace moec;

/// A double rounded to odd: what lies between two floats becomes the one whose
/// last bit is set. Rounding that to a narrower type rounds the double once;
/// through the nearest float it would be rounded twice.
static float roundToOdd(double number) {
  float nearest = float(number);
  uint32_t bits = llvm::bit_cast<uint32_t>(nearest);
  if (double(nearest) == number || std::isnan(number) || (bits & 1))
    return nearest;
  bool towardsZero = std::abs(double(nearest)) < std::abs(number);
  return llvm::bit_cast<float>(towardsZero ? bits | 1 : bits - 1);
}

double moec::roundTo(ElementType element, double number) {
  switch (element) {
  case ElementType::f32:
    return float(number);
  case ElementType::bf16:
    return bf16ToF32(f32ToBf16(roundToOdd(number)));
  case ElementType::f16:
    return f16ToF32(f32ToF16(roundToOdd(number)));
  default:
    return number;
  }
}

HostTensor HostTensor::ofFloats(ElementType element,
                                std::vector<int64_t> shape) {
  HostTensor tensor;
  tensor.element = element;
  tensor.shape = std::move(shape);
  tensor.floats.resize(tensor.elements());
  return tensor;
}

HostTensor HostTensor::ofInts(ElementType element, std::vector<int64_t> shape) {
  HostTensor tensor;
  tensor.element = element;
  tensor.shape = std::move(shape);
  tensor.ints.resize(tensor.elements());
  return tensor;
}

HostTensor HostTensor::ofInts(std::vector<int64_t> numbers) {
  HostTensor tensor;
  tensor.element = ElementType::i32;
  tensor.shape = {int64_t(numbers.size())};
  tensor.ints = std::move(numbers);
  return tensor;
}

int64_t HostTensor::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t(1),
                         std::multiplies<>());
}

HostTensor &OpRunner::makeFloats(std::vector<int64_t> shape) {
  unsigned i = results.size();
  results.push_back(
      HostTensor::ofFloats(op.result(i).type().element(), std::move(shape)));
  return results.back();
}

HostTensor &OpRunner::makeInts(std::vector<int64_t> shape) {
  unsigned i = results.size();
  results.push_back(
      HostTensor::ofInts(op.result(i).type().element(), std::move(shape)));
  return results.back();
}

llvm::Expected<int64_t> OpRunner::index(unsigned operand, int64_t i,
                                        int64_t bound) const {
  int64_t number = in(operand).ints[i];
  if (number < 0 || number >= bound)
    return opError(op) << "reads index " << number << ", outside [0, " << bound
                       << ")";
  return number;
}

int64_t Interpreter::valueOf(Dim dim) const {
  return dim.isConstant() ? dim.constant()
                          : symbols.lookup(dim.symbol()) + dim.addend();
}

llvm::Error Interpreter::bindShape(const TensorType &type,
                                   const HostTensor &tensor,
                                   const Location &loc) {
  if (tensor.shape.size() != type.rank())
    return error(loc) << "expects a tensor of type " << type << ", got rank "
                      << tensor.shape.size();
  for (unsigned i = 0; i < type.rank(); ++i) {
    Dim dim = type.dim(i);
    if (!dim.isConstant() && !symbols.count(dim.symbol()))
      symbols[dim.symbol()] = tensor.shape[i] - dim.addend();
    if (valueOf(dim) != tensor.shape[i])
      return error(loc) << "expects dimension " << i << " of " << type
                        << " to be " << valueOf(dim) << ", got "
                        << tensor.shape[i];
  }
  return llvm::Error::success();
}

llvm::Expected<HostTensor *> Interpreter::lookup(Value value) {
  auto at = values.find(value);
  if (at != values.end())
    return &at->second;
  assert(value.weight() && "a verified program defines what it reads");
  MOEC_ASSIGN(HostTensor tensor, weights(*value.weight()));
  MOEC_TRY(bindShape(value.type(), tensor, value.weight()->loc));
  return &(values[value] = std::move(tensor));
}

llvm::Error Interpreter::runOp(const Operation &op) {
  llvm::SmallVector<HostTensor *, 8> inputs;
  for (Value operand : op.operands()) {
    MOEC_TRY(lookup(operand).takeError());
  }
  // Insertion may move values, so pointers are taken when all are there.
  for (Value operand : op.operands())
    inputs.push_back(&values.find(operand)->second);
  std::vector<HostTensor> results;
  if (isKernel(op)) {
    Block &body = *op.body();
    for (unsigned i = 0; i < op.numOperands(); ++i) {
      HostTensor copy = values.find(op.operand(i))->second;
      values[body.argument(i)] = std::move(copy);
    }
    MOEC_TRY(runBlock(body, &results));
  } else {
    OpRunner runner(op, inputs, mode == Mode::typed);
    switch (op.kind()) {
#define OP(Name, ...)                                                          \
  case OpKind::Name:                                                           \
    MOEC_TRY(interp::run##Name(runner));                                       \
    break;
#include "ir/ops/Ops.def"
    }
    results = std::move(runner.results);
    if (mode == Mode::typed)
      for (HostTensor &tensor : results)
        for (double &number : tensor.floats)
          number = roundTo(tensor.element, number);
  }
  llvm::SmallVector<HostTensor *, 2> stored;
  for (unsigned i = 0; i < op.numResults(); ++i) {
    MOEC_TRY(bindShape(op.result(i).type(), results[i], op.loc()));
    values[op.result(i)] = std::move(results[i]);
  }
  for (unsigned i = 0; i < op.numResults(); ++i)
    stored.push_back(&values.find(op.result(i))->second);
  if (observe) {
    inputs.clear();
    for (Value operand : op.operands())
      inputs.push_back(&values.find(operand)->second);
    observe(op, inputs, stored);
  }
  return llvm::Error::success();
}

llvm::Error Interpreter::runBlock(const Block &block,
                                  std::vector<HostTensor> *results) {
  // How often each value is still to be read in this block.
  llvm::DenseMap<Value, size_t> reads;
  for (const Operation &op : block.ops())
    for (Value operand : op.operands())
      ++reads[operand];
  for (const Operation &op : block.ops()) {
    if (op.is(OpKind::Return) || op.is(OpKind::Yield)) {
      for (Value operand : op.operands()) {
        MOEC_ASSIGN(HostTensor * tensor, lookup(operand));
        results->push_back(*tensor);
      }
      return llvm::Error::success();
    }
    MOEC_TRY(runOp(op));
    // Values that are read for the last time here are given back.
    for (Value operand : op.operands())
      if ((operand.definingOp() || operand.weight()) && --reads[operand] == 0)
        values.erase(operand);
  }
  return llvm::Error::success();
}

llvm::Expected<std::vector<HostTensor>>
Interpreter::run(const Program &program, std::vector<HostTensor> arguments) {
  values.clear();
  symbols.clear();
  const Block &body = program.body();
  if (arguments.size() != body.numArguments())
    return error(program.loc)
           << "program '" << program.name << "' takes " << body.numArguments()
           << " arguments, got " << arguments.size();
  for (unsigned i = 0; i < arguments.size(); ++i) {
    Value argument = body.argument(i);
    Location loc = program.loc;
    loc.object = program.name + "/" + argument.hint();
    MOEC_TRY(bindShape(argument.type(), arguments[i], loc));
    values[argument] = std::move(arguments[i]);
  }
  std::vector<HostTensor> results;
  MOEC_TRY(runBlock(body, &results));
  return results;
}
