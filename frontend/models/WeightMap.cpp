#include "frontend/models/WeightMap.h"

#include "frontend/models/WeightNames.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"

#include <cassert>

using namespace moec;

std::vector<int64_t> moec::rotaryRows(int64_t rows, int64_t heads) {
  int64_t perHead = rows / heads, half = perHead / 2;
  std::vector<int64_t> stored(static_cast<size_t>(rows));
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t i = 0; i < half; ++i)
      for (int64_t j = 0; j < 2; ++j)
        stored[size_t(head * perHead + i + j * half)] =
            head * perHead + 2 * i + j;
  return stored;
}

/// Twenty times what the largest models have; bounds the map's memory.
static constexpr int64_t kMaxWeights = 1 << 20;

static std::string shapeText(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(shape))
    text += (i ? ", " : "") + std::to_string(dim);
  return text + "]";
}

/// What each format calls the setting that ties the head to the embedding.
static llvm::StringRef tieKey(CheckpointFormat format) {
  return format == CheckpointFormat::huggingFace ? "tie_word_embeddings"
                                                 : "tied";
}

/// The embedding of a tied model may be stored under the head's name only. If
/// both are stored they must agree, since programs differ in which they take.
static llvm::Expected<std::string>
resolveTiedEmbedding(const Checkpoint &checkpoint, const std::string &stored) {
  if (checkpoint.format != CheckpointFormat::huggingFace)
    return stored;
  const CheckpointTensor *embedding = checkpoint.find(stored);
  const CheckpointTensor *head = checkpoint.find("lm_head.weight");
  if (!embedding)
    return head ? "lm_head.weight" : stored;
  bool isSame =
      !head || head == embedding ||
      (head->type == embedding->type && head->shape == embedding->shape &&
       checkpoint.bytes(*head) == checkpoint.bytes(*embedding));
  if (!isSame)
    return checkpoint.config.errorAt(tieKey(checkpoint.format))
               .withNote(checkpoint.locationOf(*head),
                         "the head is stored here")
               .withNote(checkpoint.locationOf(*embedding),
                         "the embedding is stored here")
           << "the settings tie the head to the embedding, but '" << head->name
           << "' and '" << embedding->name << "' are both stored and differ";
  return stored;
}

static llvm::Error missingTensor(const Checkpoint &checkpoint,
                                 const WeightRule &rule) {
  if (rule.name == "lm_head" &&
      checkpoint.format == CheckpointFormat::huggingFace)
    return checkpoint.config.errorAt(tieKey(checkpoint.format))
           << "the settings do not tie the head to the embedding, so the "
              "tensor '"
           << rule.stored << "' is expected, but no file has it";
  Location loc = Location::inFile(checkpoint.path);
  loc.object = rule.name;
  return error(std::move(loc))
         << "expected the tensor '" << rule.stored << "' of shape "
         << shapeText(rule.storedShape) << ", but no file has it";
}

llvm::Expected<WeightMap> WeightMap::create(const Checkpoint &checkpoint,
                                            ModelConfig &config,
                                            RotaryLayout layout) {
  WeightMap map;
  bool toHalf = layout == RotaryLayout::halfSplit && config.rope.interleaved;
  std::vector<char> isUsed(checkpoint.tensors().size(), false);
  // Every layer has tensors; this many cannot be there, and the rules for
  // them would take memory.
  if (uint64_t(config.layers) > checkpoint.tensors().size())
    return error(Location::inFile(checkpoint.path))
           << "expected tensors for " << config.layers
           << " layers, but the model has only " << checkpoint.tensors().size()
           << " tensors";
  int64_t experts = config.moe ? config.moe->experts : 0;
  if (config.layers * (3 * experts + 1) > kMaxWeights)
    return error(Location::inFile(checkpoint.path))
           << "expected at most " << kMaxWeights << " weights, found "
           << config.layers << " layers of " << experts << " experts";
  for (WeightRule &rule : weightRules(checkpoint, config)) {
    if (rule.name == "embed" && config.tiedEmbeddings) {
      MOEC_ASSIGN(rule.stored, resolveTiedEmbedding(checkpoint, rule.stored));
    }
    const CheckpointTensor *tensor = checkpoint.find(rule.stored);
    if (!tensor)
      return missingTensor(checkpoint, rule);
    if (tensor->shape != rule.storedShape)
      return error(checkpoint.locationOf(*tensor))
             << "expected shape " << shapeText(rule.storedShape) << " for "
             << rule.name << ", found " << shapeText(tensor->shape);
    if (!isFloat(tensor->type) && !isBlockQuantized(tensor->type))
      return error(checkpoint.locationOf(*tensor))
             << "expected floating-point numbers for " << rule.name
             << ", found " << elementTypeName(tensor->type);
    WeightEntry entry;
    entry.name = std::move(rule.name);
    entry.shape = std::move(rule.shape);
    entry.tensor = size_t(tensor - checkpoint.tensors().data());
    entry.steps = std::move(rule.steps);
    isUsed[entry.tensor] = true;
    if (toHalf && rule.rotaryHeads) {
      WeightStep step;
      step.kind = WeightStep::Kind::rotaryToHalf;
      step.heads = rule.rotaryHeads;
      entry.steps.push_back(step);
    }
    map.byName[entry.name] = map.all.size();
    map.all.push_back(std::move(entry));
  }
  if (toHalf)
    config.rope.interleaved = false;

  size_t unused = 0;
  const CheckpointTensor *firstUnused = nullptr;
  for (auto [index, tensor] : llvm::enumerate(checkpoint.tensors())) {
    bool isTiedHead = config.tiedEmbeddings && tensor.name == "lm_head.weight";
    if (isUsed[index] || isTiedHead ||
        isHarmlessTensor(checkpoint.format, tensor.name))
      continue;
    if (!unused++)
      firstUnused = &tensor;
  }
  if (unused)
    map.notes.push_back(std::to_string(unused) +
                        " tensors belong to no part of the model and were "
                        "ignored, the first is '" +
                        firstUnused->name + "'");
  return map;
}

const WeightEntry *WeightMap::find(llvm::StringRef canonicalName) const {
  auto it = byName.find(canonicalName);
  return it == byName.end() ? nullptr : &all[it->second];
}

namespace {
/// A tensor while its steps are applied.
struct Dense {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
} // namespace

static void applySlice(Dense &dense, const WeightStep &step) {
  size_t axis = size_t(step.axis);
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < axis; ++i)
    outer *= dense.shape[i];
  for (size_t i = axis + 1; i < dense.shape.size(); ++i)
    inner *= dense.shape[i];
  std::vector<float> kept;
  for (int64_t i = 0; i < outer; ++i) {
    auto row = dense.values.begin() + i * dense.shape[axis] * inner;
    kept.insert(kept.end(), row + step.begin * inner, row + step.end * inner);
  }
  dense.shape[axis] = step.end - step.begin;
  dense.values = std::move(kept);
}

static void applyHeadSlice(Dense &dense, const WeightStep &step) {
  std::vector<int64_t> shape = dense.shape;
  int64_t perHead = shape[0] / step.heads;
  int64_t rowSize = int64_t(dense.values.size()) / shape[0];
  // A head is a row whose elements are the head's rows.
  dense.shape = {step.heads, perHead, rowSize};
  WeightStep slice = step;
  slice.axis = 1;
  applySlice(dense, slice);
  shape[0] = step.heads * (step.end - step.begin);
  dense.shape = shape;
}

static void applyTranspose(Dense &dense) {
  int64_t rows = dense.shape[0], columns = dense.shape[1];
  std::vector<float> out(dense.values.size());
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      out[size_t(column * rows + row)] =
          dense.values[size_t(row * columns + column)];
  dense.shape = {columns, rows};
  dense.values = std::move(out);
}

static void applyRotary(Dense &dense, int64_t heads) {
  int64_t rows = dense.shape[0];
  int64_t columns = int64_t(dense.values.size()) / rows;
  std::vector<float> out;
  out.reserve(dense.values.size());
  for (int64_t stored : rotaryRows(rows, heads)) {
    auto row = dense.values.begin() + stored * columns;
    out.insert(out.end(), row, row + columns);
  }
  dense.values = std::move(out);
}

std::vector<float> WeightMap::readF32(const Checkpoint &checkpoint,
                                      const WeightEntry &entry) const {
  const CheckpointTensor &tensor = checkpoint.tensors()[entry.tensor];
  Dense dense;
  dense.shape = tensor.shape;
  llvm::ArrayRef<WeightStep> steps = entry.steps;
  uint64_t first = 0, count = *elementCount(tensor.shape);
  // Of a stack only the one slice is read.
  if (!steps.empty() && steps.front().kind == WeightStep::Kind::slice &&
      steps.front().axis == 0) {
    uint64_t perRow = count / uint64_t(tensor.shape[0]);
    int64_t rows = steps.front().end - steps.front().begin;
    first = uint64_t(steps.front().begin) * perRow;
    count = uint64_t(rows) * perRow;
    dense.shape[0] = rows;
    steps = steps.drop_front();
  }
  dense.values.resize(size_t(count));
  checkpoint.readF32(tensor, first, dense.values);
  for (const WeightStep &step : steps) {
    switch (step.kind) {
    case WeightStep::Kind::slice:
      applySlice(dense, step);
      break;
    case WeightStep::Kind::squeeze:
      dense.shape.erase(dense.shape.begin());
      break;
    case WeightStep::Kind::unsqueeze:
      dense.shape.insert(dense.shape.begin(), 1);
      break;
    case WeightStep::Kind::headSlice:
      applyHeadSlice(dense, step);
      break;
    case WeightStep::Kind::offset:
      for (float &value : dense.values)
        value += float(step.offset);
      break;
    case WeightStep::Kind::transpose:
      applyTranspose(dense);
      break;
    case WeightStep::Kind::rotaryToHalf:
      applyRotary(dense, step.heads);
      break;
    }
  }
  assert(dense.shape == entry.shape && "a rule's steps lead to its shape");
  return std::move(dense.values);
}
