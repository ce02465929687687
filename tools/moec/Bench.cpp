#include "tools/moec/Command.h"

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
static cl::opt<int64_t> prefill("prefill", cl::init(512),
                                cl::desc("tokens of the prompt"),
                                cl::sub(flags));
static cl::opt<int64_t> decode("decode", cl::init(128),
                               cl::desc("tokens to decode"), cl::sub(flags));
static cl::opt<unsigned> runs("runs", cl::init(5),
                              cl::desc("measured runs after a warm-up"),
                              cl::sub(flags));
static cl::opt<bool> profile("profile", cl::desc("time by launch"),
                             cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

namespace {
struct Samples {
  std::vector<double> values;
  double median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted.empty() ? 0 : sorted[sorted.size() / 2];
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

/// The names with the largest costs, at most `most` of them.
static void printCosts(const char *what, unsigned most,
                       const llvm::StringMap<Cost> &costs) {
  std::vector<std::pair<std::string, Cost>> sorted;
  double all = 0;
  for (auto &entry : costs) {
    sorted.push_back({entry.first().str(), entry.second});
    all += entry.second.seconds;
  }
  llvm::sort(sorted, [](auto &a, auto &b) {
    return a.second.seconds > b.second.seconds;
  });
  if (sorted.size() > most)
    sorted.resize(most);
  Table table({what, "runs", "time", "each", "fastest run", "share"});
  for (auto &[name, cost] : sorted) {
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

static void printProfile(const LoadedPlan &plan, Session &session) {
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
  printCosts("kernel", 40, byKernel);
  printCosts("launch", 20, byLaunch);
}

static llvm::Error run() {
  if (prefill < 1 || decode < 0 || runs < 1)
    return error() << "--prefill and --runs are 1 or more, --decode 0 or more";
  MOEC_ASSIGN(AnyModel opened, model.open());
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  if (prefill + decode > loaded->context())
    return error() << "--prefill and --decode are " << prefill + decode
                   << " tokens together, but the model's context holds "
                   << loaded->context();
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
  for (unsigned run = 0; run <= runs; ++run) {
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
    llvm::json::Object answer{{"variant", variant},
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
  if (profile)
    printProfile(*loaded->loadedPlan(), *session);
  return llvm::Error::success();
}

const Command moec::kBenchCommand = {&flags, run};
