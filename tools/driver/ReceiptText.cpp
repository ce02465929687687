//===- ReceiptText.cpp - a receipt as JSON and as tables ------------------===//

#include "ir/support/Escape.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace moec;

/// JSON has no infinity: null stands for it.
static llvm::json::Value number(double value) {
  return std::isfinite(value) ? llvm::json::Value(value)
                              : llvm::json::Value(nullptr);
}

static llvm::json::Object layerJson(const LayerReceipt &layer) {
  llvm::json::Object object{{"layer", layer.layer},
                            {"block", layer.attention ? "attention" : "ffn"},
                            {"experts", layer.experts},
                            {"top_k", layer.topk},
                            {"output_error", number(layer.outputError)},
                            {"error_floor", number(layer.errorFloor)},
                            {"measured", layer.measured},
                            {"ties", layer.ties},
                            {"load", llvm::json::Array(layer.load)}};
  llvm::json::Array matrices;
  for (const MatrixReceipt &matrix : layer.matrices) {
    llvm::json::Object norms{{"name", toUtf8(matrix.name)},
                             {"norm_after", llvm::json::Array(matrix.after)}};
    if (matrix.before)
      norms["norm_before"] = *matrix.before;
    matrices.push_back(std::move(norms));
  }
  object["matrices"] = std::move(matrices);
  if (const auto &cosine = layer.cosine) {
    llvm::json::Object likeness{
        {"mean", cosine->mean}, {"min", cosine->min}, {"max", cosine->max}};
    if (!cosine->matrix.empty()) {
      llvm::json::Array rows;
      size_t experts = std::lround(std::sqrt(double(cosine->matrix.size())));
      for (size_t row = 0; row < experts; ++row)
        rows.push_back(llvm::json::Array(
            llvm::ArrayRef(cosine->matrix).slice(row * experts, experts)));
      likeness["matrix"] = std::move(rows);
    }
    object["expert_cosine"] = std::move(likeness);
  }
  if (const auto &router = layer.router)
    object["router"] = llvm::json::Object{
        {"norm", router->norm},
        {"rank", router->rank},
        {"condition", number(router->condition)},
        {"condition_of_rank", number(router->conditionOfRank)},
        {"singular_values", llvm::json::Array(router->singularValues)}};
  return object;
}

llvm::json::Value moec::toJson(const UpcycleReceipt &receipt) {
  llvm::json::Array layers, sources;
  for (const LayerReceipt &layer : receipt.layers)
    layers.push_back(layerJson(layer));
  for (auto &[path, digest] : receipt.sources)
    sources.push_back(
        llvm::json::Object{{"path", toUtf8(path)}, {"sha256", digest}});
  llvm::json::Object object{{"output", toUtf8(receipt.output)},
                            {"producer", "moec " MOEC_VERSION},
                            {"policy", receipt.policy},
                            {"options", toUtf8(receipt.options)},
                            {"seed", receipt.seed},
                            {"source", toUtf8(receipt.source)},
                            {"source_sha256", receipt.sourceSha256},
                            {"sources", std::move(sources)},
                            {"probe_tokens", receipt.probeTokens},
                            {"layers", std::move(layers)},
                            {"seconds", receipt.seconds},
                            {"peak_rss_anon", receipt.peakAnonymous},
                            {"peak_rss", receipt.peakResident}};
  // Without a probe nobody knows.
  if (receipt.probeTokens)
    object["equals_dense"] = receipt.equalsDense;
  if (!receipt.notes.empty())
    object["notes"] = llvm::json::Array(llvm::map_range(receipt.notes, toUtf8));
  if (!receipt.recipe.empty())
    object["recipe"] = toUtf8(receipt.recipe);
  if (!receipt.promise.exactness.empty()) {
    llvm::json::Object promise{{"exactness", receipt.promise.exactness}};
    if (receipt.promise.bound)
      promise["bound"] = *receipt.promise.bound;
    if (receipt.promise.predicted)
      promise["predicted"] = *receipt.promise.predicted;
    if (!receipt.promise.condition.empty())
      promise["condition"] = toUtf8(receipt.promise.condition);
    object["promise"] = std::move(promise);
  }
  if (receipt.folder) {
    object["bytes"] = receipt.folder->bytes;
    object["resumed_tensors"] = receipt.folder->resumedTensors;
    object["architecture"] = toUtf8(receipt.folder->architecture);
  }
  return object;
}

static void printFacts(const UpcycleReceipt &receipt, llvm::raw_ostream &os) {
  Table facts({"receipt", receipt.output});
  if (!receipt.recipe.empty())
    facts.addRow({"recipe", receipt.recipe});
  // An edit's options are its pipeline.
  facts.addRow({"policy", receipt.edited
                              ? receipt.options
                              : receipt.policy + " " + receipt.options});
  if (!receipt.edited)
    facts.addRow({"seed", std::to_string(receipt.seed)});
  facts.addRow({"source", receipt.source});
  facts.addRow({"source SHA-256", receipt.sourceSha256});
  facts.addRow({"probe tokens", std::to_string(receipt.probeTokens)});
  if (!receipt.promise.exactness.empty()) {
    std::string promise = receipt.promise.exactness;
    if (receipt.promise.bound)
      promise += ", at most " + formatScientific(*receipt.promise.bound);
    if (receipt.promise.predicted)
      promise += ", about " + formatScientific(*receipt.promise.predicted);
    if (!receipt.promise.condition.empty())
      promise += " (" + receipt.promise.condition + ")";
    facts.addRow({"promised", promise});
  }
  facts.addRow({"time", formatSeconds(receipt.seconds)});
  facts.addRow(
      {"peak memory", formatBytes(receipt.peakAnonymous) + " anonymous, " +
                          formatBytes(receipt.peakResident) + " resident"});
  if (const auto &folder = receipt.folder) {
    facts.addRow({"written", formatBytes(folder->bytes)});
    facts.addRow(
        {"Hugging Face", folder->architecture.empty()
                             ? "none computes this: " + folder->whyNone
                             : "config.json says " + folder->architecture});
  }
  facts.print(os);
}

/// `6 6 8 12`; of many experts the smallest and the largest.
static std::string loadText(llvm::ArrayRef<int64_t> load) {
  constexpr size_t kShown = 16;
  std::string text;
  if (load.size() <= kShown) {
    for (int64_t count : load)
      text += (text.empty() ? "" : " ") + std::to_string(count);
    return text;
  }
  int64_t least = load[0], most = load[0], idle = 0;
  for (int64_t count : load) {
    least = std::min(least, count);
    most = std::max(most, count);
    idle += count == 0;
  }
  return std::to_string(least) + " to " + std::to_string(most) + ", " +
         std::to_string(idle) + " of " + std::to_string(load.size()) + " idle";
}

static std::string fixed(double value, const char *format) {
  if (std::isinf(value))
    return "inf";
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(format, value);
  return text;
}

void moec::printReceipt(const UpcycleReceipt &receipt, llvm::raw_ostream &os) {
  printFacts(receipt, os);
  if (receipt.layers.empty())
    return;
  os << "\n";
  Table table({"layer",
               receipt.edited ? "||after - before|| / ||before||"
                              : "||moe - dense|| / ||dense||",
               "measured", "expert cosine", "router condition", "ties",
               "tokens of each expert"});
  for (const LayerReceipt &layer : receipt.layers)
    table.addRow(
        {nameOf(layer), formatScientific(layer.outputError), layer.measured,
         layer.cosine ? fixed(layer.cosine->mean, "%.4f") : std::string("-"),
         layer.router ? fixed(layer.router->condition, "%.3g")
                      : std::string("-"),
         std::to_string(layer.ties), loadText(layer.load)});
  table.print(os);
}
