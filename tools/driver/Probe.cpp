//===- Probe.cpp - what upcycling does to each layer's output -------------===//

#include "ir/core/Clone.h"
#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeOps.h"
#include "ir/ops/OpInfo.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

namespace {
/// The dense program up to its last FFN, fed with embedded tokens, so that
/// neither the embedding nor the head is ever in memory whole.
class ProbeProgram {
public:
  explicit ProbeProgram(const Program &step) {
    ValueMap map;
    Block &body = program.body();
    const Operation *last = nullptr;
    for (const Operation &op : step.body().ops())
      if (op.is(OpKind::Ffn))
        last = &op;
    for (unsigned i = 0; i < step.body().numArguments(); ++i) {
      Value from = step.body().argument(i);
      map[from] = body.addArgument(from.type(), from.hint(), from.state());
    }
    Operation *end = nullptr;
    for (const Operation &op : step.body().ops()) {
      if (op.is(OpKind::Embedding)) {
        embeddings.push_back(&op);
        map[op.result()] = body.addArgument(op.result().type(), "embedded");
        continue;
      }
      end = cloneOp(op, body, map);
      if (op.is(OpKind::Ffn))
        layers.push_back(end);
      if (&op == last)
        break;
    }
    if (end)
      body.append(Operation::create(OpKind::Return, {end->result()}, {},
                                    std::make_unique<NoAttrs>(), Location()));
  }

  Program program;
  std::vector<const Operation *> embeddings;
  std::vector<const Operation *> layers;
};

/// The MoE blocks of a program by layer.
struct SparseLayer {
  const Operation *router, *route, *experts;
};

class Prober {
public:
  Prober(const Module &dense, const Module &sparse, TensorReader &reader,
         UpcycleReceipt &receipt)
      : dense(dense), sparse(sparse), reader(reader), receipt(receipt) {}

  llvm::Error run(llvm::ArrayRef<int32_t> tokens,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress);

private:
  llvm::Expected<HostTensor> load(const Expr &expr);
  llvm::Expected<HostTensor> embed(const Operation &op,
                                   llvm::ArrayRef<int32_t> tokens);
  llvm::Error probe(const SparseLayer &layer, const HostTensor &x,
                    const HostTensor &expected, LayerReceipt &out);

  const Module &dense;
  const Module &sparse;
  TensorReader &reader;
  UpcycleReceipt &receipt;
};
} // namespace

llvm::Expected<HostTensor> Prober::load(const Expr &expr) {
  MOEC_ASSIGN(std::vector<float> numbers, materialize(expr, reader));
  std::vector<int64_t> shape;
  for (const Dim &dim : expr.type.shape())
    shape.push_back(dim.constant());
  HostTensor tensor = HostTensor::ofFloats(expr.type.element(), shape);
  llvm::copy(numbers, tensor.floats.begin());
  return tensor;
}

/// Rows of the table, read from the file one by one where it is stored plainly.
llvm::Expected<HostTensor> Prober::embed(const Operation &op,
                                         llvm::ArrayRef<int32_t> tokens) {
  const Expr &table = resolve(*op.operand(0).weight()->expr);
  int64_t width = op.result().type().dim(1).constant();
  bool byPosition = op.operand(1).hint() == facts::kInputPositions;
  HostTensor rows =
      HostTensor::ofFloats(ElementType::f32, {int64_t(tokens.size()), width});
  const Expr *source = &table;
  while (
      (source->kind == ExprKind::Dequantize || source->kind == ExprKind::Cast))
    source = &resolve(*source->args[0]);
  std::vector<float> whole;
  if (source->kind != ExprKind::Source) {
    MOEC_ASSIGN(whole, materialize(table, reader));
  }
  for (size_t t = 0; t < tokens.size(); ++t) {
    int64_t row = byPosition ? int64_t(t) : tokens[t];
    if (row < 0 || row >= table.type.dim(0).constant())
      return opError(op) << "reads row " << row << " of " << table.type;
    std::vector<float> numbers(width);
    if (whole.empty()) {
      MOEC_TRY(reader.readF32(*source->file, source->attrs<SourceAttrs>(),
                              row * width, numbers));
    } else {
      std::copy_n(whole.begin() + row * width, width, numbers.begin());
    }
    llvm::copy(numbers, rows.row(t));
  }
  return rows;
}

llvm::Error Prober::probe(const SparseLayer &layer, const HostTensor &x,
                          const HostTensor &expected, LayerReceipt &out) {
  // The router and the choice, by the interpreter, on a program of two ops.
  Program choose;
  ValueMap map;
  Value input = choose.body().addArgument(
      x.shape.empty() ? TensorType() : layer.router->operand(0).type(), "x");
  map[layer.router->operand(0)] = input;
  Operation *router = cloneOp(*layer.router, choose.body(), map);
  Operation *route = cloneOp(*layer.route, choose.body(), map);
  choose.body().append(Operation::create(
      OpKind::Return, {router->result(), route->result(1), route->result(2)},
      {}, std::make_unique<NoAttrs>(), Location()));
  Interpreter interpreter(Interpreter::Mode::typed, [&](const Weight &weight) {
    return load(*weight.expr);
  });
  MOEC_ASSIGN(auto chosen, interpreter.run(choose, {x}));
  const HostTensor &logits = chosen[0], &expert = chosen[1],
                   &weight = chosen[2];

  int64_t tokens = x.dim(0), hidden = x.dim(1), experts = logits.dim(1);
  int64_t k = expert.dim(0) / tokens;
  out.load.assign(experts, 0);
  for (int64_t chosenExpert : expert.ints)
    ++out.load[chosenExpert];
  for (int64_t t = 0; t < tokens && k < experts; ++t) {
    std::vector<double> scores(logits.row(t), logits.row(t) + experts);
    llvm::sort(scores, std::greater<>());
    out.ties += scores[k - 1] == scores[k];
  }
  // Expert by expert; the sum over a token's experts is in f64.
  const auto &attrs = layer.experts->attrs<FfnAttrs>();
  HostTensor y = HostTensor::ofFloats(ElementType::f32, {tokens, hidden});
  for (int64_t e = 0; e < experts; ++e) {
    if (!out.load[e])
      continue;
    // An FFN of this expert alone, run on its tokens.
    Program one;
    std::vector<HostTensor> loaded;
    for (unsigned i = 3; i < layer.experts->numOperands(); ++i) {
      const Expr &bank = resolve(*layer.experts->operand(i).weight()->expr);
      if (bank.kind == ExprKind::Stack) {
        MOEC_ASSIGN(HostTensor part, load(*bank.args[e]));
        loaded.push_back(std::move(part));
      } else {
        MOEC_ASSIGN(HostTensor all, load(bank));
        HostTensor part = HostTensor::ofFloats(
            all.element,
            std::vector<int64_t>(all.shape.begin() + 1, all.shape.end()));
        std::copy_n(all.row(e), part.elements(), part.floats.begin());
        loaded.push_back(std::move(part));
      }
    }
    std::vector<int64_t> pairs;
    for (int64_t p = 0; p < expert.dim(0); ++p)
      if (expert.ints[p] == e)
        pairs.push_back(p);
    llvm::SmallVector<Value, 7> operands;
    Block &body = one.body();
    std::vector<HostTensor> arguments;
    HostTensor gathered =
        HostTensor::ofFloats(ElementType::f32, {int64_t(pairs.size()), hidden});
    for (size_t i = 0; i < pairs.size(); ++i)
      std::copy_n(x.row(pairs[i] / k), hidden, gathered.row(i));
    operands.push_back(body.addArgument(
        TensorType({Dim(int64_t(pairs.size())), Dim(hidden)}, ElementType::f32),
        "x"));
    arguments.push_back(std::move(gathered));
    for (HostTensor &tensor : loaded) {
      llvm::SmallVector<Dim> dims(tensor.shape.begin(), tensor.shape.end());
      operands.push_back(
          body.addArgument(TensorType(dims, tensor.element), "w"));
      arguments.push_back(std::move(tensor));
    }
    auto copy = std::make_unique<FfnAttrs>(attrs);
    Operation *ffn = body.append(
        Operation::create(OpKind::Ffn, operands, {operands[0].type()},
                          std::move(copy), layer.experts->loc()));
    body.append(Operation::create(OpKind::Return, {ffn->result()}, {},
                                  std::make_unique<NoAttrs>(), Location()));
    MOEC_ASSIGN(auto outputs, interpreter.run(one, std::move(arguments)));
    for (size_t i = 0; i < pairs.size(); ++i)
      for (int64_t h = 0; h < hidden; ++h)
        y.row(pairs[i] / k)[h] +=
            weight.floats[pairs[i]] * outputs[0].row(i)[h];
  }
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < y.elements(); ++i) {
    double d = y.floats[i] - expected.floats[i];
    difference += d * d;
    norm += expected.floats[i] * expected.floats[i];
  }
  out.experts = experts;
  out.topk = k;
  out.outputError = norm ? std::sqrt(difference / norm) : 0;
  out.measured = out.outputError == 0      ? "bit-equal"
                 : out.outputError <= 1e-6 ? "exact"
                                           : "differs";
  return llvm::Error::success();
}

llvm::Error Prober::run(llvm::ArrayRef<int32_t> tokens,
                        llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  const Program *step = dense.findProgram(facts::kStep);
  const Program *after = sparse.findProgram(facts::kStep);
  if (!step || !after)
    return error() << "the module has no program 'step' to probe";
  // Blocks in order; an FFN that stayed dense has none.
  std::vector<std::optional<SparseLayer>> sparseLayers;
  SparseLayer current{};
  for (const Operation &op : after->body().ops()) {
    if (op.is(OpKind::Ffn))
      sparseLayers.push_back(std::nullopt);
    if (op.is(OpKind::MoeRoute)) {
      current.route = &op;
      current.router = op.operand(0).definingOp();
    }
    if (op.is(OpKind::MoeExperts)) {
      current.experts = &op;
      sparseLayers.push_back(current);
    }
  }
  ProbeProgram probeProgram(*step);
  int64_t count = tokens.size();
  std::vector<HostTensor> arguments;
  const Block &body = probeProgram.program.body();
  unsigned embedding = 0;
  for (unsigned i = 0; i < body.numArguments(); ++i) {
    Value argument = body.argument(i);
    llvm::StringRef name = argument.hint();
    std::vector<int64_t> positions(count);
    for (int64_t t = 0; t < count; ++t)
      positions[t] = t;
    if (argument.state()) {
      std::vector<int64_t> shape;
      int64_t block = argument.type().rank() == 4
                          ? std::min(argument.type().dim(2).constant(),
                                     argument.type().dim(3).constant())
                          : 1;
      for (const Dim &dim : argument.type().shape())
        shape.push_back(dim.isConstant() ? dim.constant()
                                         : (count + block - 1) / block);
      arguments.push_back(
          isFloat(argument.type().element())
              ? HostTensor::ofFloats(argument.type().element(), shape)
              : HostTensor::ofInts(argument.type().element(), shape));
    } else if (name == "embedded") {
      MOEC_ASSIGN(HostTensor rows,
                  embed(*probeProgram.embeddings[embedding++], tokens));
      arguments.push_back(std::move(rows));
    } else if (name == facts::kInputTokens) {
      arguments.push_back(HostTensor::ofInts({tokens.begin(), tokens.end()}));
    } else if (name == facts::kInputSeqOffsets) {
      arguments.push_back(HostTensor::ofInts({0, count}));
    } else if (name == facts::kInputBlockTable) {
      HostTensor table = HostTensor::ofInts(positions);
      table.shape = {1, count};
      arguments.push_back(std::move(table));
    } else if (name == facts::kInputLogitRows) {
      arguments.push_back(HostTensor::ofInts({count - 1}));
    } else {
      arguments.push_back(HostTensor::ofInts(positions));
    }
  }
  // The blocks dimension: as many as the table can name.
  for (unsigned i = 0; i < arguments.size(); ++i)
    if (Value argument = body.argument(i);
        argument.state() && argument.type().rank() == 4) {
      arguments[i].shape[0] = count;
      arguments[i].floats.resize(arguments[i].elements());
    }
  Interpreter interpreter(Interpreter::Mode::typed, [&](const Weight &weight) {
    return load(*weight.expr);
  });
  llvm::Error failure = llvm::Error::success();
  uint64_t layer = 0;
  interpreter.observe = [&](const Operation &op,
                            llvm::ArrayRef<HostTensor *> inputs,
                            llvm::ArrayRef<HostTensor *> results) {
    if (!op.is(OpKind::Ffn) || failure)
      return;
    if (layer < sparseLayers.size() && sparseLayers[layer]) {
      LayerReceipt out;
      out.layer = layer;
      failure = probe(*sparseLayers[layer], *inputs[0], *results[0], out);
      receipt.layers.push_back(std::move(out));
    }
    progress(++layer, sparseLayers.size());
  };
  auto results = interpreter.run(probeProgram.program, std::move(arguments));
  if (failure) {
    if (!results)
      llvm::consumeError(results.takeError()); // The first failure is told.
    return failure;
  }
  return results.takeError();
}

llvm::Error
moec::probeLayers(const Module &dense, const Module &sparse,
                  llvm::ArrayRef<int32_t> tokens, TensorReader &reader,
                  UpcycleReceipt &receipt,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  receipt.probeTokens = tokens.size();
  MOEC_TRY(Prober(dense, sparse, reader, receipt).run(tokens, progress));
  double worst = 0;
  for (const LayerReceipt &layer : receipt.layers)
    worst = std::max(worst, layer.outputError);
  receipt.equalsDense = !receipt.layers.empty() && worst < 1e-6;
  return llvm::Error::success();
}

llvm::Error moec::checkPromise(const UpcycleReceipt &receipt) {
  if (!receipt.promise.bound)
    return llvm::Error::success();
  for (const LayerReceipt &layer : receipt.layers)
    if (!(layer.outputError <= *receipt.promise.bound))
      return error() << "layer " << layer.layer << " is promised to be "
                     << receipt.promise.exactness << ", within "
                     << formatScientific(*receipt.promise.bound)
                     << " of the dense layer, but " << layer.outputError
                     << " was measured";
  return llvm::Error::success();
}
