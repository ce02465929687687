//===- ModuleDiffText.cpp - a diff as text and as JSON --------------------===//

#include "ir/support/Escape.h"
#include "tools/driver/Align.h"
#include "tools/driver/Describe.h"
#include "tools/driver/ExprText.h"
#include "tools/driver/ModuleDiff.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace moec;

template <typename T> static std::string textOf(const T &printable) {
  std::string text;
  llvm::raw_string_ostream(text) << printable;
  return text;
}

// JSON.

static llvm::json::Value number(double value) {
  return std::isfinite(value) ? llvm::json::Value(value)
                              : llvm::json::Value(nullptr);
}

static llvm::json::Array fieldsJson(llvm::ArrayRef<FieldChange> fields) {
  llvm::json::Array list;
  for (const FieldChange &field : fields) {
    llvm::json::Object object{{"name", toUtf8(field.name)},
                              {"change", changeName(field.kind())}};
    if (!field.before.empty())
      object["before"] = toUtf8(field.before);
    if (!field.after.empty())
      object["after"] = toUtf8(field.after);
    list.push_back(std::move(object));
  }
  return list;
}

static llvm::json::Object numbersJson(const NumberDiff &numbers) {
  return llvm::json::Object{{"max_difference", number(numbers.maxDifference)},
                            {"relative", number(numbers.relative)},
                            {"cosine", number(numbers.cosine)}};
}

static llvm::json::Object layerJson(const LayerDiff &layer) {
  llvm::json::Array ops;
  for (const OpChange &op : layer.ops) {
    if (op.change == Change::same)
      continue;
    llvm::json::Object object{{"change", changeName(op.change)},
                              {"op", op.op().mnemonic()},
                              {"text", toUtf8(opSummary(op.op()))}};
    if (op.op().loc().isKnown())
      object["location"] = toUtf8(op.op().loc().str());
    if (!op.fields.empty())
      object["fields"] = fieldsJson(op.fields);
    ops.push_back(std::move(object));
  }
  llvm::json::Object object{{"ops", std::move(ops)},
                            {"same", layer.count(Change::same)}};
  if (layer.layer >= 0)
    object["layer"] = layer.layer;
  if (!layer.rewrite.empty())
    object["rewrite"] = toUtf8(layer.rewrite);
  return object;
}

static llvm::json::Object weightJson(const WeightDiff &weight) {
  llvm::json::Object object{{"name", toUtf8(weight.name)},
                            {"change", changeName(weight.change)},
                            {"type", toUtf8(textOf(weight.weight().type()))}};
  if (weight.change != Change::same) {
    object["from"] = toUtf8(provenance(weight.weight()));
    object["definition"] = toUtf8(exprText(*weight.weight().expr));
    object["sources"] = llvm::json::Array(
        llvm::map_range(sourcesOf(*weight.weight().expr), toUtf8));
  }
  if (!weight.fields.empty())
    object["fields"] = fieldsJson(weight.fields);
  if (weight.indirectly)
    object["indirectly"] = true;
  if (weight.numbers)
    object["numbers"] = numbersJson(*weight.numbers);
  if (!weight.experts.empty()) {
    llvm::json::Array experts;
    for (const NumberDiff &numbers : weight.experts)
      experts.push_back(numbersJson(numbers));
    object["compared_with"] = toUtf8(weight.comparedWith);
    object["experts"] = std::move(experts);
  }
  return object;
}

llvm::json::Value moec::toJson(const ModuleDiff &diff) {
  llvm::json::Array programs, weights;
  for (const ProgramDiff &program : diff.programs) {
    llvm::json::Array layers;
    for (const LayerDiff &layer : program.layers)
      if (!layer.isSame())
        layers.push_back(layerJson(layer));
    programs.push_back(
        llvm::json::Object{{"name", toUtf8(program.name)},
                           {"change", changeName(program.change)},
                           {"same", program.count(Change::same)},
                           {"added", program.count(Change::added)},
                           {"removed", program.count(Change::removed)},
                           {"changed", program.count(Change::changed)},
                           {"layers", std::move(layers)}});
  }
  for (const WeightDiff &weight : diff.weights)
    if (weight.change != Change::same || weight.indirectly || weight.numbers)
      weights.push_back(weightJson(weight));
  return llvm::json::Object{
      {"equal", diff.isEmpty()},
      {"before", toUtf8(diff.beforeName)},
      {"after", toUtf8(diff.afterName)},
      {"facts", fieldsJson(diff.facts)},
      {"files", fieldsJson(diff.files)},
      {"assets", fieldsJson(diff.assets)},
      {"dims", fieldsJson(diff.dims)},
      {"states", fieldsJson(diff.states)},
      {"parameters",
       llvm::json::Array{diff.parametersBefore, diff.parametersAfter}},
      {"active_parameters",
       llvm::json::Array{diff.activeBefore, diff.activeAfter}},
      {"programs", std::move(programs)},
      {"weights", std::move(weights)}};
}

// Text.

/// Characters of a definition that are shown, unless all is asked for.
static constexpr size_t kShownText = 120;

namespace {
class TextDiff {
public:
  TextDiff(const ModuleDiff &diff, llvm::raw_ostream &os, bool ops)
      : diff(diff), os(os), ops(ops), colour(os.has_colors()) {}

  void write();

private:
  void line(Change change, const std::string &text, unsigned indent = 2);
  void heading(const std::string &text);
  void fields(const char *title, llvm::ArrayRef<FieldChange> fields);
  void program(const ProgramDiff &program);
  void layer(const LayerDiff &layer);
  void op(const OpChange &op);
  void weights();
  void numbers();

  const ModuleDiff &diff;
  llvm::raw_ostream &os;
  bool ops, colour;
};
} // namespace

void TextDiff::line(Change change, const std::string &text, unsigned indent) {
  static constexpr llvm::raw_ostream::Colors colours[] = {
      llvm::raw_ostream::SAVEDCOLOR, llvm::raw_ostream::GREEN,
      llvm::raw_ostream::RED, llvm::raw_ostream::YELLOW};
  static constexpr char signs[] = {' ', '+', '-', '~'};
  if (colour && change != Change::same)
    os.changeColor(colours[unsigned(change)]);
  os.indent(indent) << signs[unsigned(change)] << " " << text << "\n";
  if (colour && change != Change::same)
    os.resetColor();
}

void TextDiff::heading(const std::string &text) {
  if (colour)
    os.changeColor(llvm::raw_ostream::SAVEDCOLOR, /*Bold=*/true);
  os << text << "\n";
  if (colour)
    os.resetColor();
}

static std::string fieldText(const FieldChange &field,
                             size_t maxLength = SIZE_MAX) {
  auto cut = [&](const std::string &text) {
    return text.size() > maxLength ? text.substr(0, maxLength) + " ..." : text;
  };
  switch (field.kind()) {
  case Change::added:
    return field.name + ": " + cut(field.after);
  case Change::removed:
    return field.name + ": " + cut(field.before);
  default:
    return field.name + ": " + cut(field.before) + " -> " + cut(field.after);
  }
}

void TextDiff::fields(const char *title, llvm::ArrayRef<FieldChange> list) {
  if (list.empty())
    return;
  heading(title);
  for (const FieldChange &field : list)
    line(field.kind(), fieldText(field));
}

void TextDiff::op(const OpChange &one) {
  std::string text = opSummary(one.op());
  for (Value operand : one.op().operands())
    if (const Weight *weight = operand.weight())
      text += " @" + weight->name;
  line(one.change, text, 6);
  for (const FieldChange &field : one.fields)
    line(Change::same, fieldText(field), 8);
}

void TextDiff::layer(const LayerDiff &one) {
  std::string counts;
  for (Change change : {Change::added, Change::removed, Change::changed})
    if (size_t count = one.count(change))
      counts += (counts.empty() ? "" : ", ") + std::to_string(count) + " " +
                changeName(change).str();
  std::string text = one.title() + ": ";
  text += one.rewrite.empty() ? counts : one.rewrite + " (" + counts + ")";
  line(Change::changed, text, 2);
  // A rewrite says it all; anything else is told op by op.
  for (const OpChange &change : one.ops)
    if (change.change != Change::same &&
        (ops || (one.rewrite.empty() && change.change == Change::changed)))
      op(change);
}

void TextDiff::program(const ProgramDiff &one) {
  if (one.change == Change::same)
    return;
  heading("program " + one.name + ": " +
          std::to_string(one.count(Change::same)) + " ops the same, " +
          std::to_string(one.count(Change::added)) + " added, " +
          std::to_string(one.count(Change::removed)) + " removed, " +
          std::to_string(one.count(Change::changed)) + " changed");
  for (const LayerDiff &part : one.layers)
    if (!part.isSame())
      layer(part);
}

/// `layers.*.moe.up`.
static std::string pattern(llvm::StringRef name) {
  if (layerOfName(name) < 0 || !name.starts_with("layers."))
    return name.str();
  return "layers.*." + name.split('.').second.split('.').second.str();
}

/// Weights of all layers that differ in the same way are one line.
void TextDiff::weights() {
  llvm::StringMap<size_t> groupOf;
  std::vector<std::vector<const WeightDiff *>> groups;
  for (const WeightDiff &weight : diff.weights) {
    if (weight.change == Change::same && !weight.indirectly)
      continue;
    std::string key = changeName(weight.change).str() + pattern(weight.name) +
                      textOf(weight.weight().type());
    auto [at, isNew] = groupOf.try_emplace(key, groups.size());
    if (isNew)
      groups.emplace_back();
    groups[at->second].push_back(&weight);
  }
  heading("weights: " + std::to_string(diff.countWeights(Change::same)) +
          " the same, " + std::to_string(diff.countWeights(Change::added)) +
          " added, " + std::to_string(diff.countWeights(Change::removed)) +
          " removed, " + std::to_string(diff.countWeights(Change::changed)) +
          " redefined");
  for (const auto &group : groups) {
    const WeightDiff &first = *group.front();
    std::string text =
        group.size() > 1 && pattern(first.name) != first.name
            ? pattern(first.name) + " (" + std::to_string(group.size()) + ")"
            : first.name;
    text += " : " + textOf(first.weight().type());
    if (first.indirectly)
      text += ", as before, of weights that were redefined";
    else if (first.change == Change::changed)
      text +=
          " = " + provenance(*first.before) + " -> " + provenance(*first.after);
    else
      text += " = " + provenance(first.weight());
    line(first.indirectly ? Change::changed : first.change, text);
    for (const FieldChange &field : first.fields)
      line(Change::same, fieldText(field, ops ? SIZE_MAX : kShownText), 4);
  }
}

static std::string decimal(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.6f", value);
  return text;
}

void TextDiff::numbers() {
  size_t equal = 0, compared = 0;
  Table table(
      {"weight", "max |difference|", "||difference|| / ||before||", "cosine"});
  auto row = [&](const std::string &name, const NumberDiff &numbers) {
    table.addRow({name, formatScientific(numbers.maxDifference),
                  formatScientific(numbers.relative), decimal(numbers.cosine)});
  };
  for (const WeightDiff &weight : diff.weights) {
    if (weight.numbers) {
      ++compared;
      equal += weight.numbers->maxDifference == 0;
      if (weight.numbers->maxDifference != 0)
        row(weight.name, *weight.numbers);
    }
    for (auto [e, numbers] : llvm::enumerate(weight.experts))
      row(weight.name + "[" + std::to_string(e) + "] of " + weight.comparedWith,
          numbers);
  }
  heading("numbers: " + std::to_string(equal) + " of " +
          std::to_string(compared) + " weights that both have are equal");
  table.print(os);
}

void TextDiff::write() {
  line(Change::removed, diff.beforeName, 0);
  line(Change::added, diff.afterName, 0);
  if (diff.isEmpty()) {
    os << "the same graph and the same definitions of all weights\n";
    if (diff.numbersCompared)
      numbers();
    return;
  }
  if (diff.parametersBefore != diff.parametersAfter ||
      diff.activeBefore != diff.activeAfter)
    os << "parameters: " << formatCount(diff.parametersBefore) << " -> "
       << formatCount(diff.parametersAfter) << ", for one token "
       << formatCount(diff.activeBefore) << " -> "
       << formatCount(diff.activeAfter) << "\n";
  fields("facts", diff.facts);
  fields("files", diff.files);
  fields("assets", diff.assets);
  if (ops) {
    fields("dimensions", diff.dims);
    fields("states", diff.states);
  } else if (!diff.dims.empty() || !diff.states.empty()) {
    heading(std::to_string(diff.dims.size()) + " dimensions and " +
            std::to_string(diff.states.size()) + " states differ");
  }
  for (const ProgramDiff &one : diff.programs)
    program(one);
  weights();
  if (diff.numbersCompared)
    numbers();
}

void moec::printDiff(const ModuleDiff &diff, llvm::raw_ostream &os, bool ops) {
  TextDiff(diff, os, ops).write();
}
