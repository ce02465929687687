#include "tools/driver/StreamRunner.h"

#include "ir/core/Clone.h"
#include "ir/ops/MoeOps.h"
#include "ir/ops/OpInfo.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;

/// A source tensor behind changes of form that lose nothing in f32.
static const Expr *plainF32(const Expr &expr) {
  const Expr *at = &resolve(expr);
  while (at->kind == ExprKind::Dequantize ||
         (at->kind == ExprKind::Cast && at->type.element() == ElementType::f32))
    at = &resolve(*at->args[0]);
  return at->kind == ExprKind::Source ? at : nullptr;
}

const Expr *moec::rowExpr(const Expr &expr, int64_t index) {
  const Expr &at = resolve(expr);
  return at.kind == ExprKind::Stack ? at.args[index].get() : nullptr;
}

llvm::Expected<std::vector<float>>
moec::materializeRow(const Expr &expr, int64_t index, TensorReader &reader) {
  const Expr &at = resolve(expr);
  if (const Expr *row = rowExpr(at, index))
    return materialize(*row, reader);
  if (at.kind == ExprKind::Concat && at.attrs<AxisAttrs>().axis == 0) {
    for (const ExprRef &arg : at.args) {
      int64_t rows = arg->type.dim(0).constant();
      if (index < rows)
        return materializeRow(*arg, index, reader);
      index -= rows;
    }
  }
  uint64_t size = *at.type.staticElements() / at.type.dim(0).constant();
  if (const Expr *source = plainF32(at)) {
    std::vector<float> numbers(size);
    MOEC_TRY(reader.readF32(*source->file, source->attrs<SourceAttrs>(),
                            index * size, numbers));
    return numbers;
  }
  MOEC_ASSIGN(std::vector<float> all, materialize(at, reader));
  return std::vector<float>(all.begin() + index * size,
                            all.begin() + (index + 1) * size);
}

static void roundAll(HostTensor &tensor, ElementType element) {
  for (double &number : tensor.floats)
    number = roundTo(element, number);
}

/// Matrices; of a bank, whose first dimension is that of its experts, those of
/// one expert.
static bool isStoredRounded(const Weight &weight, bool bank) {
  return weight.type().rank() > (bank ? 2 : 1) &&
         !llvm::StringRef(weight.name).ends_with(".router");
}

llvm::Expected<HostTensor> StreamRunner::load(const Weight &weight) {
  MOEC_ASSIGN(std::vector<float> numbers, materialize(*weight.expr, reader));
  std::vector<int64_t> shape;
  for (const Dim &dim : weight.type().shape())
    shape.push_back(dim.constant());
  HostTensor tensor = HostTensor::ofFloats(weight.type().element(), shape);
  llvm::copy(numbers, tensor.floats.begin());
  if (stored && isStoredRounded(weight, /*bank=*/false))
    roundAll(tensor, *stored);
  return tensor;
}

llvm::Error StreamRunner::runAlone(const Operation &op, Values &values,
                                   Interpreter::Mode mode) {
  Program program;
  ValueMap map;
  std::vector<HostTensor> arguments;
  for (Value operand : op.operands()) {
    if (operand.weight() || map.count(operand))
      continue;
    map[operand] = program.body().addArgument(operand.type(), operand.hint(),
                                              operand.state());
    arguments.push_back(values.find(operand)->second);
  }
  Operation *copy = cloneOp(op, program.body(), map);
  llvm::SmallVector<Value, 2> results = copy->results();
  program.body().append(Operation::create(
      OpKind::Return, results, {}, std::make_unique<NoAttrs>(), Location()));
  Interpreter interpreter(
      mode, [this](const Weight &weight) { return load(weight); });
  MOEC_ASSIGN(auto tensors, interpreter.run(program, std::move(arguments)));
  for (auto [i, tensor] : llvm::enumerate(tensors))
    values[op.result(i)] = std::move(tensor);
  return llvm::Error::success();
}

/// Rows of the table, one by one where the file has them plainly.
llvm::Error StreamRunner::runEmbedding(const Operation &op, Values &values) {
  const Weight &table = *op.operand(0).weight();
  const HostTensor &ids = values.find(op.operand(1))->second;
  int64_t rows = table.type().dim(0).constant();
  int64_t width = table.type().dim(1).constant();
  HostTensor out =
      HostTensor::ofFloats(op.result().type().element(), {ids.dim(0), width});
  std::vector<float> whole, row(width);
  const Expr *source = plainF32(*table.expr);
  if (!source) {
    MOEC_ASSIGN(whole, materialize(*table.expr, reader));
  }
  for (auto [t, id] : llvm::enumerate(ids.ints)) {
    if (id < 0 || id >= rows)
      return opError(op) << "reads row " << id << " of " << table.type();
    if (source)
      MOEC_TRY(reader.readF32(*source->file, source->attrs<SourceAttrs>(),
                              id * width, row));
    else
      std::copy_n(whole.begin() + id * width, width, row.begin());
    llvm::copy(row, out.row(t));
  }
  if (stored)
    roundAll(out, *stored);
  roundAll(out, out.element);
  values[op.result()] = std::move(out);
  return llvm::Error::success();
}

namespace {
/// A moe.experts whose banks have one expert: the op's own meaning, so that
/// everything its attributes say holds.
class OneExpert {
public:
  OneExpert(const Operation &experts, int64_t pairs) : experts(experts) {
    int64_t hidden = experts.operand(0).type().dim(1).constant();
    add({pairs, hidden}, experts.operand(0).type().element());
    add({pairs + 1}, ElementType::i32);
    add({pairs}, ElementType::i32);
  }

  HostTensor &add(llvm::ArrayRef<int64_t> shape, ElementType element) {
    llvm::SmallVector<Dim> dims(shape.begin(), shape.end());
    operands.push_back(
        program.body().addArgument(TensorType(dims, element), "operand"));
    arguments.push_back(isFloat(element)
                            ? HostTensor::ofFloats(element, shape.vec())
                            : HostTensor::ofInts(element, shape.vec()));
    return arguments.back();
  }

  llvm::Expected<HostTensor> run(Interpreter::Mode mode) {
    TensorType result(
        {operands[0].type().dim(0), experts.result().type().dim(1)},
        experts.result().type().element());
    Operation *op = program.body().append(
        Operation::create(OpKind::MoeExperts, operands, {result},
                          experts.attrs().clone(), experts.loc()));
    program.body().append(Operation::create(OpKind::Return, {op->result()}, {},
                                            std::make_unique<NoAttrs>(),
                                            Location()));
    Interpreter interpreter(mode, nullptr);
    MOEC_ASSIGN(auto results, interpreter.run(program, std::move(arguments)));
    return std::move(results[0]);
  }

  std::vector<HostTensor> arguments;

private:
  const Operation &experts;
  Program program;
  llvm::SmallVector<Value, 9> operands;
};
} // namespace

llvm::Error StreamRunner::runExperts(const Operation &op, Values &values,
                                     Interpreter::Mode mode) {
  const HostTensor x = values.find(op.operand(0))->second;
  const HostTensor offsets = values.find(op.operand(1))->second;
  const HostTensor chosen = values.find(op.operand(2))->second;
  int64_t experts = op.operand(3).type().dim(0).constant();
  int64_t width = op.result().type().dim(1).constant();
  std::vector<int64_t> tokens;
  for (int64_t t = 0; t + 1 < offsets.dim(0); ++t)
    tokens.insert(tokens.end(), offsets.ints[t + 1] - offsets.ints[t], t);
  HostTensor y = HostTensor::ofFloats(op.result().type().element(),
                                      {int64_t(tokens.size()), width});
  for (int64_t e = 0; e < experts; ++e) {
    std::vector<int64_t> pairs;
    for (auto [p, expert] : llvm::enumerate(chosen.ints))
      if (expert == e)
        pairs.push_back(p);
    if (pairs.empty())
      continue;
    int64_t count = pairs.size();
    OneExpert one(op, count);
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(x.row(tokens[pairs[i]]), x.dim(1), one.arguments[0].row(i));
      one.arguments[1].ints[i + 1] = i + 1;
    }
    for (unsigned i = 3; i < op.numOperands(); ++i) {
      Value operand = op.operand(i);
      if (const Weight *weight = operand.weight()) {
        llvm::SmallVector<int64_t> shape{1};
        for (const Dim &dim : operand.type().shape().drop_front())
          shape.push_back(dim.constant());
        MOEC_ASSIGN(std::vector<float> numbers,
                    materializeRow(*weight->expr, e, reader));
        HostTensor &bank = one.add(shape, operand.type().element());
        llvm::copy(numbers, bank.floats.begin());
        if (stored && isStoredRounded(*weight, /*bank=*/true))
          roundAll(bank, *stored);
        continue;
      }
      // The weight of every pair.
      const HostTensor &all = values.find(operand)->second;
      HostTensor &part = one.add({count}, operand.type().element());
      for (int64_t p = 0; p < count; ++p)
        part.floats[p] = all.floats[pairs[p]];
    }
    MOEC_ASSIGN(HostTensor out, one.run(mode));
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(out.row(i), width, y.row(pairs[i]));
  }
  values[op.result()] = std::move(y);
  return llvm::Error::success();
}

llvm::Error StreamRunner::runOp(const Operation &op, Values &values,
                                Interpreter::Mode mode) {
  if (op.is(OpKind::Embedding) && op.operand(0).weight())
    return runEmbedding(op, values);
  if (op.is(OpKind::MoeExperts) && op.operand(3).weight())
    return runExperts(op, values, mode);
  return runAlone(op, values, mode);
}
