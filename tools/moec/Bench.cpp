#include "tools/moec/Command.h"

#include "ir/support/Escape.h"
#include "ir/support/Interrupt.h"
#include "runtime/cpu/CpuDevice.h"
#include "runtime/cpu/ReadBandwidth.h"
#include "runtime/generate/Generate.h"
#include "runtime/schema/plan_generated.h"
#include "tools/driver/Describe.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Format.h"

#include <algorithm>
#include <chrono>

using namespace moec;
using namespace moec::runtime;
namespace cl = llvm::cl;

static cl::SubCommand flags("bench", "speed of prefill and decode");
static ModelFlags model(flags);
static RunFlags runFlags(flags);
static NumberFlag<int64_t>
    prefill("prefill", AtLeast(1), cl::init(512), cl::value_desc("count"),
            cl::desc("tokens of the prompt (512, or what the context holds)"),
            cl::sub(flags));
static NumberFlag<int64_t>
    decode("decode", AtLeast(0), cl::init(128), cl::value_desc("count"),
           cl::desc("tokens to decode (128, or a quarter of the context)"),
           cl::sub(flags));
static NumberFlag<uint32_t> runs("runs", AtLeast(1), cl::init(5),
                                 cl::value_desc("count"),
                                 cl::desc("measured runs after a warm-up (5)"),
                                 cl::sub(flags));
static cl::opt<bool> profile("profile", cl::desc("time by kernel and launch"),
                             cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

namespace {
struct Samples {
  std::vector<double> values;
  double median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    if (sorted.empty())
      return 0;
    size_t half = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[half]
                             : (sorted[half - 1] + sorted[half]) / 2;
  }
  double lowest() const {
    return *std::min_element(values.begin(), values.end());
  }
  double highest() const {
    return *std::max_element(values.begin(), values.end());
  }
  llvm::json::Object json() const {
    return llvm::json::Object{
        {"median", median()}, {"min", lowest()}, {"max", highest()}};
  }
  std::string text() const {
    std::string line;
    llvm::raw_string_ostream(line)
        << llvm::format("%.1f (%.1f to %.1f)", median(), lowest(), highest());
    return line;
  }
};
} // namespace

static double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

namespace {
/// What a kernel or a launch cost; `least` adds up the launches' fastest runs.
struct Cost {
  double seconds = 0;
  double least = 0;
  uint64_t runs = 0;
};
} // namespace

namespace {
/// Costs by name, the largest first.
struct Profile {
  std::vector<std::pair<std::string, Cost>> kernels, launches;
};
} // namespace

static std::vector<std::pair<std::string, Cost>>
sortedCosts(const llvm::StringMap<Cost> &costs) {
  std::vector<std::pair<std::string, Cost>> sorted;
  for (auto &entry : costs)
    sorted.push_back({entry.first().str(), entry.second});
  llvm::sort(sorted, [](auto &a, auto &b) {
    return std::tie(b.second.seconds, a.first) <
           std::tie(a.second.seconds, b.first);
  });
  return sorted;
}

static Profile readProfile(const LoadedPlan &plan, Session &session) {
  llvm::StringMap<Cost> byKernel, byLaunch;
  for (const LaunchProfile &launch : session.executor().profile()) {
    unsigned kernel = launch.program->launches()->Get(launch.launch)->kernel();
    std::string name = launch.program->name()->str() + ": " +
                       plan.variant().kernels()->Get(kernel)->name()->str();
    for (Cost *cost : {&byKernel[name],
                       &byLaunch[launchName(*launch.program, launch.launch)]}) {
      cost->seconds += launch.seconds;
      cost->least += launch.least;
      cost->runs += launch.runs;
    }
  }
  return {sortedCosts(byKernel), sortedCosts(byLaunch)};
}

/// The largest costs, at most `most` of them.
static void printCosts(const char *what, size_t most,
                       llvm::ArrayRef<std::pair<std::string, Cost>> costs) {
  double all = 0;
  for (auto &[name, cost] : costs)
    all += cost.seconds;
  Table table({what, "runs", "time", "each", "fastest step", "share"});
  for (auto &[name, cost] : costs.take_front(most)) {
    std::string share;
    llvm::raw_string_ostream(share)
        << llvm::format("%.1f%%", 100 * cost.seconds / all);
    table.addRow({name, std::to_string(cost.runs), formatSeconds(cost.seconds),
                  formatSeconds(cost.seconds / cost.runs),
                  formatSeconds(cost.least), share});
  }
  llvm::outs() << "\n";
  table.print(llvm::outs());
}

static llvm::json::Array
toJson(llvm::ArrayRef<std::pair<std::string, Cost>> costs) {
  llvm::json::Array list;
  for (auto &[name, cost] : costs)
    list.push_back(llvm::json::Object{{"name", toUtf8(name)},
                                      {"runs", cost.runs},
                                      {"seconds", cost.seconds},
                                      {"fastest_step_seconds", cost.least}});
  return list;
}

/// Tokens of prompt and decode that the context holds; what nobody asked for
/// gives way.
static llvm::Error fitContext(int64_t context) {
  if (!decode.getNumOccurrences())
    decode = std::min<int64_t>(decode, context / 4);
  if (!prefill.getNumOccurrences() && decode < context)
    prefill = std::min<int64_t>(prefill, context - decode);
  // No sum of two numbers of the user.
  if (prefill > context || decode > context - prefill)
    return error() << "--prefill " << prefill << " and --decode " << decode
                   << " are more tokens than the model's context holds, "
                   << context;
  return llvm::Error::success();
}

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open());
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  MOEC_TRY(fitContext(loaded->context()));
  SessionOptions sessionOptions;
  sessionOptions.cacheTokens = prefill + decode + 1;
  MOEC_ASSIGN(auto session, Session::create(loaded, sessionOptions));
  auto &device = static_cast<CpuDevice &>(loaded->device());
  // Any tokens do; these spread over the vocabulary.
  std::vector<int32_t> prompt(prefill);
  for (int64_t i = 0; i < prefill; ++i)
    prompt[i] = int32_t((uint64_t(i) * 2654435761u + 12345) %
                        uint64_t(loaded->vocabulary()));
  Samples prefillRate, decodeRate, bandwidth;
  std::optional<Progress> progress("measuring");
  for (unsigned run = 0; run <= runs; ++run) {
    progress->update(run, uint64_t(runs) + 1);
    MOEC_TRY(checkInterrupt());
    MOEC_TRY(session->resetCounters());
    if (run == 1 && profile)
      session->executor().setProfile(true);
    SequenceId sequence = session->beginSequence();
    double start = now();
    MOEC_TRY(session->prefill(sequence, prompt).takeError());
    double prefilled = now();
    for (int64_t i = 0; i < decode; ++i) {
      // The same for every model and program, so that runs compare.
      int32_t token =
          int32_t((uint64_t(i) * 7919 + 31) % uint64_t(loaded->vocabulary()));
      SequenceChunk chunk{sequence, token, WantedLogits::last};
      MOEC_TRY(session->forward(chunk).takeError());
    }
    double decoded = now();
    session->endSequence(sequence);
    if (!run)
      continue;
    prefillRate.values.push_back(prefill / (prefilled - start));
    if (decode)
      decodeRate.values.push_back(decode / (decoded - prefilled));
    MOEC_ASSIGN(double readBytes, measureReadBandwidth(device.threadPool()));
    bandwidth.values.push_back(readBytes / 1e9);
  }
  progress.reset();
  MOEC_ASSIGN(auto counters, session->expertCounters());
  // Largest deviation of an expert's load from the mean, by layer.
  std::vector<double> skews;
  for (auto &counter : counters) {
    double mean = 0, skew = 0;
    for (int64_t count : counter.counts)
      mean += double(count) / counter.counts.size();
    for (int64_t count : counter.counts)
      skew = std::max(skew, std::abs(count / mean - 1));
    skews.push_back(skew);
  }
  double skew = skews.empty() ? 0 : *llvm::max_element(skews);
  uint64_t weightBytes = loaded->loadedPlan()->weightBytes();
  uint64_t beforehand = loaded->loadedPlan()->packedBeforehandBytes();
  std::string variant = loaded->loadedPlan()->variant().name()->str();
  if (json) {
    llvm::json::Object answer{{"variant", toUtf8(variant)},
                              {"threads", device.parallelism()},
                              {"prefill_tokens", prefill.getValue()},
                              {"decode_tokens", decode.getValue()},
                              {"prefill_tokens_per_second", prefillRate.json()},
                              {"read_gb_per_second", bandwidth.json()},
                              {"weight_bytes", weightBytes},
                              {"packed_beforehand_bytes", beforehand},
                              {"load_seconds", loaded->loadSeconds()}};
    if (decode)
      answer["decode_tokens_per_second"] = decodeRate.json();
    if (!counters.empty()) {
      answer["expert_load_deviation"] = skew;
      answer["expert_load_deviation_by_layer"] = llvm::json::Array(skews);
    }
    if (profile) {
      Profile costs = readProfile(*loaded->loadedPlan(), *session);
      answer["profile"] =
          llvm::json::Object{{"kernels", toJson(costs.kernels)},
                             {"launches", toJson(costs.launches)}};
    }
    printJson(std::move(answer));
    return llvm::Error::success();
  }
  Table table({"what", "median (least to most)"});
  table.addRow({"variant", variant});
  table.addRow({"threads", std::to_string(device.parallelism())});
  table.addRow({"load", formatSeconds(loaded->loadSeconds())});
  table.addRow({"weights in memory", formatBytes(weightBytes)});
  if (beforehand)
    table.addRow({"  packed beforehand", formatBytes(beforehand)});
  table.addRow({"prefill " + std::to_string(prefill) + ", tokens/s",
                prefillRate.text()});
  if (decode)
    table.addRow(
        {"decode " + std::to_string(decode) + ", tokens/s", decodeRate.text()});
  table.addRow({"memory read, GB/s", bandwidth.text()});
  if (!counters.empty()) {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::format("%.0f%%", 100 * skew);
    table.addRow({"expert load, largest deviation", text});
  }
  table.print(llvm::outs());
  if (profile) {
    Profile costs = readProfile(*loaded->loadedPlan(), *session);
    printCosts("kernel", 40, costs.kernels);
    printCosts("launch", 20, costs.launches);
  }
  return llvm::Error::success();
}

const Command moec::kBenchCommand = {&flags, run};
