#include "tools/driver/ModuleDiff.h"

#include "ir/core/FieldTexts.h"
#include "ir/ops/MoeBlock.h"
#include "ir/support/Hash.h"
#include "runtime/schema/Facts.h"
#include "tools/driver/Align.h"
#include "tools/driver/Describe.h"
#include "tools/driver/ExprText.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

using namespace moec;

template <typename T> static std::string textOf(const T &printable) {
  std::string text;
  llvm::raw_string_ostream(text) << printable;
  return text;
}

llvm::StringRef moec::changeName(Change change) {
  static const llvm::StringRef names[] = {"same", "added", "removed",
                                          "changed"};
  return names[unsigned(change)];
}

size_t LayerDiff::count(Change change) const {
  return llvm::count_if(
      ops, [&](const OpChange &op) { return op.change == change; });
}

std::string LayerDiff::title() const {
  return layer < 0 ? "outside of layers" : "layer " + std::to_string(layer);
}

size_t ProgramDiff::count(Change change) const {
  size_t total = 0;
  for (const LayerDiff &layer : layers)
    total += layer.count(change);
  return total;
}

size_t ModuleDiff::countWeights(Change change) const {
  return llvm::count_if(weights, [&](const WeightDiff &weight) {
    return weight.change == change;
  });
}

bool ModuleDiff::isEmpty() const {
  bool programsSame = llvm::all_of(programs, [](const ProgramDiff &program) {
    return program.change == Change::same;
  });
  bool weightsSame = llvm::all_of(weights, [](const WeightDiff &weight) {
    return weight.change == Change::same && !weight.indirectly &&
           !(weight.numbers && weight.numbers->maxDifference != 0);
  });
  return facts.empty() && files.empty() && assets.empty() && dims.empty() &&
         states.empty() && programsSame && weightsSame;
}

std::string moec::opSummary(const Operation &op) {
  std::string text = op.mnemonic().str();
  std::string attrs = op.attrs().str(/*maxListElements=*/4);
  return attrs.empty() ? text : text + " " + attrs;
}

namespace {
using FieldMap = std::map<std::string, std::string>;

class ProgramComparer {
public:
  ProgramComparer(Program &before, Program &after)
      : before(before), after(after), alignment(before, after) {}

  ProgramDiff run();

private:
  void add(OpChange change, ProgramDiff &diff);
  void compare(OpChange &change);
  void compareOperands(OpChange &change);
  bool standsFor(Value left, Value right);
  void nameRewrites(ProgramDiff &diff);

  Program &before, &after;
  Alignment alignment;
  /// Values of removed ops, and what reads in their place.
  llvm::DenseMap<Value, Value> replaced;
  int64_t currentLayer = -1;
};
} // namespace

/// Maps that are compared by key, in order.
static std::vector<FieldChange> compareMaps(const FieldMap &before,
                                            const FieldMap &after) {
  std::vector<FieldChange> changes;
  FieldMap all = before;
  all.insert(after.begin(), after.end());
  for (auto &[name, unused] : all) {
    auto left = before.find(name), right = after.find(name);
    FieldChange change{name, left == before.end() ? "" : left->second,
                       right == after.end() ? "" : right->second};
    if (change.before != change.after)
      changes.push_back(std::move(change));
  }
  return changes;
}

/// How a message names what an op reads.
static std::string nameOf(Value value) {
  if (!value)
    return "nothing";
  if (value.weight())
    return "@" + value.weight()->name;
  if (const Operation *op = value.definingOp()) {
    std::string text = op->mnemonic().str();
    if (!op->loc().object.empty())
      text += " of " + op->loc().object;
    return text;
  }
  return "%" + value.hint();
}

/// Whether what the second op reads is the first one's counterpart, or stands
/// in its place because that was rewritten.
bool ProgramComparer::standsFor(Value left, Value right) {
  if (left.weight() || right.weight())
    return left.weight() && right.weight() &&
           left.weight()->name == right.weight()->name;
  if (alignment.after(left) == right)
    return true;
  const Operation *from = left.definingOp(), *to = right.definingOp();
  if (!from || !to || alignment.after(from) || alignment.before(to))
    return false;
  auto [at, isNew] = replaced.try_emplace(left, right);
  return at->second == right;
}

void ProgramComparer::compareOperands(OpChange &change) {
  const Operation &left = *change.before, &right = *change.after;
  unsigned common = std::min(left.numOperands(), right.numOperands());
  for (unsigned i = 0; i < common; ++i)
    if (!standsFor(left.operand(i), right.operand(i)))
      change.fields.push_back({"operand " + std::to_string(i),
                               nameOf(left.operand(i)),
                               nameOf(right.operand(i))});
  auto rest = [&](const Operation &op) {
    std::string text;
    for (unsigned i = common; i < op.numOperands(); ++i)
      text += (text.empty() ? "" : ", ") + nameOf(op.operand(i));
    return text;
  };
  if (left.numOperands() != right.numOperands())
    change.fields.push_back({"further operands", rest(left), rest(right)});
}

void ProgramComparer::compare(OpChange &change) {
  for (auto [a, b] : llvm::zip(fieldTexts(change.before->attrs()),
                               fieldTexts(change.after->attrs())))
    if (a.second != b.second)
      change.fields.push_back({a.first, a.second, b.second});
  compareOperands(change);
  for (unsigned i = 0;
       i < change.before->numResults() && i < change.after->numResults(); ++i) {
    std::string a = textOf(change.before->result(i).type());
    std::string b = textOf(change.after->result(i).type());
    if (a != b)
      change.fields.push_back({"type", a, b});
  }
  if (!change.fields.empty())
    change.change = Change::changed;
}

void ProgramComparer::add(OpChange change, ProgramDiff &diff) {
  const Operation &op = change.op();
  int64_t layer = layerOf(op);
  // An op that says nothing of its place belongs to those in front of it.
  if (layer < 0 && op.loc().object.empty() && !op.is(OpKind::Return))
    layer = currentLayer;
  if (diff.layers.empty() || layer != currentLayer) {
    diff.layers.emplace_back();
    diff.layers.back().layer = currentLayer = layer;
  }
  diff.layers.back().ops.push_back(std::move(change));
}

/// `ffn 384 wide`, or `8 experts 384 wide, top-2 softmax-topk-renorm`.
static std::string describe(const Operation &ffn) {
  const auto &attrs = ffn.attrs<FfnAttrs>();
  return "ffn " + textOf(ffn.operand(attrs.gated ? 2 : 1).type().dim(0)) +
         " wide";
}

static std::string describe(const MoeBlockView &view) {
  unsigned up = 3 + (view.ffnAttrs().gated ? 1 : 0);
  std::string text = std::to_string(view.expertCount()) + " experts " +
                     textOf(view.experts->operand(up).type().dim(1)) +
                     " wide, top-" + std::to_string(view.routeAttrs().k) + " " +
                     routerName(view);
  if (view.shared)
    text += view.sharedRouter ? ", with a gated shared " : ", with a shared ";
  if (view.shared)
    text += describe(*view.shared);
  return text;
}

/// What stands in each layer: FFNs and mixtures, in order.
static llvm::DenseMap<const Operation *, std::string>
blocksOf(Program &program) {
  llvm::DenseMap<const Operation *, std::string> blocks;
  llvm::DenseMap<const Operation *, bool> parts;
  for (const MoeBlockView &view : moeBlocks(program)) {
    blocks[view.experts] = describe(view);
    if (view.shared)
      parts[view.shared] = true;
  }
  for (const Operation &op : program.body().ops())
    if (op.is(OpKind::Ffn) && !parts.count(&op))
      blocks[&op] = describe(op);
  return blocks;
}

void ProgramComparer::nameRewrites(ProgramDiff &diff) {
  auto left = blocksOf(before), right = blocksOf(after);
  for (LayerDiff &layer : diff.layers) {
    std::string from, to;
    auto append = [](std::string &text, const std::string &block) {
      if (!block.empty())
        text += (text.empty() ? "" : " + ") + block;
    };
    for (const OpChange &op : layer.ops) {
      if (op.before)
        append(from, left.lookup(op.before));
      if (op.after)
        append(to, right.lookup(op.after));
    }
    if (from != to)
      layer.rewrite = (from.empty() ? "nothing" : from) + " -> " +
                      (to.empty() ? "nothing" : to);
  }
}

ProgramDiff ProgramComparer::run() {
  ProgramDiff diff;
  diff.name = after.name;
  auto left = before.body().ops().begin(), right = after.body().ops().begin();
  auto gap = [&](const Operation *leftEnd, const Operation *rightEnd) {
    for (; left != before.body().ops().end() && &*left != leftEnd; ++left)
      add({Change::removed, &*left, nullptr, {}}, diff);
    for (; right != after.body().ops().end() && &*right != rightEnd; ++right)
      add({Change::added, nullptr, &*right, {}}, diff);
  };
  for (Alignment::Pair pair : alignment.pairs()) {
    gap(pair.before, pair.after);
    OpChange change{Change::same, pair.before, pair.after, {}};
    compare(change);
    add(std::move(change), diff);
    ++left;
    ++right;
  }
  gap(nullptr, nullptr);
  nameRewrites(diff);
  if (diff.count(Change::same) !=
      diff.count(Change::same) + diff.count(Change::added) +
          diff.count(Change::removed) + diff.count(Change::changed))
    diff.change = Change::changed;
  return diff;
}

/// A program that only one module has, as ops that were added or removed.
static ProgramDiff onlyIn(const Program &program, Change change) {
  ProgramDiff diff;
  diff.name = program.name;
  diff.change = change;
  bool added = change == Change::added;
  for (const Operation &op : program.body().ops()) {
    int64_t layer = layerOf(op);
    if (diff.layers.empty() || diff.layers.back().layer != layer) {
      diff.layers.emplace_back();
      diff.layers.back().layer = layer;
    }
    diff.layers.back().ops.push_back(
        {change, added ? nullptr : &op, added ? &op : nullptr, {}});
  }
  return diff;
}

static FieldMap filesOf(const Module &module, const Module &other) {
  FieldMap files;
  for (auto &file : module.files()) {
    const SourceFile *twin = other.findFile(file->name);
    // Equal digests are one file, wherever it lies.
    if (twin && !file->sha256.empty() && file->sha256 == twin->sha256) {
      files[file->name] = file->sha256;
      continue;
    }
    llvm::SmallString<256> path(file->path);
    if (llvm::sys::path::is_relative(path) && !module.baseFolder.empty()) {
      path = module.baseFolder;
      llvm::sys::path::append(path, file->path);
    }
    llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
    std::string text = path.str().str();
    // A digest that only one of them has taken says nothing.
    if (twin && !file->sha256.empty() && !twin->sha256.empty())
      text += ", SHA-256 " + file->sha256;
    files[file->name] = text;
  }
  return files;
}

static FieldMap statesOf(const Module &module) {
  FieldMap states;
  for (auto &state : module.states())
    states[state->name] =
        (enumNames(state->kind)[unsigned(state->kind)] + " ").str() +
        textOf(state->type);
  return states;
}

static FieldMap dimsOf(const Module &module) {
  FieldMap dims;
  for (auto &dim : module.dims())
    dims[dim->name()] =
        "at most " + (dim->isRagged() ? textOf(dim->bound())
                                      : std::to_string(dim->maximum()));
  return dims;
}

static FieldMap assetsOf(const Module &module) {
  FieldMap assets;
  for (auto &[name, bytes] : module.assets)
    assets[name] = std::to_string(bytes.size()) + " bytes, SHA-256 " +
                   toHex(sha256(llvm::StringRef(bytes)));
  return assets;
}

/// Facts that are there and empty are shown so.
static FieldMap factsOf(const Module &module) {
  FieldMap facts;
  for (auto &[key, value] : module.facts)
    facts[key] = value.empty() ? "\"\"" : value;
  return facts;
}

static void diffWeights(const Module &before, const Module &after,
                        ModuleDiff &diff) {
  ExprDigests shallow(/*followRefs=*/false), deep(/*followRefs=*/true);
  for (auto &weight : after.weights()) {
    WeightDiff one;
    one.name = weight->name;
    one.after = weight.get();
    one.before = before.findWeight(weight->name);
    if (!one.before) {
      one.change = Change::added;
      diff.weights.push_back(std::move(one));
      continue;
    }
    std::string a = textOf(one.before->type()), b = textOf(weight->type());
    if (a != b)
      one.fields.push_back({"type", a, b});
    if (shallow.of(*one.before->expr) != shallow.of(*weight->expr))
      one.fields.push_back(
          {"definition", exprText(*one.before->expr), exprText(*weight->expr)});
    else
      one.indirectly = deep.of(*one.before->expr) != deep.of(*weight->expr);
    if (!one.fields.empty())
      one.change = Change::changed;
    diff.weights.push_back(std::move(one));
  }
  for (auto &weight : before.weights())
    if (!after.findWeight(weight->name)) {
      WeightDiff one;
      one.name = weight->name;
      one.before = weight.get();
      one.change = Change::removed;
      diff.weights.push_back(std::move(one));
    }
}

ModuleDiff moec::diffModules(const Module &before, const Module &after) {
  ModuleDiff diff;
  diff.beforeName = before.name();
  diff.afterName = after.name();
  diff.facts = compareMaps(factsOf(before), factsOf(after));
  diff.files = compareMaps(filesOf(before, after), filesOf(after, before));
  diff.assets = compareMaps(assetsOf(before), assetsOf(after));
  diff.dims = compareMaps(dimsOf(before), dimsOf(after));
  diff.states = compareMaps(statesOf(before), statesOf(after));
  for (auto &program : after.programs()) {
    Program *old = before.findProgram(program->name);
    diff.programs.push_back(old ? ProgramComparer(*old, *program).run()
                                : onlyIn(*program, Change::added));
  }
  for (auto &program : before.programs())
    if (!after.findProgram(program->name))
      diff.programs.push_back(onlyIn(*program, Change::removed));
  diffWeights(before, after, diff);
  ModelSummary left = summarize(before), right = summarize(after);
  diff.parametersBefore = left.parameters;
  diff.parametersAfter = right.parameters;
  diff.activeBefore = left.activeParameters;
  diff.activeAfter = right.activeParameters;
  return diff;
}
