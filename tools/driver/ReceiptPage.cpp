//===- ReceiptPage.cpp - a receipt as one HTML page -----------------------===//

#include "ir/support/AtomicFile.h"
#include "tools/driver/Html.h"
#include "tools/driver/Receipt.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <cmath>

using namespace moec;
using namespace moec::html;

static std::string decimal(double value, const char *format = "%.4f") {
  if (std::isinf(value))
    return "inf";
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(format, value);
  return text;
}

static double worstError(const UpcycleReceipt &receipt) {
  double worst = 0;
  for (const LayerReceipt &layer : receipt.layers)
    worst = layer.outputError <= worst ? worst : layer.outputError;
  return worst;
}

static void writeVerdict(Page &page, const UpcycleReceipt &receipt) {
  if (receipt.layers.empty()) {
    page.banner(Tone::plain, "Not measured",
                "No probe tokens were run through the model.");
    return;
  }
  std::string worst = "The largest output error of a layer is " +
                      formatScientific(worstError(receipt)) + ".";
  if (receipt.promise.bound)
    worst += " Promised: " + receipt.promise.exactness + ", at most " +
             formatScientific(*receipt.promise.bound) + ".";
  else if (!receipt.promise.exactness.empty())
    worst += " Promised: " + receipt.promise.exactness + ", without a bound.";
  if (receipt.promise.predicted)
    worst += " By the formula about " +
             formatScientific(*receipt.promise.predicted) + ".";
  if (!receipt.promise.condition.empty())
    worst += " Why: " + receipt.promise.condition + ".";
  if (llvm::Error broken = checkPromise(receipt)) {
    llvm::consumeError(std::move(broken)); // The caller reports it.
    page.banner(Tone::bad, "The promise is broken", worst);
  } else if (receipt.equalsDense) {
    page.banner(Tone::good,
                receipt.edited
                    ? "The model computes what it did before"
                    : "The model computes the dense model until it is trained",
                worst);
  } else if (receipt.promise.bound) {
    page.banner(Tone::good, "The promise is kept", worst);
  } else {
    page.banner(Tone::warning,
                receipt.edited ? "The model differs from the one before"
                               : "The model differs from the dense model",
                worst);
  }
}

static void writeCards(Page &page, const UpcycleReceipt &receipt) {
  std::vector<std::pair<std::string, std::string>> cards;
  int64_t idle = 0, slots = 0, ties = 0;
  double cosine = 0, condition = 0;
  size_t cosines = 0;
  for (const LayerReceipt &layer : receipt.layers) {
    idle += llvm::count(layer.load, 0);
    slots += layer.load.size();
    ties += layer.ties;
    if (layer.cosine) {
      cosine += layer.cosine->mean;
      ++cosines;
    }
    if (layer.router)
      condition = std::max(condition, layer.router->condition);
  }
  if (!receipt.layers.empty()) {
    size_t mixtures =
        llvm::count_if(receipt.layers, [](const LayerReceipt &layer) {
          return layer.attention;
        });
    cards.emplace_back(std::to_string(receipt.layers.size() - mixtures),
                       "layers measured");
    if (mixtures)
      cards.emplace_back(std::to_string(mixtures),
                         "mixtures of heads measured");
    for (const LayerReceipt &layer : receipt.layers)
      if (!layer.attention && layer.experts) {
        cards.emplace_back(std::to_string(layer.experts) + ", top-" +
                               std::to_string(layer.topk),
                           "experts a layer");
        break;
      }
    cards.emplace_back(formatScientific(worstError(receipt)),
                       "largest output error");
    if (cosines)
      cards.emplace_back(decimal(cosine / cosines), "mean expert cosine");
    if (condition > 0)
      cards.emplace_back(decimal(condition, "%.3g"), "worst router condition");
    cards.emplace_back(std::to_string(idle) + " of " + std::to_string(slots),
                       "experts idle on the probe");
    cards.emplace_back(std::to_string(ties), "choices made by ties");
  }
  cards.emplace_back(formatSeconds(receipt.seconds), "time");
  cards.emplace_back(formatBytes(receipt.peakAnonymous), "peak memory");
  if (receipt.folder)
    cards.emplace_back(formatBytes(receipt.folder->bytes), "written");
  page.cards(cards);
}

static void writeErrors(Page &page, const UpcycleReceipt &receipt,
                        llvm::raw_ostream &os) {
  page.section("Output error by layer",
               "How far each block's output is from that of the dense layer it "
               "replaces, ||moe - dense|| / ||dense|| over the probe tokens. "
               "The floor is what rounding to f32 alone does to the dense "
               "layer: an error near it means equal.");
  LogChart chart;
  chart.xName = "layer";
  chart.series = {{"output error", 0, false, {}}, {"rounding", 1, true, {}}};
  for (const LayerReceipt &layer : receipt.layers) {
    chart.labels.push_back(nameOf(layer));
    chart.series[0].values.push_back(layer.outputError);
    chart.series[1].values.push_back(layer.errorFloor);
  }
  if (receipt.promise.bound) {
    chart.limit = *receipt.promise.bound;
    chart.limitName = "promised: at most " + formatScientific(chart.limit);
  }
  page.raw("<div class=\"panel\">");
  chart.write(os);
  page.raw("</div>\n");
}

static void writeLoad(Page &page, const UpcycleReceipt &receipt,
                      llvm::raw_ostream &os) {
  page.section("Expert load",
               "Probe tokens that each expert was given, layer by layer. "
               "Deeper is more; an empty cell is an expert that no token "
               "chose.");
  size_t experts = 0;
  int64_t most = 1;
  HeatMap map{"layer", "expert", {}, {}, nullptr, nullptr, nullptr, 0, 1};
  for (const LayerReceipt &layer : receipt.layers) {
    map.rows.push_back(nameOf(layer));
    experts = std::max(experts, layer.load.size());
    for (int64_t count : layer.load)
      most = std::max(most, count);
  }
  for (size_t e = 0; e < experts; ++e)
    map.columns.push_back(std::to_string(e));
  auto count = [&](size_t row, size_t column) {
    const auto &load = receipt.layers[row].load;
    return column < load.size() ? load[column] : -1;
  };
  auto value = [&](size_t row, size_t column) {
    int64_t tokens = count(row, column);
    return tokens < 0 ? NAN : double(tokens);
  };
  auto tip = [&](size_t row, size_t column) {
    return "layer " + map.rows[row] + ", expert " + map.columns[column] + ": " +
           std::to_string(count(row, column)) + " of " +
           std::to_string(receipt.probeTokens) + " tokens";
  };
  auto label = [&](size_t row, size_t column) {
    int64_t tokens = count(row, column);
    return tokens > 0 ? std::to_string(tokens) : std::string();
  };
  map.value = value;
  map.tip = tip;
  map.label = label;
  map.most = most;
  page.raw("<div class=\"panel\">");
  map.write(os);
  page.raw("</div>\n");
}

/// Cosines, averaged over the layers that have as many experts as the first.
static void writeCosines(Page &page, const UpcycleReceipt &receipt,
                         llvm::raw_ostream &os) {
  std::vector<double> mean;
  size_t layers = 0;
  for (const LayerReceipt &layer : receipt.layers) {
    if (!layer.cosine || layer.cosine->matrix.empty())
      continue;
    const auto &matrix = layer.cosine->matrix;
    if (mean.empty())
      mean.assign(matrix.size(), 0);
    if (mean.size() != matrix.size())
      continue;
    for (size_t i = 0; i < matrix.size(); ++i)
      mean[i] += matrix[i];
    ++layers;
  }
  if (!layers)
    return;
  for (double &value : mean)
    value /= layers;
  size_t experts = std::lround(std::sqrt(double(mean.size())));
  page.section("Likeness of experts",
               "Cosine between the weights of every two experts, mean over " +
                   std::to_string(layers) +
                   " layers. 1 is a copy; experts that are all copies can only "
                   "part by what the router sends them.");
  HeatMap map{"expert", "expert", {}, {}, nullptr, nullptr, nullptr, 0, 1};
  for (size_t e = 0; e < experts; ++e)
    map.rows.push_back(std::to_string(e));
  map.columns = map.rows;
  auto value = [&](size_t row, size_t column) {
    return mean[row * experts + column];
  };
  auto tip = [&](size_t row, size_t column) {
    return "experts " + map.rows[row] + " and " + map.columns[column] + ": " +
           decimal(value(row, column), "%.6f");
  };
  auto label = [&](size_t row, size_t column) {
    return decimal(value(row, column), "%.2f");
  };
  map.value = value;
  map.tip = tip;
  map.label = label;
  page.raw("<div class=\"panel\">");
  map.write(os);
  page.raw("</div>\n");
}

static void writeLayers(Page &page, const UpcycleReceipt &receipt) {
  page.section("Layers");
  std::vector<std::vector<std::string>> rows;
  for (const LayerReceipt &layer : receipt.layers) {
    std::vector<std::string> row{nameOf(layer),
                                 std::to_string(layer.experts),
                                 std::to_string(layer.topk),
                                 formatScientific(layer.outputError),
                                 formatScientific(layer.errorFloor),
                                 layer.measured};
    if (const auto &cosine = layer.cosine) {
      row.push_back(decimal(cosine->mean));
      row.push_back(decimal(cosine->min));
      row.push_back(decimal(cosine->max));
    } else {
      row.insert(row.end(), 3, "-");
    }
    row.push_back(layer.router ? decimal(layer.router->condition, "%.3g")
                               : "-");
    row.push_back(layer.router ? std::to_string(layer.router->rank) : "-");
    row.push_back(std::to_string(layer.ties));
    rows.push_back(std::move(row));
  }
  page.table({"layer", "experts", "top-k", "output error", "rounding",
              "measured", "cosine mean", "min", "max", "router condition",
              "rank", "ties"},
             rows);
}

static void writeNorms(Page &page, const UpcycleReceipt &receipt) {
  std::vector<std::vector<std::string>> rows;
  for (const LayerReceipt &layer : receipt.layers)
    for (const MatrixReceipt &matrix : layer.matrices) {
      double sum = 0;
      for (double norm : matrix.after)
        sum += norm;
      auto [least, most] =
          std::minmax_element(matrix.after.begin(), matrix.after.end());
      bool known = !matrix.after.empty();
      rows.push_back({nameOf(layer), matrix.name,
                      matrix.before ? decimal(*matrix.before, "%.6g") : "-",
                      known ? decimal(sum / matrix.after.size(), "%.6g") : "-",
                      known ? decimal(*least, "%.6g") : "-",
                      known ? decimal(*most, "%.6g") : "-"});
    }
  if (rows.empty())
    return;
  page.section("Weight norms",
               "Frobenius norms of each matrix before, and of the experts "
               "after.");
  page.beginDetails(std::to_string(rows.size()) + " matrices", false, "box");
  page.table({"layer", "matrix", "before", "after, mean", "min", "max"}, rows);
  page.endDetails();
}

static void writeOrigin(Page &page, const UpcycleReceipt &receipt) {
  page.section("Where it comes from");
  std::vector<std::pair<std::string, std::string>> rows;
  if (!receipt.recipe.empty())
    rows.emplace_back("recipe", receipt.recipe);
  rows.emplace_back("policy", receipt.policy);
  rows.emplace_back("options", receipt.options);
  rows.emplace_back("seed", std::to_string(receipt.seed));
  rows.emplace_back("source", receipt.source);
  rows.emplace_back("source SHA-256", receipt.sourceSha256);
  if (receipt.sources.size() > 1)
    for (auto &[path, digest] : receipt.sources)
      rows.emplace_back("file", path + " " + digest);
  rows.emplace_back("probe tokens", std::to_string(receipt.probeTokens));
  rows.emplace_back("peak resident memory", formatBytes(receipt.peakResident));
  if (receipt.folder)
    rows.emplace_back("Hugging Face",
                      receipt.folder->architecture.empty()
                          ? "none computes this: " + receipt.folder->whyNone
                          : receipt.folder->architecture);
  rows.emplace_back("made by", "moec " MOEC_VERSION);
  page.facts(rows);
}

void moec::writeReceiptPage(const UpcycleReceipt &receipt,
                            llvm::raw_ostream &os) {
  Page page(os, "Upcycling receipt", receipt.output);
  writeVerdict(page, receipt);
  writeCards(page, receipt);
  if (!receipt.layers.empty()) {
    writeErrors(page, receipt, os);
    writeLoad(page, receipt, os);
    writeCosines(page, receipt, os);
    writeLayers(page, receipt);
    writeNorms(page, receipt);
  }
  writeOrigin(page, receipt);
}

llvm::Error moec::writeReceiptFile(const UpcycleReceipt &receipt,
                                   llvm::StringRef path) {
  std::string page;
  llvm::raw_string_ostream os(page);
  writeReceiptPage(receipt, os);
  return writeFileAtomically(path, page);
}

llvm::Error moec::addReceiptTo(llvm::StringRef folder,
                               const UpcycleReceipt &receipt) {
  auto inside = [&](const char *name) {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, name);
    return std::string(path);
  };
  MOEC_TRY(writeReceiptFile(receipt, inside("receipt.html")));
  return writeFileAtomically(inside("receipt.json"),
                             llvm::formatv("{0:2}\n", toJson(receipt)).str());
}
