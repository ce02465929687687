#include "tools/driver/Describe.h"

#include "ir/kernel/KernelOps.h"
#include "ir/ops/MoeBlock.h"
#include "ir/support/Escape.h"
#include "ir/text/Printer.h"
#include "ir/weights/Materialize.h"
#include "passes/analysis/Flops.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Align.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

static int64_t factNumber(const Module &module, const char *key) {
  auto at = module.facts.find(key);
  int64_t number = 0;
  if (at != module.facts.end() &&
      llvm::StringRef(at->second).getAsInteger(10, number))
    return 0;
  return number;
}

/// Whether tensors of several files go into an expression.
static bool mixesFiles(const Expr &expr) {
  std::vector<const Expr *> sources = sourceTensors(expr);
  return llvm::any_of(sources, [&](const Expr *source) {
    return source->file != sources.front()->file;
  });
}

/// One expert in words; tensors with the name of their file if `withFile`.
static std::string describeExpr(const Expr &expr, bool withFile) {
  const Expr &at = resolve(expr);
  auto inner = [&] { return describeExpr(*at.args[0], withFile); };
  switch (at.kind) {
  case ExprKind::Source:
    return (withFile ? "@" + at.file->name + ": " : "") +
           at.attrs<SourceAttrs>().key;
  case ExprKind::Slice: {
    const auto &attrs = at.attrs<SliceExprAttrs>();
    std::string before;
    for (int64_t axis = 0; axis < attrs.axis; ++axis)
      before += ":, ";
    return inner() + "[" + before + std::to_string(attrs.start) + ":" +
           std::to_string(attrs.start + attrs.size) + "]";
  }
  case ExprKind::Scale:
    return inner() + " x " + formatDouble(at.attrs<FactorAttrs>().factor);
  case ExprKind::Cast:
  case ExprKind::Dequantize:
  case ExprKind::Reshape:
  case ExprKind::RotaryToHalf:
  case ExprKind::Transpose:
    return inner();
  case ExprKind::Resample: {
    const auto &attrs = at.attrs<ResampleAttrs>();
    return inner() + ", " + std::to_string(attrs.count) + " of " +
           std::to_string(at.type.dim(attrs.axis).constant()) +
           " neurons redrawn";
  }
  case ExprKind::Noise:
    return inner() + ", with noise";
  case ExprKind::Fill:
    return "constant";
  case ExprKind::Normal:
    return "normal";
  case ExprKind::Uniform:
    return "uniform";
  default: {
    std::string text = exprName(at.kind).str() + "(";
    for (size_t i = 0; i < at.args.size(); ++i)
      text += (i ? ", " : "") + describeExpr(*at.args[i], withFile);
    return text + ")";
  }
  }
}

std::vector<std::string> moec::origins(const Weight &weight) {
  const Expr &at = resolve(*weight.expr);
  bool withFile = mixesFiles(at);
  if (at.kind != ExprKind::Stack)
    return {describeExpr(at, withFile)};
  std::vector<std::string> each;
  for (const ExprRef &arg : at.args)
    each.push_back(describeExpr(*arg, withFile));
  return each;
}

std::string moec::provenance(const Weight &weight) {
  constexpr size_t kMostRuns = 4;
  std::vector<std::string> each = origins(weight);
  if (resolve(*weight.expr).kind != ExprKind::Stack)
    return each.front();
  // Neighbours that read alike are told once.
  std::vector<std::pair<const std::string *, size_t>> runs;
  for (const std::string &origin : each) {
    if (runs.empty() || *runs.back().first != origin)
      runs.push_back({&origin, 0});
    ++runs.back().second;
  }
  if (runs.size() > kMostRuns)
    return std::to_string(each.size()) + " x (" + each.front() + ") ... (" +
           each.back() + ")";
  std::string text;
  for (auto [origin, count] : runs)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " x (" +
            *origin + ")";
  return text;
}

std::string moec::routerName(const RouteAttrs &attrs) {
  std::string select = enumNames(attrs.select)[unsigned(attrs.select)].str();
  std::string text =
      attrs.renorm == RouterRenorm::softmax_selected
          ? select + "-softmax"
          : enumNames(attrs.score)[unsigned(attrs.score)].str() + "-" + select;
  if (attrs.select == RouterSelect::sparse_mixer)
    text = select;
  if (attrs.renorm == RouterRenorm::sum)
    text += "-renorm";
  if (attrs.logitNorm == LogitNorm::zscore)
    text = "zscore-" + text;
  if (attrs.threshold != 0)
    text += " " + formatDouble(attrs.threshold);
  if (attrs.thresholdByExperts)
    text += " / experts";
  if (attrs.scale != 1)
    text += " x " + formatDouble(attrs.scale);
  if (attrs.logitScale != 1)
    text += ", logits x " + formatDouble(attrs.logitScale);
  if (attrs.capacity != 0)
    text += ", capacity " + formatDouble(attrs.capacity);
  if (attrs.groups > 1)
    text += " in " + std::to_string(attrs.topGroups) + " of " +
            std::to_string(attrs.groups) + " groups";
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

std::string moec::routerName(const MoeBlockView &block) {
  return (block.firstRouter ? "tanh-" : "") + routerName(block.routeAttrs());
}

/// A matrix need not be a weight.
static constexpr llvm::StringLiteral kComputed = "computed by the program";

/// The matrices of an ffn or of moe.experts, whose weights start at operand
/// `first`, in the order of operands.
static std::vector<MatrixOrigins> originsOf(const Operation &op,
                                            unsigned first) {
  std::vector<MatrixOrigins> matrices;
  llvm::SmallVector<llvm::StringRef, 3> names{"up", "down"};
  if (op.attrs<FfnAttrs>().gated)
    names.insert(names.begin(), "gate");
  for (auto [i, name] : llvm::enumerate(names)) {
    const Weight *weight = op.operand(first + i).weight();
    matrices.push_back(
        {name.str(), weight ? origins(*weight) : std::vector{kComputed.str()}});
  }
  return matrices;
}

static std::string provenanceOf(Value matrix) {
  return matrix.weight() ? provenance(*matrix.weight()) : kComputed.str();
}

ModelSummary moec::summarize(const Module &module) {
  ModelSummary summary;
  summary.name = module.name();
  auto architecture = module.facts.find(facts::kArchitecture);
  if (architecture != module.facts.end())
    summary.architecture = architecture->second;
  summary.layers = factNumber(module, facts::kLayers);
  summary.hidden = factNumber(module, facts::kHidden);
  summary.context = factNumber(module, facts::kContext);
  summary.vocabulary = factNumber(module, facts::kVocabulary);
  Program *step = module.findProgram(facts::kStep);
  if (!step)
    return summary;
  int64_t layer = 0;
  llvm::DenseSet<const Operation *> shared;
  for (const MoeBlockView &block : moeBlocks(*step))
    shared.insert(block.shared);
  for (Operation &op : step->body().ops()) {
    if (op.is(OpKind::Ffn) && !shared.count(&op)) {
      LayerSummary dense;
      dense.layer = layer++;
      dense.provenance =
          provenanceOf(op.operand(op.attrs<FfnAttrs>().gated ? 2 : 1));
      dense.origins = originsOf(op, /*first=*/1);
      summary.layerList.push_back(std::move(dense));
    }
    if (auto block = matchMoeBlock(op)) {
      unsigned gate = block->ffnAttrs().gated;
      LayerSummary sparse;
      sparse.layer = layer++;
      sparse.router = routerName(*block);
      sparse.topk = block->routeAttrs().k;
      sparse.experts = block->expertCount();
      if (block->shared) {
        TensorType up = block->shared->operand(1 + gate).type();
        sparse.router += ", shared " + std::to_string(up.dim(0).constant()) +
                         (block->sharedRouter ? " gated" : "");
      }
      sparse.provenance = provenanceOf(op.operand(3 + gate));
      sparse.origins = originsOf(op, /*first=*/3);
      summary.layerList.push_back(std::move(sparse));
    }
  }
  ModelCost cost = costOf(*step, /*context=*/0);
  summary.parameters = cost.parameters;
  summary.activeParameters = cost.activeParameters;
  summary.bytes = cost.weightBytes;
  summary.flopsPerToken = cost.flopsPerToken;
  return summary;
}

llvm::json::Value moec::toJson(const ModelSummary &summary) {
  llvm::json::Array layers;
  for (const LayerSummary &layer : summary.layerList) {
    llvm::json::Object object{{"layer", layer.layer},
                              {"weights", toUtf8(layer.provenance)},
                              {"experts", layer.experts}};
    llvm::json::Object from;
    for (const MatrixOrigins &matrix : layer.origins)
      from[matrix.name] = llvm::json::Array(matrix.each);
    object["from"] = std::move(from);
    if (layer.experts) {
      object["top_k"] = layer.topk;
      object["router"] = toUtf8(layer.router);
    }
    layers.push_back(std::move(object));
  }
  return llvm::json::Object{{"name", toUtf8(summary.name)},
                            {"architecture", toUtf8(summary.architecture)},
                            {"layers", summary.layers},
                            {"hidden", summary.hidden},
                            {"context", summary.context},
                            {"vocabulary", summary.vocabulary},
                            {"parameters", summary.parameters},
                            {"active_parameters", summary.activeParameters},
                            {"bytes", summary.bytes},
                            {"flops_per_token", summary.flopsPerToken},
                            {"layer_list", std::move(layers)}};
}

template <typename T> static std::string textOf(const T &printable) {
  std::string text;
  llvm::raw_string_ostream(text) << printable;
  return text;
}

static llvm::json::Array describeOps(const Block &block,
                                     llvm::DenseMap<Value, std::string> &names,
                                     unsigned &next) {
  llvm::json::Array ops;
  auto nameOf = [&](Value value) {
    return value.weight() ? "@" + value.weight()->name : names.lookup(value);
  };
  for (const Operation &op : block.ops()) {
    llvm::json::Array operands, results;
    for (Value operand : op.operands())
      operands.push_back(toUtf8(nameOf(operand)));
    for (Value result : op.results()) {
      names[result] = "%" + std::to_string(next++);
      results.push_back(llvm::json::Object{
          {"name", names[result]}, {"type", toUtf8(textOf(result.type()))}});
    }
    llvm::json::Object object{{"op", op.mnemonic()},
                              {"operands", std::move(operands)},
                              {"results", std::move(results)}};
    std::string attrs = op.attrs().str();
    if (!attrs.empty())
      object["attributes"] = toUtf8(attrs);
    if (op.loc().isKnown())
      object["location"] = toUtf8(op.loc().str());
    if (const Block *body = op.body()) {
      for (unsigned i = 0; i < body->numArguments(); ++i)
        names[body->argument(i)] = nameOf(op.operand(i));
      object["body"] = describeOps(*body, names, next);
    }
    ops.push_back(std::move(object));
  }
  return ops;
}

llvm::json::Value moec::describeModule(const Module &module) {
  llvm::json::Array dims, files, weights, states, programs;
  for (auto &dim : module.dims()) {
    llvm::json::Object object{{"name", toUtf8(dim->name())}};
    if (dim->isRagged())
      object["bound"] = toUtf8(textOf(dim->bound()));
    else
      object["maximum"] = dim->maximum();
    dims.push_back(std::move(object));
  }
  for (auto &file : module.files())
    files.push_back(llvm::json::Object{{"name", toUtf8(file->name)},
                                       {"path", toUtf8(file->path)},
                                       {"bytes", file->bytes},
                                       {"sha256", toUtf8(file->sha256)}});
  for (auto &weight : module.weights())
    weights.push_back(
        llvm::json::Object{{"name", toUtf8(weight->name)},
                           {"type", toUtf8(textOf(weight->type()))},
                           {"from", toUtf8(provenance(*weight))}});
  for (auto &state : module.states())
    states.push_back(llvm::json::Object{
        {"name", toUtf8(state->name)},
        {"kind", enumNames(state->kind)[unsigned(state->kind)]},
        {"type", toUtf8(textOf(state->type))}});
  for (auto &program : module.programs()) {
    llvm::DenseMap<Value, std::string> names;
    unsigned next = 0;
    llvm::json::Array arguments;
    const Block &body = program->body();
    for (unsigned i = 0; i < body.numArguments(); ++i) {
      Value argument = body.argument(i);
      names[argument] = "%" + argument.hint();
      arguments.push_back(
          llvm::json::Object{{"name", toUtf8(argument.hint())},
                             {"type", toUtf8(textOf(argument.type()))}});
    }
    programs.push_back(
        llvm::json::Object{{"name", toUtf8(program->name)},
                           {"arguments", std::move(arguments)},
                           {"ops", describeOps(body, names, next)}});
  }
  llvm::json::Object known;
  for (auto &[key, value] : module.facts)
    known[toUtf8(key)] = toUtf8(value);
  return llvm::json::Object{
      {"name", toUtf8(module.name())},  {"facts", std::move(known)},
      {"dims", std::move(dims)},        {"files", std::move(files)},
      {"weights", std::move(weights)},  {"states", std::move(states)},
      {"programs", std::move(programs)}};
}

/// Quoted for Graphviz; `\\n` breaks a line.
static std::string dotLabel(llvm::ArrayRef<std::string> lines) {
  std::string text;
  for (const std::string &line : lines) {
    for (char c : line)
      text += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    text += "\\l";
  }
  return "\"" + text + "\"";
}

/// Of ops that look up experts, how many there are and where they come from.
static std::vector<std::string> dotLines(const Operation &op) {
  std::vector<std::string> lines{op.mnemonic().str()};
  std::string attrs = op.attrs().str(/*maxListElements=*/4);
  if (!attrs.empty())
    lines.push_back(attrs);
  for (Value operand : op.operands())
    if (const Weight *weight = operand.weight())
      lines.push_back("@" + weight->name + " " + textOf(weight->type()));
  return lines;
}

void moec::printDot(const Module &module, llvm::raw_ostream &os) {
  os << "digraph " << quote(module.name()) << " {\n"
     << "  rankdir=TB; node [shape=box, fontname=\"Helvetica\"];\n";
  unsigned number = 0;
  for (auto &program : module.programs()) {
    std::string prefix = "p" + std::to_string(number);
    os << "  subgraph cluster_" << number++
       << " {\n    label=" << quote(program->name) << ";\n";
    llvm::DenseMap<const Operation *, unsigned> ids;
    llvm::MapVector<int64_t, std::vector<const Operation *>> layers;
    for (const Operation &op : program->body().ops()) {
      unsigned id = ids.size();
      ids[&op] = id;
      layers[layerOf(op)].push_back(&op);
    }
    for (auto &[layer, ops] : layers) {
      if (layer >= 0)
        os << "    subgraph cluster_" << prefix << "_" << layer
           << " {\n      label=\"layer " << layer << "\"; style=rounded;\n";
      for (const Operation *op : ops)
        os << "      " << prefix << "_" << ids.lookup(op)
           << " [label=" << dotLabel(dotLines(*op))
           << (op->mnemonic().starts_with("moe.")
                   ? ", style=filled, fillcolor=\"#ffe8c0\""
                   : "")
           << "];\n";
      if (layer >= 0)
        os << "    }\n";
    }
    for (const Operation &op : program->body().ops())
      for (Value operand : op.operands())
        if (const Operation *from = operand.definingOp())
          os << "    " << prefix << "_" << ids.lookup(from) << " -> " << prefix
             << "_" << ids.lookup(&op)
             << " [label=" << quote(textOf(operand.type())) << "];\n";
    os << "  }\n";
  }
  os << "}\n";
}
