#include "tools/driver/Calibrate.h"

#include "ir/ops/MoeOps.h"
#include "ir/support/Parallel.h"
#include "ir/support/SafetensorsWriter.h"
#include "runtime/schema/Facts.h"
#include "runtime/text/Tokenizer.h"
#include "tools/driver/Clusters.h"
#include "tools/driver/DenseTaps.h"
#include "tools/driver/FfnNeurons.h"
#include "tools/driver/RouterRows.h"
#include "tools/driver/Selector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cmath>
#include <numeric>

using namespace moec;

std::string moec::calibrationPath(llvm::StringRef output) {
  output = output.rtrim('/');
  output.consume_back(".moe");
  return (output + ".calibration.safetensors").str();
}

namespace {
/// One layer's FFN, and what is made for it.
struct Layer {
  const Operation *ffn;
  int64_t width = 0;
  std::vector<int64_t> order;
  /// [experts, hidden]; behind a first layer [experts, experts].
  std::vector<float> router, first;
  /// [tokens, hidden]: the FFN's inputs of the calibration text.
  std::vector<float> inputs;
  /// The neuron at a place of the order.
  int64_t neuron(int64_t at) const { return order.empty() ? at : order[at]; }
};

class Calibrator {
public:
  Calibrator(Module &dense, const Recipe &recipe, TensorReader &reader,
             unsigned threads)
      : dense(dense), recipe(recipe), settings(recipe.calibration),
        reader(reader), threads(threads ? threads : defaultThreads()),
        groups(recipe.options.init == InitPolicy::virtual_group
                   ? std::max<int64_t>(recipe.options.granularity, 1)
                   : 1) {}

  llvm::Expected<CalibrationReport>
  run(llvm::StringRef path,
      llvm::function_ref<void(uint64_t, uint64_t)> progress);

private:
  llvm::Error findLayers();
  llvm::Expected<std::vector<int32_t>> tokenize(llvm::StringRef text);
  bool needsText() const {
    return settings.router == RouterSource::activations ||
           settings.router == RouterSource::selector ||
           settings.order == NeuronOrder::coactivation ||
           settings.order == NeuronOrder::importance || sharedNeurons() > 0;
  }
  /// Neurons that a shared expert takes away from the split.
  int64_t sharedNeurons(int64_t width = 1 << 30) const;
  llvm::Error runPrompts();
  llvm::Expected<std::vector<std::vector<double>>>
  meanStates(const GatePrompts &prompts, llvm::ArrayRef<std::string> texts);
  llvm::Error runText();
  FfnNeurons neurons(const Layer &layer) {
    return FfnNeurons(*layer.ffn, settings, reader, threads);
  }
  llvm::Error makeOrder(Layer &layer, int64_t index);
  llvm::Error makeRouter(Layer &layer, int64_t index);
  llvm::Expected<std::vector<float>> neuronCentroids(Layer &layer,
                                                     int64_t rows);
  llvm::Error fitRouter(Layer &layer, int64_t index);
  void finishRows(Layer &layer);
  void warnOfEqualRows();
  llvm::Error write(llvm::StringRef path);

  Module &dense;
  const Recipe &recipe;
  const CalibrationSettings &settings;
  TensorReader &reader;
  unsigned threads;
  /// Experts that share a router row (virtual groups).
  int64_t groups;
  int64_t hidden = 0;
  std::vector<Layer> layers;
  CalibrationReport report;
  std::unique_ptr<DenseTaps> taps;
  std::unique_ptr<Tokenizer> tokenizer;
};
} // namespace

llvm::Error Calibrator::findLayers() {
  const Program *step = dense.findProgram(facts::kStep);
  if (step)
    for (const Operation &op : step->body().ops())
      if (op.is(OpKind::Ffn)) {
        Layer layer;
        layer.ffn = &op;
        unsigned up = op.attrs<FfnAttrs>().gated ? 2 : 1;
        layer.width = op.operand(up).type().dim(0).constant();
        hidden = op.operand(0).type().dim(1).constant();
        layers.push_back(std::move(layer));
      }
  if (layers.empty())
    return error() << "module '" << dense.name()
                   << "' has no dense FFN to calibrate";
  return llvm::Error::success();
}

int64_t Calibrator::sharedNeurons(int64_t width) const {
  const UpcycleOptions &options = recipe.options;
  if (options.init != InitPolicy::split ||
      options.sharedInit != SharedInit::split || !options.sharedExperts)
    return 0;
  if (options.sharedWidth)
    return std::min(options.sharedWidth, width);
  return width / (options.experts + options.sharedExperts) *
         options.sharedExperts;
}

llvm::Expected<std::vector<int32_t>>
Calibrator::tokenize(llvm::StringRef text) {
  auto asset = dense.assets.find("tokenizer");
  if (asset == dense.assets.end())
    return error() << "calibration wants a tokenizer, and the model brings "
                      "none; give --tokenizer";
  if (!tokenizer) {
    MOEC_ASSIGN(tokenizer, Tokenizer::load(asset->second, "the tokenizer"));
  }
  MOEC_ASSIGN(std::vector<int32_t> ids,
              tokenizer->encode(text.str(), EncodeOptions()));
  return std::move(ids);
}

/// An expert's row: the state of its prompts less that of those it is not for.
llvm::Error Calibrator::runPrompts() {
  int64_t rows = recipe.options.experts / groups;
  if (int64_t(settings.prompts.size()) != rows) {
    Location loc =
        settings.prompts.empty() ? Location() : settings.prompts.back().loc;
    return error(loc) << "there are prompts for " << settings.prompts.size()
                      << " experts, but the router has " << rows
                      << " different rows; give --prompts FILE.yaml with as "
                         "many items, or --experts";
  }
  for (Layer &layer : layers)
    layer.router.assign(size_t(rows) * hidden, 0);
  for (auto [expert, prompts] : llvm::enumerate(settings.prompts)) {
    MOEC_ASSIGN(auto liked, meanStates(prompts, prompts.positive));
    MOEC_ASSIGN(auto disliked, meanStates(prompts, prompts.negative));
    for (size_t l = 0; l < layers.size(); ++l) {
      float *row = layers[l].router.data() + expert * hidden;
      double norm = 0, difference = 0;
      for (int64_t h = 0; h < hidden; ++h) {
        double d = liked[l][h] - disliked[l][h];
        row[h] = float(d);
        norm += liked[l][h] * liked[l][h];
        difference += d * d;
      }
      // What is left is rounding, which must not become a direction.
      if (difference <= 1e-12 * norm)
        std::fill_n(row, hidden, 0.0f);
    }
  }
  return llvm::Error::success();
}

/// The mean over texts of the mean (or last) state of their tokens: for each
/// layer, [hidden]; zeros for no texts.
llvm::Expected<std::vector<std::vector<double>>>
Calibrator::meanStates(const GatePrompts &prompts,
                       llvm::ArrayRef<std::string> texts) {
  std::vector<std::vector<double>> sums(layers.size(),
                                        std::vector<double>(hidden));
  for (const std::string &text : texts) {
    MOEC_ASSIGN(std::vector<int32_t> ids, tokenize(text));
    if (ids.empty())
      return error(prompts.loc)
             << "a prompt of expert '" << prompts.name << "' has no tokens";
    if (int64_t(ids.size()) > taps->maxTokens()) {
      report.warnings.push_back(
          "a prompt of expert '" + prompts.name + "' has " +
          std::to_string(ids.size()) + " tokens, of which the first " +
          std::to_string(taps->maxTokens()) + " are used");
      ids.resize(taps->maxTokens());
    }
    MOEC_ASSIGN(auto states, taps->run(ids));
    report.tokens += ids.size();
    bool last = settings.token == PromptToken::last;
    double share = 1.0 / double(texts.size() * (last ? 1 : ids.size()));
    for (size_t l = 0; l < layers.size(); ++l)
      for (size_t t = last ? ids.size() - 1 : 0; t < ids.size(); ++t)
        for (int64_t h = 0; h < hidden; ++h)
          sums[l][h] += share * states[l][t * hidden + h];
  }
  return std::move(sums);
}

llvm::Error Calibrator::runText() {
  if (settings.texts.empty())
    return error() << "this calibration runs the model on text: give "
                      "--calibration-text FILE, or 'texts' in the recipe";
  std::vector<int32_t> ids;
  for (const std::string &text : settings.texts) {
    if (int64_t(ids.size()) >= settings.tokens)
      break;
    // Four bytes are at least one token in every vocabulary that compresses.
    llvm::StringRef part =
        llvm::StringRef(text).take_front(size_t(settings.tokens) * 16);
    MOEC_ASSIGN(std::vector<int32_t> more, tokenize(part));
    llvm::append_range(ids, more);
  }
  if (int64_t(ids.size()) > settings.tokens)
    ids.resize(settings.tokens);
  if (ids.empty())
    return error() << "the calibration texts have no tokens";
  llvm::ArrayRef<int32_t> rest = ids;
  while (!rest.empty()) {
    auto piece = rest.take_front(taps->maxTokens());
    MOEC_ASSIGN(auto states, taps->run(piece));
    for (size_t l = 0; l < layers.size(); ++l)
      llvm::append_range(layers[l].inputs, states[l]);
    report.tokens += piece.size();
    rest = rest.drop_front(piece.size());
  }
  return llvm::Error::success();
}

llvm::Error Calibrator::makeOrder(Layer &layer, int64_t index) {
  if (settings.order == NeuronOrder::none)
    return llvm::Error::success();
  int64_t shared = sharedNeurons(layer.width);
  std::vector<int64_t> rest(layer.width);
  std::iota(rest.begin(), rest.end(), 0);
  if (shared || settings.order == NeuronOrder::importance) {
    MOEC_ASSIGN(rest, neurons(layer).byImportance(layer.inputs));
    // The most important neurons are the shared expert's.
    layer.order.assign(rest.begin(), rest.begin() + shared);
    rest.erase(rest.begin(), rest.begin() + shared);
  }
  if (settings.order == NeuronOrder::importance) {
    llvm::append_range(layer.order, rest);
    return llvm::Error::success();
  }
  llvm::sort(rest);
  std::vector<float> rows;
  size_t width = hidden;
  if (settings.order == NeuronOrder::clusters) {
    MOEC_ASSIGN(rows, neurons(layer).rows());
  } else {
    MOEC_ASSIGN(rows, neurons(layer).activations(layer.inputs));
    width = rows.size() / layer.width;
    for (int64_t j = 0; j < layer.width; ++j)
      normalize(llvm::MutableArrayRef(rows).slice(j * width, width));
  }
  std::vector<float> chosen;
  for (int64_t j : rest)
    chosen.insert(chosen.end(), rows.begin() + j * width,
                  rows.begin() + (j + 1) * width);
  ClusterOptions options;
  options.clusters = recipe.options.experts;
  options.balanced = true;
  options.rounds = settings.iterations;
  options.threads = threads;
  options.key = RandomKey::of(recipe.options.seed, "calibration.order",
                              "layers." + std::to_string(index));
  if (int64_t(rest.size()) % options.clusters)
    return error(layer.ffn->loc())
           << "has " << rest.size() << " neurons to share among "
           << options.clusters << " experts, expects a multiple";
  MOEC_ASSIGN(Clusters clusters, cluster({chosen, width}, options));
  std::vector<size_t> positions(rest.size());
  std::iota(positions.begin(), positions.end(), 0);
  llvm::stable_sort(positions, [&](size_t a, size_t b) {
    return clusters.of[a] < clusters.of[b];
  });
  for (size_t position : positions)
    layer.order.push_back(rest[position]);
  return llvm::Error::success();
}

llvm::Error Calibrator::makeRouter(Layer &layer, int64_t index) {
  int64_t rows = recipe.options.experts / groups;
  switch (settings.router) {
  case RouterSource::none:
    return llvm::Error::success();
  case RouterSource::prompts:
    break;
  case RouterSource::activations: {
    std::vector<float> states = layer.inputs;
    for (size_t t = 0; t < states.size() / hidden; ++t)
      normalize(llvm::MutableArrayRef(states).slice(t * hidden, hidden));
    ClusterOptions options;
    options.clusters = rows;
    options.rounds = settings.iterations;
    options.threads = threads;
    options.key = RandomKey::of(recipe.options.seed, "calibration.router",
                                "layers." + std::to_string(index));
    if (int64_t(states.size()) / hidden < rows)
      return error() << "there are " << states.size() / hidden
                     << " tokens of text for " << rows
                     << " centroids; give more text";
    MOEC_ASSIGN(Clusters clusters, cluster({states, size_t(hidden)}, options));
    layer.router = std::move(clusters.centroids);
    break;
  }
  case RouterSource::neurons: {
    MOEC_ASSIGN(layer.router, neuronCentroids(layer, rows));
    break;
  }
  case RouterSource::selector:
    return fitRouter(layer, index);
  }
  finishRows(layer);
  return llvm::Error::success();
}

/// The mean of the normalised rows of each expert's neurons.
llvm::Expected<std::vector<float>> Calibrator::neuronCentroids(Layer &layer,
                                                               int64_t rows) {
  MOEC_ASSIGN(std::vector<float> directions, neurons(layer).rows());
  int64_t shared = sharedNeurons(layer.width);
  int64_t width = (layer.width - shared) / rows;
  std::vector<float> centroids(rows * hidden);
  for (int64_t e = 0; e < rows; ++e)
    for (int64_t h = 0; h < hidden; ++h) {
      double sum = 0;
      for (int64_t i = 0; i < width; ++i)
        sum += directions[layer.neuron(shared + e * width + i) * hidden + h];
      centroids[e * hidden + h] = float(sum / width);
    }
  return std::move(centroids);
}

/// MoEfication's learned selector (spec 4.18).
llvm::Error Calibrator::fitRouter(Layer &layer, int64_t index) {
  int64_t experts = recipe.options.experts;
  int64_t tokens = layer.inputs.size() / hidden;
  int64_t shared = sharedNeurons(layer.width);
  int64_t width = (layer.width - shared) / experts;
  MOEC_ASSIGN(std::vector<float> active,
              neurons(layer).activations(layer.inputs));
  std::vector<float> scores(tokens * experts);
  for (int64_t i = 0; i < experts * width; ++i) {
    const float *of = &active[layer.neuron(shared + i) * tokens];
    for (int64_t t = 0; t < tokens; ++t)
      scores[t * experts + i / width] += of[t];
  }
  SelectorOptions options;
  options.epochs = settings.epochs;
  options.rate = settings.rate;
  options.key = RandomKey::of(recipe.options.seed, "calibration.selector",
                              "layers." + std::to_string(index));
  MOEC_ASSIGN(std::vector<float> first, neuronCentroids(layer, experts));
  MOEC_ASSIGN(Selector fitted, fitSelector({layer.inputs, size_t(hidden)},
                                           {scores, size_t(experts)},
                                           std::move(first), options));
  layer.first = std::move(fitted.first);
  layer.router = std::move(fitted.second);
  return llvm::Error::success();
}

/// Rows get their norm, and each is repeated for the experts of its group.
void Calibrator::finishRows(Layer &layer) {
  std::vector<float> repeated;
  for (size_t e = 0; e < layer.router.size() / hidden; ++e) {
    auto row = llvm::MutableArrayRef(layer.router).slice(e * hidden, hidden);
    if (settings.norm > 0) {
      normalize(row);
      for (float &x : row)
        x *= float(settings.norm);
    }
    for (int64_t g = 0; g < groups; ++g)
      llvm::append_range(repeated, row);
  }
  layer.router = std::move(repeated);
}

void Calibrator::warnOfEqualRows() {
  bool prompts = settings.router == RouterSource::prompts;
  RowNames names{{},
                 groups,
                 prompts ? "give them prompts that differ more"
                         : "give more text, or fewer experts"};
  for (const GatePrompts &expert : settings.prompts)
    if (prompts)
      names.experts.push_back(expert.name);
  std::vector<Rows> routers;
  for (const Layer &layer : layers)
    routers.push_back({layer.router, size_t(hidden)});
  llvm::append_range(report.warnings, warningsOfRows(routers, names));
}

llvm::Error Calibrator::write(llvm::StringRef path) {
  std::vector<SafetensorsLayout> layout;
  std::vector<llvm::ArrayRef<uint8_t>> data;
  auto add = [&](std::string name, ElementType type, std::vector<int64_t> shape,
                 auto &numbers) {
    layout.push_back({std::move(name), type, std::move(shape)});
    data.emplace_back(reinterpret_cast<const uint8_t *>(numbers.data()),
                      numbers.size() * sizeof(numbers[0]));
  };
  for (auto [index, layer] : llvm::enumerate(layers)) {
    std::string prefix = "layers." + std::to_string(index);
    if (!layer.order.empty())
      add(prefix + ".order", ElementType::i64, {layer.width}, layer.order);
    if (!layer.router.empty())
      add(prefix + ".router", ElementType::f32,
          {recipe.options.experts,
           int64_t(layer.router.size()) / recipe.options.experts},
          layer.router);
    if (!layer.first.empty())
      add(prefix + ".router.first", ElementType::f32,
          {recipe.options.experts, hidden}, layer.first);
  }
  SafetensorsMetadata metadata{{"producer", "moec " MOEC_VERSION},
                               {"recipe", recipe.name},
                               {"settings", settings.str()},
                               {"seed", std::to_string(recipe.options.seed)},
                               {"tokens", std::to_string(report.tokens)}};
  if (taps)
    metadata.emplace_back("variant", taps->variant());
  return writeSafetensorsFile(path, layout, data, metadata);
}

llvm::Expected<CalibrationReport>
Calibrator::run(llvm::StringRef path,
                llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  report.path = path.str();
  MOEC_TRY(findLayers());
  report.layers = layers.size();
  if (recipe.options.experts % groups)
    return error() << "there are " << recipe.options.experts
                   << " experts in groups of " << groups
                   << ", expects a multiple";
  bool selector = settings.router == RouterSource::selector;
  if (selector && recipe.options.init != InitPolicy::split)
    return error() << "calibration.router=selector wants init=split";
  bool fits = selector == (recipe.options.routerForm == RouterForm::tanh);
  if (settings.router != RouterSource::none && !fits)
    return error() << "calibration.router=selector wants router_form=tanh, and "
                      "no other calibration does";
  bool prompts = settings.router == RouterSource::prompts;
  progress(0, layers.size() + 1);
  if (prompts || needsText()) {
    // Before compiling, which takes longer.
    if (needsText() && settings.texts.empty())
      return runText();
    MOEC_ASSIGN(taps, DenseTaps::create(dense, settings.state, threads));
  }
  if (prompts)
    MOEC_TRY(runPrompts());
  if (needsText())
    MOEC_TRY(runText());
  for (auto [index, layer] : llvm::enumerate(layers)) {
    progress(index + 1, layers.size() + 1);
    if (llvm::Error err = makeOrder(layer, index))
      return withNote(std::move(err), Location(),
                      "while calibrating layer " + llvm::Twine(index));
    if (llvm::Error err = makeRouter(layer, index))
      return withNote(std::move(err), Location(),
                      "while calibrating layer " + llvm::Twine(index));
    layer.inputs = {};
  }
  if (!selector) // What decides there is not one matrix.
    warnOfEqualRows();
  MOEC_TRY(write(path));
  return std::move(report);
}

llvm::Error moec::addCalibrationFile(Module &dense, llvm::StringRef path) {
  llvm::SmallString<256> absolute(path);
  // Without a working directory a relative path stays what it is.
  (void)llvm::sys::fs::make_absolute(absolute);
  llvm::sys::path::remove_dots(absolute, /*remove_dot_dot=*/true);
  if (!dense.addFile("calibration", absolute.str().str()))
    return error() << "the module has a file named '@calibration' already";
  return llvm::Error::success();
}

llvm::Expected<CalibrationReport>
moec::calibrate(Module &dense, const Recipe &recipe, TensorReader &reader,
                llvm::StringRef path, unsigned threads,
                llvm::function_ref<void(uint64_t, uint64_t)> progress) {
  MOEC_ASSIGN(CalibrationReport report,
              Calibrator(dense, recipe, reader, threads).run(path, progress));
  MOEC_TRY(addCalibrationFile(dense, path));
  SourceFile *file = dense.findFile("calibration");
  uint64_t bytes = 0;
  if (llvm::sys::fs::file_size(file->path, bytes))
    return error(Location::inFile(file->path)) << "cannot be read back";
  file->bytes = bytes;
  return std::move(report);
}
