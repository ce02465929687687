#include "frontend/exporter/Recognize.h"

#include "frontend/layers/Decoder.h"
#include "ir/ops/AttentionOps.h"
#include "ir/ops/MoeBlock.h"
#include "runtime/schema/Facts.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>

using namespace moec;

namespace {
/// Reads settings off a graph. They need not be right: `Comparison` judges.
class Reader {
public:
  Reader(const Module &module, const Program &step)
      : module(module), step(step) {}
  llvm::Expected<ModelConfig> read();

private:
  void readFacts();
  void readBiasesAndNorms();
  void readRope();
  void readScales();
  llvm::Error readAttention();
  llvm::Error readFfns();
  llvm::Error readFfn(const Operation &op, llvm::ArrayRef<Value> weights,
                      int64_t &width, llvm::StringRef what);
  llvm::Error readMoe(const MoeBlockView &block);

  /// The first op that reads the weight, null where there is none.
  const Operation *reader(const llvm::Twine &name) const {
    return readers.lookup(name.str());
  }
  bool isBiased(const llvm::Twine &name) const {
    const Operation *op = reader(name);
    return op && op->numOperands() == 3;
  }
  std::optional<int64_t> fact(const char *key) const;

  const Module &module;
  const Program &step;
  ModelConfig config;
  llvm::StringMap<const Operation *> readers;
  std::vector<const Operation *> attentions;
};
} // namespace

std::optional<int64_t> Reader::fact(const char *key) const {
  auto at = module.facts.find(key);
  int64_t value;
  if (at == module.facts.end() ||
      llvm::StringRef(at->second).getAsInteger(10, value))
    return std::nullopt;
  return value;
}

void Reader::readFacts() {
  auto text = [&](const char *key) {
    auto at = module.facts.find(key);
    return at == module.facts.end() ? llvm::StringRef() : at->second;
  };
  llvm::StringRef family = text(facts::kArchitecture);
  for (unsigned i = 0; i <= unsigned(ModelFamily::starcoder2); ++i)
    if (familyName(ModelFamily(i)) == family)
      config.family = ModelFamily(i);
  config.name = text(facts::kName).str();
  config.context = fact(facts::kContext).value_or(0);
  config.bos = fact(facts::kBos);
  llvm::SmallVector<llvm::StringRef> ids;
  text(facts::kEos).split(ids, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef id : ids)
    if (int64_t value; !id.getAsInteger(10, value))
      config.eos.push_back(value);
}

void Reader::readBiasesAndNorms() {
  config.qkvBias = isBiased("layers.0.attn.q");
  config.outBias = isBiased("layers.0.attn.o");
  bool before = reader("layers.0.attn_norm");
  bool after = reader("layers.0.attn_post_norm");
  config.normPlace = before && after ? NormPlace::both
                     : after         ? NormPlace::after
                                     : NormPlace::before;
  if (const Operation *norm = reader("final_norm")) {
    if (norm->is(OpKind::LayerNorm)) {
      config.norm = NormKind::layer;
      config.normEps = norm->attrs<LayerNormAttrs>().epsilon;
    } else if (norm->is(OpKind::RmsNorm)) {
      config.normEps = norm->attrs<RmsNormAttrs>().epsilon;
    }
  }
  if (const Operation *norm = reader("layers.0.attn.q_norm"))
    config.qkNorm = norm->is(OpKind::RmsNorm) &&
                            norm->attrs<RmsNormAttrs>().groups == 1 &&
                            config.heads != 1
                        ? QkNorm::row
                        : QkNorm::head;
  config.tiedEmbeddings = !reader("lm_head");
  config.position =
      reader("pos_embed") ? PositionKind::learned : PositionKind::rotary;
}

void Reader::readRope() {
  for (const Operation &op : step.body().ops())
    if (op.is(OpKind::Rope)) {
      const auto &attrs = op.attrs<RopeAttrs>();
      config.rope =
          explainFrequencies(attrs.inverseFrequencies, config.context);
      config.rope.interleaved = attrs.interleaved;
      config.rope.magnitude = attrs.magnitude;
      return;
    }
}

/// The scale op that reads `value`, null where there is none.
static const Operation *scaleOf(Value value) {
  for (const Operation *user : value.users())
    if (user->is(OpKind::Scale))
      return user;
  return nullptr;
}

static double factorOf(const Operation *scale) {
  return scale ? scale->attrs<ScaleAttrs>().factor : 1;
}

void Reader::readScales() {
  config.embeddingScale = factorOf(scaleOf(reader("embed")->result()));
  if (const Operation *out = reader("layers.0.attn.o")) {
    Value branch = out->result();
    if (const Operation *norm = reader("layers.0.attn_post_norm"))
      branch = norm->result();
    config.residualScale = factorOf(scaleOf(branch));
  }
  const Operation *head =
      reader(config.tiedEmbeddings ? "final_norm" : "lm_head");
  // A tied head reads the embedding, whose first reader is another op.
  if (head && config.tiedEmbeddings && head->numResults() &&
      !head->result().isUnused())
    head = head->result().users().front();
  if (head && head->numResults()) {
    Value logits = head->result();
    const Operation *scale = scaleOf(logits);
    auto capOf = [](const Operation *from) -> const Operation * {
      for (const Operation *user : from->result().users())
        if (user->is(OpKind::Activation) &&
            user->attrs<ActivationAttrs>().fn == ActivationFn::tanh)
          return user;
      return nullptr;
    };
    const Operation *before = head;
    // Scaled, then scaled again by 1 / cap; or by the latter only.
    if (scale && !capOf(scale)) {
      config.logitScale = factorOf(scale);
      before = scale;
      scale = scaleOf(scale->result());
    }
    if (const Operation *tanh = scale ? capOf(scale) : capOf(before))
      config.logitSoftcap = factorOf(scaleOf(tanh->result()));
  }
  for (const Operation &op : step.body().ops())
    if (op.is(OpKind::Clamp))
      config.clipQkv = op.attrs<ClampAttrs>().limit;
}

llvm::Error Reader::readAttention() {
  if (attentions.empty())
    return error(step.loc) << "the program has no attention";
  if (const Operation *latent = reader("layers.0.attn.kv_a"))
    return error(latent->loc())
           << "exports of attention over latents (MLA) are not supported";
  config.layers = int64_t(attentions.size());
  const Operation &first = *attentions[0];
  config.heads = first.attrs<AttentionAttrs>().heads;
  config.attentionScale = first.attrs<AttentionAttrs>().scale;
  const TensorType &keys = first.operand(1).type();
  config.kvHeads = keys.dim(1).constant();
  config.headDim = keys.dim(2).constant();
  int64_t valueDim = first.operand(2).type().dim(3).constant();
  if (valueDim != config.headDim)
    config.valueDim = valueDim;
  config.attentionSoftcap = first.attrs<AttentionAttrs>().softcap;
  std::vector<int64_t> windows;
  bool any = false;
  for (const Operation *op : attentions) {
    windows.push_back(op->attrs<AttentionAttrs>().window);
    any |= windows.back() != 0;
  }
  if (any)
    config.windows = std::move(windows);
  return llvm::Error::success();
}

static std::optional<Activation> activationOf(ActivationFn fn) {
  switch (fn) {
  case ActivationFn::silu:
    return Activation::silu;
  case ActivationFn::gelu_tanh:
    return Activation::geluTanh;
  case ActivationFn::gelu_erf:
    return Activation::gelu;
  case ActivationFn::quick_gelu:
    return Activation::quickGelu;
  case ActivationFn::relu:
    return Activation::relu;
  case ActivationFn::squared_relu:
    return Activation::squaredRelu;
  case ActivationFn::sigmoid:
  case ActivationFn::tanh:
    return std::nullopt;
  }
  llvm_unreachable("every activation is listed");
}

/// `weights` starts with the matrices; `width` is 0 or that of earlier ones.
llvm::Error Reader::readFfn(const Operation &op, llvm::ArrayRef<Value> weights,
                            int64_t &width, llvm::StringRef what) {
  const auto &attrs = op.attrs<FfnAttrs>();
  auto fn = activationOf(attrs.fn);
  if (!fn)
    return error(op.loc()) << "no format has a feed-forward network of "
                           << enumNames(attrs.fn)[unsigned(attrs.fn)];
  int64_t found = weights[attrs.numWeights() - 1].type().dim(-1).constant();
  if (width && width != found)
    return error(op.loc()) << "expected " << what << " of one width, " << width
                           << ", found " << found;
  width = found;
  config.activation = *fn;
  return llvm::Error::success();
}

llvm::Error Reader::readMoe(const MoeBlockView &block) {
  const FfnAttrs &attrs = block.ffnAttrs();
  const Location &loc = block.experts->loc();
  if (!attrs.gated || attrs.biased)
    return error(loc) << "no format has experts "
                      << (attrs.gated ? "with biases" : "without a gate");
  if (block.firstRouter)
    return error(loc) << "no format has a router of two layers";
  if (!config.moe)
    config.moe.emplace();
  MoeConfig &moe = *config.moe;
  if (moe.experts && moe.experts != block.expertCount())
    return error(loc) << "expected " << moe.experts
                      << " experts, as many as in the layers before, found "
                      << block.expertCount();
  moe.experts = block.expertCount();
  MOEC_TRY(readFfn(*block.experts, block.experts->operands().drop_front(3),
                   moe.ffn, "experts"));
  moe.routerBias = block.router->numOperands() == 3;
  moe.route = block.routeAttrs();
  moe.selectBias = block.route->numOperands() == 2;
  moe.sharedGate = block.sharedRouter;
  if (block.shared)
    MOEC_TRY(readFfn(*block.shared, block.shared->operands().drop_front(1),
                     moe.sharedFfn, "shared experts"));
  return llvm::Error::success();
}

llvm::Error Reader::readFfns() {
  std::vector<int64_t> dense;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::string base = "layers." + std::to_string(layer);
    const Operation *experts = reader(base + ".moe.down");
    if (experts && experts->is(OpKind::MoeExperts)) {
      auto block = matchMoeBlock(const_cast<Operation &>(*experts));
      if (!block)
        return error(experts->loc())
               << "no format has experts that are chosen or joined so";
      MOEC_TRY(readMoe(*block));
      continue;
    }
    dense.push_back(layer);
    const Operation *ffn = reader(base + ".ffn.down");
    if (!ffn || !ffn->is(OpKind::Ffn))
      return error(attentions[size_t(layer)]->loc())
             << "expected a feed-forward network or experts in layer " << layer;
    MOEC_TRY(readFfn(*ffn, ffn->operands().drop_front(1), config.ffn,
                     "feed-forward networks"));
    config.gatedFfn = ffn->attrs<FfnAttrs>().gated;
    config.ffnBias = ffn->attrs<FfnAttrs>().biased;
  }
  if (config.moe) {
    config.moe->denseLayers = std::move(dense);
    if (!config.ffn)
      config.ffn = config.moe->ffn;
  }
  return llvm::Error::success();
}

llvm::Expected<ModelConfig> Reader::read() {
  for (const Operation &op : step.body().ops()) {
    if (op.is(OpKind::Attention))
      attentions.push_back(&op);
    for (Value operand : op.operands())
      if (Weight *weight = operand.weight())
        readers.try_emplace(weight->name, &op);
  }
  readFacts();
  const Operation *embedding = reader("embed");
  if (!embedding || !embedding->is(OpKind::Embedding))
    return error(step.loc) << "expected an embedding of weight 'embed'";
  const TensorType &table = embedding->operand(0).type();
  config.vocab = table.dim(0).constant();
  config.hidden = table.dim(1).constant();
  MOEC_TRY(readAttention());
  readBiasesAndNorms();
  readRope();
  readScales();
  MOEC_TRY(readFfns());
  return std::move(config);
}

namespace {
/// Whether two programs compute the same from equally named weights.
class Comparison {
public:
  /// Values whose equality is asked for; more follow from their ops.
  void expect(Value found, Value expected, const Operation *user = nullptr) {
    work.push_back({found, expected, user});
  }
  llvm::Error run();

private:
  struct Item {
    Value found, expected;
    /// What reads the value; null for a result of the program.
    const Operation *user;
  };
  llvm::Error compare(const Item &item);
  llvm::Error compareOps(const Operation &found, const Operation &expected,
                         const Location &loc);

  std::vector<Item> work;
  llvm::DenseMap<Value, Value> seen;
};
} // namespace

static std::string nameOf(Value value) {
  if (Weight *weight = value.weight())
    return "weight '" + weight->name + "'";
  if (Operation *op = value.definingOp()) {
    std::string attrs = op->attrs().str(/*maxListElements=*/4);
    return "'" + op->mnemonic().str() + (attrs.empty() ? "" : " " + attrs) +
           "'";
  }
  return "input '" + (value.state() ? value.state()->name : value.hint()) + "'";
}

static llvm::Error mismatch(const Location &loc, Value found, Value expected) {
  return error(loc) << "is unlike every model that can be exported: expected "
                    << nameOf(expected) << ", found " << nameOf(found);
}

/// Symbols of two modules are the same by name.
static bool isSameShape(const TensorType &a, const TensorType &b) {
  if (a.rank() != b.rank())
    return false;
  for (unsigned i = 0; i < a.rank(); ++i) {
    Dim x = a.dim(int(i)), y = b.dim(int(i));
    if (x.isConstant() != y.isConstant() ||
        (x.isConstant() ? x.constant() != y.constant()
                        : x.addend() != y.addend() ||
                              x.symbol()->name() != y.symbol()->name()))
      return false;
  }
  return true;
}

llvm::Error Comparison::compareOps(const Operation &found,
                                   const Operation &expected,
                                   const Location &loc) {
  auto push = [&](Value a, Value b) { expect(a, b, &found); };
  // A pair's weight before the down projection is the same as behind it,
  // since experts here have no biases.
  if (found.is(OpKind::MoeCombine) && expected.is(OpKind::MoeCombine) &&
      found.numOperands() == 2) {
    Operation *experts = found.operand(0).definingOp();
    Operation *plain = expected.operand(0).definingOp();
    if (experts && plain && experts->is(OpKind::MoeExperts) &&
        experts->attrs<FfnAttrs>().weightedHidden &&
        experts->numOperands() == plain->numOperands() + 1) {
      FfnAttrs attrs = experts->attrs<FfnAttrs>();
      attrs.weightedHidden = false;
      if (attrs.str() != plain->attrs().str())
        return mismatch(experts->loc(), found.operand(0), expected.operand(0));
      for (unsigned i = 0; i < plain->numOperands(); ++i)
        push(experts->operand(i), plain->operand(i));
      push(experts->operands().back(), expected.operand(2));
      push(found.operand(1), expected.operand(1));
      return llvm::Error::success();
    }
  }
  if (found.kind() != expected.kind() ||
      found.numOperands() != expected.numOperands() ||
      found.attrs().str() != expected.attrs().str())
    return mismatch(loc, found.result(), expected.result());
  for (unsigned i = 0; i < found.numOperands(); ++i)
    push(found.operand(i), expected.operand(i));
  return llvm::Error::success();
}

llvm::Error Comparison::compare(const Item &item) {
  Value found = item.found, expected = item.expected;
  Operation *op = found.definingOp(), *expectedOp = expected.definingOp();
  Location loc;
  if (item.user || op)
    loc = item.user ? item.user->loc() : op->loc();
  auto [at, isNew] = seen.try_emplace(found, expected);
  if (!isNew)
    return at->second == expected ? llvm::Error::success()
                                  : mismatch(loc, found, expected);
  bool isWeight = found.weight() && expected.weight();
  bool isArgument = found.argumentOf() && expected.argumentOf();
  if (!(op && expectedOp && found.index() == expected.index()) &&
      !(isWeight && found.weight()->name == expected.weight()->name) &&
      !(isArgument && nameOf(found) == nameOf(expected)))
    return mismatch(loc, found, expected);
  if (!isSameShape(found.type(), expected.type()))
    return error(loc) << nameOf(found) << " has the type " << found.type()
                      << ", expected " << expected.type();
  if (!op)
    return llvm::Error::success();
  return compareOps(*op, *expectedOp, loc);
}

llvm::Error Comparison::run() {
  while (!work.empty()) {
    Item item = work.back();
    work.pop_back();
    MOEC_TRY(compare(item));
  }
  return llvm::Error::success();
}

/// A module whose weights have the names and types of `module`'s, and whose
/// program `config` describes.
static llvm::Expected<std::unique_ptr<Module>>
rebuild(const Module &module, const ModelConfig &config) {
  auto again = std::make_unique<Module>(module.name());
  for (auto &weight : module.weights()) {
    auto attrs = std::make_unique<FillAttrs>();
    for (const Dim &dim : weight->type().shape())
      attrs->shape.push_back(dim.constant());
    MOEC_ASSIGN(ExprRef fill, Expr::make(ExprKind::Fill, {}, std::move(attrs)));
    again->addWeight(weight->name, std::move(fill));
  }
  DecoderOptions options;
  auto block = module.facts.find(facts::kBlockSize);
  if (block != module.facts.end())
    if (int64_t size;
        !llvm::StringRef(block->second).getAsInteger(10, size) && size > 0)
      options.blockSize = size;
  MOEC_TRY(buildDecoder(*again, config, options));
  return std::move(again);
}

static Value resultNamed(const Program &program, llvm::StringRef name) {
  Operation *last = program.body().terminator();
  for (auto [i, result] : llvm::enumerate(program.resultNames))
    if (result == name && last && i < last->numOperands())
      return last->operand(unsigned(i));
  return {};
}

llvm::Expected<ModelConfig> moec::recognizeModel(const Module &module) {
  const Program *step = module.findProgram(facts::kStep);
  if (!step)
    return error(Location::ofObject(module.name()))
           << "has no program '" << facts::kStep << "' to export";
  MOEC_ASSIGN(ModelConfig config, Reader(module, *step).read());
  MOEC_ASSIGN(auto again, rebuild(module, config));
  const Program &expected = *again->findProgram(facts::kStep);
  Value logits = resultNamed(*step, facts::kOutputLogits);
  if (!logits)
    return error(step->loc)
           << "expected a result '" << facts::kOutputLogits << "', found none";
  Comparison comparison;
  comparison.expect(logits, resultNamed(expected, facts::kOutputLogits));
  MOEC_TRY(comparison.run());
  return std::move(config);
}
