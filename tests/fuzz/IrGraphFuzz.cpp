// The bytes choose a graph. Lowered to kernel ops, it computes the same bits:
// fusion adds no semantics.

#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeBlock.h"
#include "ir/ops/TensorOps.h"
#include "passes/lower/Specialize.h"
#include "runtime/schema/Facts.h"
#include "tests/fuzz/IrFuzz.h"
#include "tests/ir/weights/NoFiles.h"

using namespace moec;

namespace {

constexpr int64_t kTokens = 3, kRows = 2, kExperts = 4;

/// Makes a program of what the bytes say; after the last byte come zeros.
class GraphMaker {
public:
  explicit GraphMaker(llvm::ArrayRef<uint8_t> choices)
      : choices(choices), module(std::make_unique<Module>("graph")),
        program(module->addProgram(facts::kStep)),
        tokens(module->addDim("tokens", kTokens)),
        rows(module->addDim("rows", kRows)), b(program->body()) {}

  std::unique_ptr<Module> make() {
    values.push_back(program->body().addArgument(matrix(tokens, 8), "x"));
    values.push_back(program->body().addArgument(matrix(tokens, 16), "z"));
    index = program->body().addArgument(TensorType({rows}, ElementType::i32),
                                        "index");
    positions = program->body().addArgument(
        TensorType({tokens}, ElementType::i32), "positions");
    for (int i = 0; i < 40 && !choices.empty(); ++i)
      addOp();
    // Whatever nobody reads, so that nothing is dead; and one from anywhere.
    llvm::SmallVector<Value> results;
    for (Value value : values)
      if (value.isUnused())
        results.push_back(value);
    results.push_back(pick());
    b.create(OpKind::Return, results, {});
    for (unsigned i = 0; i < results.size(); ++i)
      program->resultNames.push_back("r" + std::to_string(i));
    for (auto [state, last] : states)
      returnState(*program, state, last);
    return std::move(module);
  }

private:
  unsigned below(unsigned bound) {
    if (choices.empty())
      return 0;
    uint8_t byte = choices.front();
    choices = choices.drop_front();
    return byte % bound;
  }
  Value pick() { return values[below(values.size())]; }
  static TensorType matrix(Dim rowCount, int64_t width,
                           ElementType element = ElementType::f32) {
    return TensorType({rowCount, width}, element);
  }
  static int64_t width(Value value) { return value.type().dim(1).constant(); }

  Value weight(std::vector<int64_t> shape) {
    std::string name = "w" + std::to_string(module->weights().size());
    auto attrs = std::make_unique<NormalAttrs>();
    attrs->shape = std::move(shape);
    attrs->deviation = 0.5;
    attrs->weight = name;
    auto expr = Expr::make(ExprKind::Normal, {}, std::move(attrs));
    return module->addWeight(name, llvm::cantFail(std::move(expr)))->value();
  }
  /// An old weight of this shape now and then, so that ops may be equal.
  Value someWeight(std::vector<int64_t> shape) {
    if (below(2))
      for (const auto &known : module->weights())
        if (known->type().shape() == llvm::ArrayRef<Dim>(llvm::SmallVector<Dim>(
                                         shape.begin(), shape.end())))
          return known->value();
    return weight(std::move(shape));
  }
  Value f32(Value value) {
    if (value.type().element() == ElementType::f32)
      return value;
    return b.make(OpKind::Cast, {value},
                  value.type().withElement(ElementType::f32));
  }

  void addOp();
  void addMoe(Value x);
  RouteAttrs anyRoute();

  llvm::ArrayRef<uint8_t> choices;
  std::unique_ptr<Module> module;
  Program *program;
  DimSymbol *tokens, *rows;
  Builder b;
  std::vector<Value> values;
  Value index, positions;
  std::vector<std::pair<State *, Value>> states;
};

/// Attributes that belong together.
RouteAttrs GraphMaker::anyRoute() {
  RouteAttrs route;
  route.select = RouterSelect(below(6));
  route.k = 1 + below(kExperts);
  route.renorm = RouterRenorm(below(3));
  route.score = RouterScore(below(4));
  route.logitNorm = LogitNorm(below(2));
  route.logitScale = below(2) ? 1 : 1.5;
  route.scale = below(2) ? 1 : 2.5;
  route.minimum = below(2) ? 0 : 0.5;
  switch (route.select) {
  case RouterSelect::topp:
    route.threshold = 0.5;
    break;
  case RouterSelect::threshold:
    route.threshold = 0.25 * below(4);
    route.thresholdByExperts = below(2);
    break;
  case RouterSelect::all:
    route.k = kExperts;
    break;
  case RouterSelect::sparse_mixer:
    route.k = 2;
    route.score = RouterScore::identity;
    route.renorm = RouterRenorm::none;
    route.threshold = 0.125;
    break;
  default:
    break;
  }
  if (route.select == RouterSelect::topk && kExperts % 2 == 0 && below(2)) {
    route.groups = route.topGroups = 2;
    route.groupScore = GroupScore(below(2));
    route.maskValue = MaskValue(below(2));
  }
  if (route.select != RouterSelect::expert_choice && below(4) == 0) {
    route.capacity = 0.75;
    route.drop = DropPolicy(below(2));
  }
  return route;
}

void GraphMaker::addMoe(Value x) {
  // Four blocks are enough, and layers have one block each.
  if (states.size() == 4 || x.type().dim(0) != Dim(tokens))
    return;
  int64_t w = width(x);
  MoeWeights weights;
  weights.router = weight({kExperts, w});
  if (below(2))
    weights.selectBias = weight({kExperts});
  FfnAttrs ffn;
  ffn.gated = below(2);
  ffn.weightedHidden = below(2);
  if (ffn.gated)
    weights.experts.push_back(weight({kExperts, 8, w}));
  weights.experts.push_back(weight({kExperts, 8, w}));
  weights.experts.push_back(weight({kExperts, w, 8}));
  if (below(2))
    weights.routerBias = weight({kExperts});
  if (below(2)) {
    if (ffn.gated)
      weights.shared.push_back(weight({8, w}));
    weights.shared.append({weight({8, w}), weight({w, 8})});
    if (below(2))
      weights.sharedRouter = weight({1, w});
  }
  RouteAttrs route = anyRoute();
  if (route.select == RouterSelect::sparse_mixer)
    weights.selectBias = {};
  MoeBlock block = buildMoeBlock(b, *module, *program, f32(x), weights, route,
                                 ffn, int64_t(states.size()));
  auto view = matchMoeBlock(*block.output.definingOp());
  require(!view, "only moe.experts is one");
  for (const MoeBlockView &built : moeBlocks(*program))
    if (built.output == block.output)
      require(built.layer == int64_t(states.size()) &&
                  built.weights().router == weights.router &&
                  built.weights().experts == weights.experts &&
                  built.weights().shared == weights.shared &&
                  built.weights().sharedRouter == weights.sharedRouter &&
                  built.weights().routerBias == weights.routerBias,
              "a block is found as it was built");
  states.push_back({block.counts, block.counted});
  values.push_back(block.output);
}

void GraphMaker::addOp() {
  Value x = pick();
  const TensorType type = x.type();
  int64_t w = width(x);
  auto push = [&](Value value) { values.push_back(value); };
  switch (below(14)) {
  case 0: {
    ActivationAttrs attrs;
    attrs.fn = ActivationFn(below(8));
    return push(b.make(OpKind::Activation, {x}, type, attrs));
  }
  case 1:
  case 2:
  case 3: {
    static constexpr OpKind kinds[] = {OpKind::Add, OpKind::Mul, OpKind::Sub};
    Value other = below(4) ? pick() : someWeight({w});
    bool row = other.type().rank() == 1;
    if (row || other.type().shape() == type.shape())
      push(b.make(kinds[below(3)], {x, other},
                  type.withElement(ElementType::f32)));
    return;
  }
  case 4:
    return push(b.make(
        OpKind::Cast, {x},
        type.withElement(below(2) ? ElementType::bf16 : ElementType::f32)));
  case 5: {
    // The index is of tokens.
    if (type.dim(0) != Dim(tokens))
      return;
    return push(b.make(OpKind::GatherRows, {x, index},
                       matrix(rows, w, type.element())));
  }
  case 6: {
    RmsNormAttrs attrs;
    attrs.groups = below(2) ? 2 : 1;
    return push(b.make(OpKind::RmsNorm, {x, someWeight({w / attrs.groups})},
                       type, attrs));
  }
  case 7:
    return push(b.make(OpKind::LayerNorm, {x, someWeight({w}), someWeight({w})},
                       type, LayerNormAttrs()));
  case 8:
  case 9: {
    int64_t out = below(2) ? 16 : 8;
    llvm::SmallVector<Value, 3> operands{x, someWeight({out, w})};
    if (below(2))
      operands.push_back(someWeight({out}));
    return push(b.make(OpKind::Linear, operands, matrix(type.dim(0), out)));
  }
  case 10: {
    ScaleAttrs attrs;
    attrs.factor = below(3) ? 0.25 : 1;
    return push(b.make(OpKind::Scale, {x}, type, attrs));
  }
  case 11: {
    SliceAttrs attrs;
    attrs.size = below(2) ? 8 : w;
    attrs.start = w - attrs.size;
    return push(b.make(OpKind::Slice, {x},
                       matrix(type.dim(0), attrs.size, type.element()), attrs));
  }
  case 12: {
    FfnAttrs attrs;
    attrs.gated = below(2);
    llvm::SmallVector<Value, 4> operands{x};
    if (attrs.gated)
      operands.push_back(someWeight({8, w}));
    operands.append({someWeight({8, w}), someWeight({w, 8})});
    return push(b.make(OpKind::Ffn, operands, matrix(type.dim(0), w), attrs));
  }
  default:
    return addMoe(x);
  }
}

std::vector<HostTensor> run(const Module &module, llvm::StringRef name) {
  NoFiles files;
  Interpreter interpreter(
      Interpreter::Mode::typed,
      [&](const Weight &weight) -> llvm::Expected<HostTensor> {
        MOEC_ASSIGN(std::vector<float> numbers,
                    materialize(*weight.expr, files));
        llvm::SmallVector<int64_t> shape;
        for (Dim dim : weight.type().shape())
          shape.push_back(dim.constant());
        HostTensor tensor = HostTensor::ofFloats(weight.type().element(),
                                                 {shape.begin(), shape.end()});
        tensor.floats.assign(numbers.begin(), numbers.end());
        return tensor;
      });
  const Program &program = *module.findProgram(name);
  std::vector<HostTensor> arguments;
  for (unsigned i = 0; i < program.body().numArguments(); ++i) {
    Value argument = program.body().argument(i);
    std::vector<int64_t> shape;
    for (Dim dim : argument.type().shape())
      shape.push_back(dim.isConstant()                 ? dim.constant()
                      : dim.symbol()->name() == "rows" ? kRows
                                                       : kTokens);
    ElementType element = argument.type().element();
    if (isFloat(element)) {
      HostTensor tensor = HostTensor::ofFloats(element, shape);
      for (size_t j = 0; j < tensor.floats.size(); ++j)
        tensor.floats[j] = 0.125 * double(int(j * 7 % 23) - 11);
      arguments.push_back(std::move(tensor));
      continue;
    }
    HostTensor tensor = HostTensor::ofInts(element, shape);
    if (argument.hint() == "index")
      tensor.ints = {2, 0};
    arguments.push_back(std::move(tensor));
  }
  auto results = interpreter.run(program, std::move(arguments));
  if (!results) {
    llvm::errs() << toText(results.takeError()) << "\n";
    require(false, "a valid program runs");
  }
  return std::move(*results);
}

bool sameNumbers(const HostTensor &a, const HostTensor &b) {
  return a.shape == b.shape && a.element == b.element && a.ints == b.ints &&
         llvm::equal(a.floats, b.floats, [](double x, double y) {
           return llvm::bit_cast<uint64_t>(x) == llvm::bit_cast<uint64_t>(y) ||
                  (x != x && y != y);
         });
}

std::unique_ptr<Module> transformed(const Module &module,
                                    llvm::StringRef passes) {
  auto copy = llvm::cantFail(parseModule(printModule(module), "copy"));
  PassManager manager;
  manager.add(llvm::cantFail(parsePipeline(passes, allPasses())));
  if (llvm::Error err = manager.run(*copy)) {
    llvm::errs() << toText(std::move(err)) << "\n" << printModule(module);
    require(false, "a graph is lowered");
  }
  requireRoundTrips(*copy);
  return copy;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::unique_ptr<Module> graph = GraphMaker({data, size}).make();
  if (llvm::Error err = verify(*graph)) {
    llvm::errs() << toText(std::move(err)) << "\n" << printModule(*graph);
    require(false, "the maker makes valid graphs");
  }
  // An ffn rounds less between its products than what it expands to.
  auto expanded = transformed(*graph, "expand-ffn");
  auto lowered =
      transformed(*graph, loweringPipeline(ElementType::f32, ElementType::f32));
  std::vector<HostTensor> before = run(*expanded, facts::kStep);
  for (const auto &program : lowered->programs()) {
    std::vector<HostTensor> after = run(*lowered, program->name);
    bool same = llvm::equal(before, after, sameNumbers);
    if (!same)
      llvm::errs() << printModule(*graph) << printModule(*lowered);
    require(same, "lowering keeps every bit");
  }
  return 0;
}
