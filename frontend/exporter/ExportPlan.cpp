#include "frontend/exporter/ExportPlan.h"

#include "frontend/exporter/Recognize.h"
#include "ir/weights/Materialize.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"

#include <cmath>

using namespace moec;

using Scaling = RopeConfig::Scaling;

std::vector<std::string> moec::exactTargets(const ModelConfig &config,
                                            ExportFormat format) {
  std::vector<std::string> names;
  for (const ExportTarget &target : exportTargets())
    if (target.format == format && misfits(target, config).empty())
      names.push_back(target.name.str());
  return names;
}

static std::string targetNames(ExportFormat format) {
  std::vector<std::string> names;
  for (const ExportTarget &target : exportTargets())
    if (target.format == format && !llvm::is_contained(names, target.name))
      names.push_back(target.name.str());
  return llvm::join(names, ", ");
}

static bool isBridged(llvm::ArrayRef<Misfit> list) {
  return llvm::none_of(
      list, [](const Misfit &misfit) { return misfit.change.empty(); });
}

/// Why a target is refused, and what may be done.
static llvm::Error refuse(const ExportTarget &target, const ModelConfig &config,
                          const Location &source, llvm::ArrayRef<Misfit> list) {
  auto first = llvm::find_if(
      list, [](const Misfit &misfit) { return misfit.change.empty(); });
  if (first == list.end())
    first = list.begin();
  auto fail = error(source)
              << formatName(target.format) << " architecture '" << target.name
              << "' cannot express this model: " << first->reason;
  for (const Misfit &misfit : list)
    if (&misfit != first)
      std::move(fail).withNote({}, "also, " + misfit.reason);
  for (ExportFormat format : {ExportFormat::huggingFace, ExportFormat::gguf}) {
    std::vector<std::string> exact = exactTargets(config, format);
    std::string name = formatName(format).str();
    std::move(fail).withNote(
        {}, exact.empty() ? "no architecture of --format " + name + " is exact"
                          : "exact with --format " + name + ": " +
                                llvm::join(exact, ", "));
  }
  if (isBridged(list)) {
    std::vector<std::string> changes;
    for (const Misfit &misfit : list)
      changes.push_back(misfit.change);
    std::move(fail).withNote({}, "with --allow-inexact the export " +
                                     llvm::join(changes, ", "));
  }
  return std::move(fail);
}

/// The target that lacks least; those that no change bridges come last.
static const ExportTarget *nearestTarget(const ModelConfig &config,
                                         ExportFormat format) {
  const ExportTarget *nearest = nullptr;
  size_t fewest = SIZE_MAX;
  for (const ExportTarget &target : exportTargets()) {
    if (target.format != format)
      continue;
    std::vector<Misfit> list = misfits(target, config);
    size_t weight = 0;
    for (const Misfit &misfit : list)
      weight += misfit.change.empty() ? 1000 : 1;
    // That a dense family has no experts says nothing of what is in the way.
    if (bool(target.routers) != config.moe.has_value())
      weight += 1000000;
    // The model's own family is what its user knows.
    weight = 2 * weight + (target.family != config.family);
    if (weight < fewest) {
      fewest = weight;
      nearest = &target;
    }
  }
  return nearest;
}

llvm::Expected<const ExportTarget *>
moec::chooseTarget(const ModelConfig &config, const ExportRequest &request) {
  const ExportTarget *target =
      request.arch.empty()
          ? nearestTarget(config, request.format)
          : findTarget(request.format, request.arch, config.moe.has_value());
  if (!target)
    return error() << "--arch is '" << request.arch << "', expects one of "
                   << targetNames(request.format);
  std::vector<Misfit> list = misfits(*target, config);
  if (!list.empty() && !(request.allowInexact && isBridged(list)))
    return refuse(*target, config, request.source, list);
  return target;
}

namespace {
/// Puts a model into a target's words.
class Adapter {
public:
  Adapter(ExportPlan &plan, CanonicalWeights &weights)
      : plan(plan), target(*plan.target), config(plan.config),
        weights(weights) {}
  llvm::Error run();

private:
  llvm::Error addBiases();
  void adaptRope();
  llvm::Error adaptRotaryOrder();
  llvm::Error adaptRouter();
  llvm::Error adaptShared();
  llvm::Error avoidZeroGates();
  void note(const llvm::Twine &text) { plan.notes.push_back(text.str()); }
  std::string layer(int64_t number) const {
    return "layers." + std::to_string(number) + ".";
  }

  ExportPlan &plan;
  const ExportTarget &target;
  ModelConfig &config;
  CanonicalWeights &weights;
};
} // namespace

llvm::Error Adapter::addBiases() {
  bool fixed = target.attentionBiases == AttentionBiases::qkv ||
               target.attentionBiases == AttentionBiases::all;
  bool all = target.attentionBiases == AttentionBiases::mayAll ||
             target.attentionBiases == AttentionBiases::all;
  bool qkv = fixed || config.qkvBias || (all && config.outBias);
  bool out = all && qkv;
  bool ffn = target.ffnBiases == FfnBiases::all || config.ffnBias;
  int64_t q = config.heads * config.headDim;
  int64_t kv = config.kvHeads * config.headDim;
  for (int64_t number = 0; number < config.layers; ++number) {
    std::string base = layer(number) + "attn.";
    if (qkv && !config.qkvBias)
      for (auto [part, rows] :
           {std::pair("q", q), std::pair("k", kv), std::pair("v", kv)})
        MOEC_TRY(weights.setZeros(base + part + ".bias", {rows}));
    if (out && !config.outBias)
      MOEC_TRY(weights.setZeros(base + "o.bias", {config.hidden}));
    if (!ffn || config.ffnBias)
      continue;
    for (auto [part, rows] :
         {std::pair("gate", config.ffn), std::pair("up", config.ffn),
          std::pair("down", config.hidden)})
      MOEC_TRY(
          weights.setZeros(layer(number) + "ffn." + part + ".bias", {rows}));
  }
  if ((qkv && !config.qkvBias) || (out && !config.outBias) ||
      (ffn && !config.ffnBias))
    note("biases that the model has not are zeros");
  config.qkvBias = qkv;
  config.outBias = out;
  config.ffnBias = ffn;
  return llvm::Error::success();
}

void Adapter::adaptRope() {
  RopeConfig &rope = config.rope;
  if (config.position != PositionKind::rotary ||
      (target.scalings & bit(rope.scaling)))
    return;
  if (auto named = nameScaling(rope, config.context);
      named && (target.scalings & bit(named->scaling))) {
    rope = *named;
    return;
  }
  RopeConfig plain = rope;
  plain.scaling = Scaling::none;
  if (target.scalings & bit(Scaling::factors)) {
    std::vector<double> scaled = rope.frequencies(), own = plain.frequencies();
    rope.divisors.clear();
    for (size_t i = 0; i < own.size(); ++i)
      rope.divisors.push_back(float(own[i] / scaled[i]));
    rope.scaling = Scaling::factors;
    return;
  }
  rope = plain; // The misfit says so.
}

/// Rows of q and k for pairs of neighbours where the target has halves; the
/// reverse is done as tensors are written.
llvm::Error Adapter::adaptRotaryOrder() {
  if (config.rope.interleaved && !target.interleaved)
    for (int64_t number = 0; number < config.layers; ++number)
      for (auto [part, heads] :
           {std::pair("q", config.heads), std::pair("k", config.kvHeads)})
        for (const char *bias : {"", ".bias"}) {
          std::string name = layer(number) + "attn." + part + bias;
          if (!weights.has(name))
            continue;
          auto attrs = std::make_unique<HeadsAttrs>();
          attrs->heads = heads;
          MOEC_ASSIGN(CanonicalWeight weight, weights.find(name));
          MOEC_ASSIGN(ExprRef rows,
                      Expr::make(ExprKind::RotaryToHalf, {weight.expr},
                                 std::move(attrs)));
          weights.set(name, std::move(rows));
        }
  return llvm::Error::success();
}

llvm::Error Adapter::adaptRouter() {
  MoeConfig &moe = *config.moe;
  RouterView view = viewRouter(moe);
  unsigned forms = view.forms & target.routers;
  if (!forms)
    forms = target.routers; // An inexact export.
  unsigned form = forms & -forms;
  if (view.logitScale != 1)
    note("the router's factor " + llvm::Twine(formatDouble(view.logitScale)) +
         " is part of its matrix");
  if (view.outputScale != 1)
    note("the experts' factor " + llvm::Twine(formatDouble(view.outputScale)) +
         " is part of their down projections");
  moe.route = routeOf(form, moe);
  moe.routerBias = false;
  bool addsBias = form == kSigmoid && !moe.selectBias;
  moe.selectBias = form == kSigmoid;
  for (int64_t number = 0; number < config.layers; ++number) {
    if (!config.isMoe(number))
      continue;
    std::string base = layer(number) + "moe.";
    if (view.logitScale != 1)
      MOEC_TRY(weights.scale(base + "router", view.logitScale));
    if (addsBias)
      MOEC_TRY(weights.setZeros(base + "select_bias", {moe.experts}));
    for (int64_t expert = 0; expert < moe.experts && view.outputScale != 1;
         ++expert)
      MOEC_TRY(
          weights.scale(base + "experts." + std::to_string(expert) + ".down",
                        view.outputScale));
  }
  return llvm::Error::success();
}

/// Whole blocks of quantised types, and no kernel's odd case.
static constexpr int64_t kZeroSharedWidth = 32;

/// llama.cpp has versions that compute sigmoid x as silu x / x. A gate of zeros
/// becomes one so small that its sigmoid is 1/2 all the same.
llvm::Error Adapter::avoidZeroGates() {
  for (int64_t number = 0; number < config.layers; ++number) {
    std::string name = layer(number) + "moe.shared.router";
    if (!config.isMoe(number))
      continue;
    MOEC_ASSIGN(CanonicalWeight gate, weights.find(name));
    const Expr *expr = gate.expr ? &resolve(*gate.expr) : nullptr;
    if (!expr || expr->kind != ExprKind::Fill ||
        expr->attrs<FillAttrs>().value != 0)
      continue;
    auto attrs = std::make_unique<FillAttrs>(expr->attrs<FillAttrs>());
    attrs->value = 0x1p-60;
    MOEC_ASSIGN(ExprRef tiny, Expr::make(ExprKind::Fill, {}, std::move(attrs)));
    weights.set(name, std::move(tiny));
  }
  return llvm::Error::success();
}

llvm::Error Adapter::adaptShared() {
  MoeConfig &moe = *config.moe;
  if (target.shared == SharedExpert::none ||
      (target.shared == SharedExpert::mayPlain && !moe.sharedFfn))
    return llvm::Error::success();
  int64_t width = moe.sharedFfn;
  // These count shared experts, each as wide as a routed one.
  if (target.family == ModelFamily::glm4moe ||
      target.family == ModelFamily::dots1)
    width = (std::max<int64_t>(width, 1) + moe.ffn - 1) / moe.ffn * moe.ffn;
  else if (!width)
    width = kZeroSharedWidth;
  if (!moe.sharedFfn)
    note("a shared expert of zeros stands beside the routed ones");
  else if (width != moe.sharedFfn)
    note("the shared expert is padded with zeros to a width of " +
         llvm::Twine(width));
  for (int64_t number = 0; number < config.layers; ++number) {
    if (!config.isMoe(number))
      continue;
    std::string base = layer(number) + "moe.shared.";
    if (!moe.sharedFfn) {
      MOEC_TRY(weights.setZeros(base + "gate", {width, config.hidden}));
      MOEC_TRY(weights.setZeros(base + "up", {width, config.hidden}));
      MOEC_TRY(weights.setZeros(base + "down", {config.hidden, width}));
      if (target.shared == SharedExpert::gated)
        MOEC_TRY(weights.setZeros(base + "router", {1, config.hidden}));
    } else if (width != moe.sharedFfn) {
      MOEC_TRY(weights.pad(base + "gate", 0, width));
      MOEC_TRY(weights.pad(base + "up", 0, width));
      MOEC_TRY(weights.pad(base + "down", 1, width));
    }
  }
  moe.sharedFfn = width;
  moe.sharedGate = target.shared == SharedExpert::gated;
  return moe.sharedGate && target.format == ExportFormat::gguf
             ? avoidZeroGates()
             : llvm::Error::success();
}

llvm::Error Adapter::run() {
  config.family = target.family;
  config.normOffset = target.normOffset;
  MOEC_TRY(addBiases());
  adaptRope();
  MOEC_TRY(adaptRotaryOrder());
  config.rope.interleaved = target.interleaved;
  if (target.windows == Windows::none)
    config.windows.clear();
  if (config.moe) {
    MOEC_TRY(adaptRouter());
    MOEC_TRY(adaptShared());
  }
  return llvm::Error::success();
}

static ElementType elementOf(const ExportTensor &tensor, ElementType element) {
  llvm::StringRef name = tensor.canonical;
  if (tensor.shape.size() < 2 || name.ends_with(".router"))
    return ElementType::f32;
  // A row that is no whole number of blocks stays as it is.
  if (tensor.shape.back() % int64_t(blockElements(element)))
    return ElementType::f32;
  return element;
}

std::vector<ExportTensor>
moec::moduleTensors(llvm::ArrayRef<Weight *> weights,
                    const llvm::DenseSet<Weight *> &banks,
                    ElementType element) {
  std::vector<ExportTensor> tensors;
  auto add = [&](Weight *weight, int64_t expert, ExprRef expr) {
    ExportTensor tensor;
    tensor.name = weight->name;
    if (expert >= 0)
      tensor.name += "." + std::to_string(expert);
    tensor.canonical = weight->name;
    tensor.shape = shapeOf(*expr);
    tensor.expr = std::move(expr);
    tensor.weight = weight;
    tensor.expert = expert;
    tensor.type = elementOf(tensor, element);
    tensors.push_back(std::move(tensor));
  };
  for (Weight *weight : weights) {
    const Expr &expr = resolve(*weight->expr);
    if (!banks.count(weight) || expr.kind != ExprKind::Stack) {
      add(weight, -1, weight->expr);
      continue;
    }
    for (auto [expert, part] : llvm::enumerate(expr.args))
      add(weight, int64_t(expert), part);
  }
  return tensors;
}

/// GGUF's divisors of rotary frequencies are a tensor.
static void addRopeDivisors(ExportPlan &plan) {
  if (plan.config.rope.scaling != Scaling::factors)
    return;
  ExportTensor tensor;
  tensor.name = tensor.canonical = "rope_freqs.weight";
  tensor.numbers = plan.config.rope.divisors;
  tensor.shape = {int64_t(tensor.numbers.size())};
  plan.tensors.push_back(std::move(tensor));
}

llvm::Expected<ExportPlan> moec::planExport(const Module &module,
                                            const ExportRequest &request) {
  ExportPlan plan;
  MOEC_ASSIGN(plan.config, recognizeModel(module));
  MOEC_ASSIGN(plan.target, chooseTarget(plan.config, request));
  for (const Misfit &misfit : misfits(*plan.target, plan.config))
    plan.changes.push_back(misfit.change + ": " + misfit.reason);
  bool interleaved = plan.target->interleaved && !plan.config.rope.interleaved;
  CanonicalWeights weights(module);
  MOEC_TRY(Adapter(plan, weights).run());
  // The rules of an importer, which looks for nothing in particular.
  Checkpoint shape(request.format == ExportFormat::gguf
                       ? CheckpointFormat::gguf
                       : CheckpointFormat::huggingFace,
                   "", Config());
  std::vector<WeightRule> rules = weightRules(shape, plan.config);
  MOEC_ASSIGN(plan.tensors, invertRules(rules, weights, interleaved));
  if (request.format == ExportFormat::gguf)
    addRopeDivisors(plan);
  unsigned unquantized = 0;
  for (ExportTensor &tensor : plan.tensors) {
    tensor.type = elementOf(tensor, request.element);
    unquantized += tensor.shape.size() > 1 && tensor.type != request.element &&
                   !llvm::StringRef(tensor.canonical).ends_with(".router");
  }
  if (unquantized)
    plan.notes.push_back(std::to_string(unquantized) +
                         " matrices stay f32, whose rows are no whole blocks");
  return std::move(plan);
}
