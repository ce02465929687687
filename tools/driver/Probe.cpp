//===- Probe.cpp - what upcycling does to each layer's output -------------===//
//
// A site is a block of the program before and what stands in its place after:
// the same input, and the value that reaches the same reader. The program
// before runs once, op by op, and at each site the new block runs on the old
// one's input, so that errors of layers do not add up.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Clone.h"
#include "ir/ops/MoeBlock.h"
#include "ir/support/Interrupt.h"
#include "passes/upcycle/Exactness.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Align.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/StreamRunner.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace moec;

/// An output error of so many times the floor is rounding.
static constexpr double kFloorFactor = 4;
static constexpr double kExact = 1e-6;

/// The ops that compute a site's output from its inputs, in order; nothing
/// where they read something else as well.
static std::optional<std::vector<const Operation *>>
sliceOf(const Block &block, const BlockSite &site) {
  llvm::DenseSet<const Operation *> wanted;
  std::vector<Value> work{site.output};
  while (!work.empty()) {
    Value value = work.back();
    work.pop_back();
    bool given = llvm::any_of(
        site.inputs, [&](const auto &input) { return input.second == value; });
    if (given || value.weight())
      continue;
    const Operation *op = value.definingOp();
    if (!op)
      return std::nullopt;
    if (wanted.insert(op).second)
      work.insert(work.end(), op->operands().begin(), op->operands().end());
  }
  std::vector<const Operation *> ops;
  for (const Operation &op : block.ops())
    if (wanted.count(&op))
      ops.push_back(&op);
  return ops;
}

/// The blocks of the program before: FFNs, and mixtures with all their parts.
static std::vector<BlockSite> blocksOf(Program &before) {
  std::vector<BlockSite> sites;
  llvm::DenseSet<const Operation *> shared;
  for (const MoeBlockView &view : moeBlocks(before)) {
    BlockSite site;
    site.layer = view.layer;
    site.inputs.emplace_back(view.routed(), Value());
    site.outputBefore = view.output;
    shared.insert(view.shared);
    sites.push_back(site);
  }
  int64_t ordinal = 0;
  for (const Operation &op : before.body().ops()) {
    if (!op.is(OpKind::Ffn) || shared.count(&op))
      continue;
    BlockSite site;
    site.dense = &op;
    site.layer = layerOf(op);
    if (site.layer < 0)
      site.layer = ordinal;
    ++ordinal;
    site.inputs.emplace_back(op.operand(0), Value());
    site.outputBefore = op.result();
    sites.push_back(site);
  }
  return sites;
}

/// What stands in the place of a block; why nothing does.
static const char *complete(BlockSite &site, const Program &after,
                            const Alignment &alignment) {
  for (auto &[before, now] : site.inputs)
    if (!now)
      now = alignment.after(before);
  for (const Operation *reader : site.outputBefore.users())
    if (const Operation *other = alignment.after(reader))
      for (unsigned i = 0; i < reader->numOperands(); ++i)
        if (reader->operand(i) == site.outputBefore && i < other->numOperands())
          site.output = other->operand(i);
  bool known =
      llvm::all_of(site.inputs, [](const auto &input) { return input.second; });
  if (!known || !site.output || site.output.weight())
    return "nothing stands in the place of its block";
  auto ops = sliceOf(after.body(), site);
  if (!ops)
    return "its block reads more than the layer's input";
  site.ops = std::move(*ops);
  for (const Operation *part : site.ops) {
    if (part->is(OpKind::MoeExperts))
      site.experts = part;
    if (part->is(OpKind::MoeRoute))
      site.route = part;
  }
  return nullptr;
}

/// Heads that are a mixture now: from their outputs and what the router reads
/// to the output of the projection behind them.
static std::vector<BlockSite> mixturesOf(const Program &after,
                                         const Alignment &alignment) {
  std::vector<BlockSite> sites;
  for (const Operation &op : after.body().ops()) {
    if (!op.is(OpKind::MoeGateHeads) || alignment.before(&op))
      continue;
    const Operation *route = op.operand(1).definingOp();
    const Operation *logits = route ? route->operand(0).definingOp() : nullptr;
    const Operation *out = op.result().users()[0];
    BlockSite site;
    site.attention = true;
    site.dense = alignment.before(out);
    if (!logits || !logits->is(OpKind::Linear) || !site.dense)
      continue;
    site.layer = layerOf(*logits);
    site.inputs = {{site.dense->operand(0), op.operand(0)},
                   {alignment.before(logits->operand(0)), logits->operand(0)}};
    site.outputBefore = site.dense->result();
    if (site.inputs[1].first)
      sites.push_back(std::move(site));
  }
  return sites;
}

std::vector<BlockSite> moec::findSites(Program &before, Program &after,
                                       std::vector<std::string> &notes) {
  Alignment alignment(before, after);
  std::vector<BlockSite> all = mixturesOf(after, alignment), sites;
  llvm::append_range(all, blocksOf(before));
  for (BlockSite &site : all) {
    if (const char *why = complete(site, after, alignment))
      notes.push_back("layer " + std::to_string(site.layer) +
                      (site.attention ? "'s attention" : "") +
                      " was not measured: " + why);
    else if (!site.dense || (site.route && (site.experts || site.attention)))
      sites.push_back(std::move(site));
  }
  llvm::stable_sort(sites, [](const BlockSite &a, const BlockSite &b) {
    return a.layer < b.layer;
  });
  return sites;
}

namespace {
using Values = StreamRunner::Values;

class Prober {
public:
  Prober(const Program &dense, TensorReader &reader,
         const ProbeOptions &options, UpcycleReceipt &receipt)
      : dense(dense), runner(reader, options.stored), options(options),
        receipt(receipt) {}

  llvm::Error run(llvm::ArrayRef<BlockSite> sites,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress);

private:
  void addArguments(Values &values) const;
  llvm::Error probe(const BlockSite &site, const Values &values,
                    LayerReceipt &out);
  llvm::Expected<int64_t> countTies(const BlockSite &site, const Values &sparse,
                                    const HostTensor &chosen,
                                    const HostTensor &offsets);

  const Program &dense;
  StreamRunner runner;
  const ProbeOptions &options;
  UpcycleReceipt &receipt;
};
} // namespace

/// ||a - b|| / ||b||.
static double distance(const HostTensor &a, const HostTensor &b) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < b.elements(); ++i) {
    double d = a.floats[i] - b.floats[i];
    difference += d * d;
    norm += b.floats[i] * b.floats[i];
  }
  if (difference == 0)
    return 0;
  return norm ? std::sqrt(difference / norm) : INFINITY;
}

/// One sequence of all tokens, with caches that hold it.
void Prober::addArguments(Values &values) const {
  int64_t count = options.tokens.size();
  std::vector<int64_t> positions(count);
  for (int64_t t = 0; t < count; ++t)
    positions[t] = t;
  const Block &body = dense.body();
  for (unsigned i = 0; i < body.numArguments(); ++i) {
    Value argument = body.argument(i);
    llvm::StringRef name = argument.hint();
    HostTensor tensor;
    if (argument.state()) {
      // A block for every token, more than enough.
      std::vector<int64_t> shape;
      for (const Dim &dim : argument.type().shape())
        shape.push_back(dim.isConstant() ? dim.constant() : count);
      ElementType element = argument.type().element();
      tensor = isFloat(element) ? HostTensor::ofFloats(element, shape)
                                : HostTensor::ofInts(element, shape);
    } else if (name == facts::kInputTokens) {
      tensor =
          HostTensor::ofInts({options.tokens.begin(), options.tokens.end()});
    } else if (name == facts::kInputSeqOffsets) {
      tensor = HostTensor::ofInts({0, count});
    } else if (name == facts::kInputLogitRows) {
      tensor = HostTensor::ofInts({count - 1});
    } else {
      tensor = HostTensor::ofInts(positions);
      if (name == facts::kInputBlockTable)
        tensor.shape = {1, count};
    }
    values[argument] = std::move(tensor);
  }
}

/// Tokens whose experts change when equal scores go to the higher expert: the
/// router's columns reversed, the choice must be the same in reverse.
llvm::Expected<int64_t> Prober::countTies(const BlockSite &site,
                                          const Values &sparse,
                                          const HostTensor &chosen,
                                          const HostTensor &offsets) {
  const Operation &route = *site.route;
  HostTensor logits = sparse.find(route.operand(0))->second;
  int64_t tokens = logits.dim(0), experts = logits.dim(1);
  for (int64_t t = 0; t < tokens; ++t)
    std::reverse(logits.row(t), logits.row(t) + experts);
  Program program;
  ValueMap map;
  std::vector<HostTensor> arguments{std::move(logits)};
  map[route.operand(0)] =
      program.body().addArgument(route.operand(0).type(), "logits");
  for (Value bias : llvm::drop_begin(route.operands())) {
    // Reversed as well.
    Values one;
    map[bias] = program.body().addArgument(bias.type(), "bias");
    MOEC_ASSIGN(HostTensor numbers, runner.load(*bias.weight()));
    std::reverse(numbers.floats.begin(), numbers.floats.end());
    arguments.push_back(std::move(numbers));
  }
  Operation *copy = cloneOp(route, program.body(), map);
  program.body().append(
      Operation::create(OpKind::Return, {copy->result(0), copy->result(1)}, {},
                        std::make_unique<NoAttrs>(), Location()));
  Interpreter interpreter(Interpreter::Mode::typed, nullptr);
  MOEC_ASSIGN(auto reversed, interpreter.run(program, std::move(arguments)));
  auto choice = [&](const HostTensor &starts, const HostTensor &ids, int64_t t,
                    bool reverse) {
    std::vector<int64_t> set(ids.ints.begin() + starts.ints[t],
                             ids.ints.begin() + starts.ints[t + 1]);
    for (int64_t &expert : set)
      expert = reverse ? experts - 1 - expert : expert;
    llvm::sort(set);
    return set;
  };
  int64_t ties = 0;
  for (int64_t t = 0; t < tokens; ++t)
    ties += choice(offsets, chosen, t, false) !=
            choice(reversed[0], reversed[1], t, true);
  return ties;
}

llvm::Error Prober::probe(const BlockSite &site, const Values &values,
                          LayerReceipt &out) {
  Values sparse;
  const HostTensor &expected = values.find(site.outputBefore)->second;
  for (auto [before, after] : site.inputs)
    sparse[after] = values.find(before)->second;
  for (const Operation *op : site.ops)
    MOEC_TRY(runner.runOp(*op, sparse));
  out.layer = site.layer;
  out.attention = site.attention;
  if (site.route) {
    out.topk = site.route->attrs<RouteAttrs>().k;
    const HostTensor &offsets = sparse.find(site.route->result(0))->second;
    const HostTensor &chosen = sparse.find(site.route->result(1))->second;
    out.experts = sparse.find(site.route->operand(0))->second.dim(1);
    out.load.assign(out.experts, 0);
    for (int64_t expert : chosen.ints)
      ++out.load[expert];
    MOEC_ASSIGN(out.ties, countTies(site, sparse, chosen, offsets));
  }
  out.outputError = distance(sparse.find(site.output)->second, expected);
  if (site.dense) {
    // What rounding does to the dense layer.
    Values exact;
    Value input = site.inputs[0].first;
    exact[input] = values.find(input)->second;
    MOEC_TRY(runner.runOp(*site.dense, exact, Interpreter::Mode::f64));
    out.errorFloor = distance(expected, exact.find(site.outputBefore)->second);
  }
  out.measured = out.outputError == 0 ? "equal"
                 : isRounding(out)    ? "exact"
                                      : "differs";
  return llvm::Error::success();
}

llvm::Error Prober::run(llvm::ArrayRef<BlockSite> sites,
                        llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  if (sites.empty())
    return llvm::Error::success();
  // A site is probed when its block's output is there. Values are forgotten
  // behind the last op that reads them.
  llvm::DenseMap<const Operation *, const BlockSite *> siteOf;
  llvm::DenseMap<Value, const Operation *> lastReader;
  for (const Operation &op : dense.body().ops()) {
    for (Value operand : op.operands())
      lastReader[operand] = &op;
    for (Value result : op.results())
      lastReader[result] = &op;
  }
  for (const BlockSite &site : sites) {
    const Operation *last = site.outputBefore.definingOp();
    siteOf[last] = &site;
    for (auto [before, after] : site.inputs)
      lastReader[before] = nullptr;
  }
  receipt.layers.resize(sites.size());
  Values values;
  addArguments(values);
  uint64_t done = 0;
  for (const Operation &op : dense.body().ops()) {
    MOEC_TRY(checkInterrupt());
    MOEC_TRY(runner.runOp(op, values));
    if (const BlockSite *site = siteOf.lookup(&op)) {
      MOEC_TRY(probe(*site, values, receipt.layers[site - sites.data()]));
      progress(++done, sites.size());
      if (done == sites.size())
        break;
    }
    for (Value operand : op.operands())
      if (!operand.weight() && lastReader[operand] == &op)
        values.erase(operand);
  }
  return llvm::Error::success();
}

std::string moec::nameOf(const LayerReceipt &layer) {
  return std::to_string(layer.layer) + (layer.attention ? " heads" : "");
}

bool moec::isRounding(const LayerReceipt &layer) {
  return layer.outputError <= std::max(kExact, kFloorFactor * layer.errorFloor);
}

llvm::Error
moec::probeLayers(const Module &dense, const Module &sparse,
                  const ProbeOptions &options, TensorReader &reader,
                  UpcycleReceipt &receipt,
                  llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  Program *before = dense.findProgram(facts::kStep);
  Program *after = sparse.findProgram(facts::kStep);
  if (!before || !after)
    return error() << "the module has no program 'step' to probe";
  receipt.probeTokens = options.tokens.size();
  std::vector<BlockSite> sites = findSites(*before, *after, receipt.notes);
  MOEC_TRY(Prober(*before, reader, options, receipt).run(sites, progress));
  receipt.equalsDense =
      !receipt.layers.empty() && llvm::all_of(receipt.layers, isRounding);
  if (options.statistics)
    MOEC_TRY(measureWeights(sites, reader, options, receipt));
  return llvm::Error::success();
}

Promise moec::promiseOf(const Module &dense, const UpcycleOptions &options,
                        std::optional<ElementType> stored) {
  std::optional<Exactness> weakest;
  auto add = [&](Exactness one) {
    weakest = weakest ? weaker(*weakest, one) : std::move(one);
  };
  const Program *step = dense.findProgram(facts::kStep);
  bool mixture = options.attention == AttentionInit::mixture;
  for (const Operation &op : step->body().ops()) {
    if (op.is(OpKind::Attention) && mixture && op.result().hasOneUse()) {
      const Operation &out = *op.result().users()[0];
      ElementType own = out.operand(out.numOperands() - 1).type().element();
      add(promisedMixture(options, op, stored.value_or(own)));
    }
    if (!op.is(OpKind::Ffn))
      continue;
    const auto &attrs = op.attrs<FfnAttrs>();
    TensorType up = op.operand(attrs.gated ? 2 : 1).type();
    add(promisedExactness(options, attrs, stored.value_or(up.element()),
                          up.dim(0).constant()));
  }
  Promise promise;
  if (!weakest)
    return promise;
  promise.exactness = enumNames(weakest->kind)[unsigned(weakest->kind)].str();
  if (std::isfinite(weakest->bound))
    promise.bound = weakest->bound;
  if (std::isfinite(weakest->predicted) && weakest->predicted > 0)
    promise.predicted = weakest->predicted;
  promise.condition = weakest->reason;
  return promise;
}

llvm::Error moec::checkPromise(const UpcycleReceipt &receipt) {
  if (!receipt.promise.bound)
    return llvm::Error::success();
  for (const LayerReceipt &layer : receipt.layers) {
    double bound =
        std::max(*receipt.promise.bound, kFloorFactor * layer.errorFloor);
    if (!(layer.outputError <= bound))
      return error() << (layer.attention ? "the attention of layer " : "layer ")
                     << layer.layer << " is promised to be '"
                     << receipt.promise.exactness << "', within "
                     << formatScientific(bound)
                     << " of the dense layer's output, but "
                     << formatScientific(layer.outputError) << " was measured";
  }
  return llvm::Error::success();
}
