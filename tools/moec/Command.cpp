#include "tools/moec/Command.h"

#include "ir/support/Escape.h"
#include "ir/support/Thread.h"
#include "passes/pipeline/Registry.h"
#include "tools/driver/DescribePlan.h"
#include "tools/recipes/Yaml.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/WithColor.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <sys/ioctl.h>
#include <thread>
#include <unistd.h>

using namespace moec;
namespace cl = llvm::cl;

ModelFlags::ModelFlags(cl::SubCommand &command)
    : path(cl::Positional, cl::Required, cl::desc("MODEL"), cl::sub(command)),
      tokenizer("tokenizer", cl::value_desc("path"),
                cl::desc("tokenizer file or folder, for a model without one"),
                cl::sub(command)),
      longContext("long-context",
                  cl::desc("rotary factors for sequences beyond the context "
                           "before longrope, in place of those for shorter"),
                  cl::sub(command)) {}

llvm::Expected<AnyModel> ModelFlags::open(const Outputs &outputs) const {
  if (path.empty())
    return llvm::make_error<UsageError>("expects MODEL, found an empty name");
  Outputs all = outputs;
  all.reads.push_back(tokenizer);
  MOEC_TRY(all.check(path));
  MOEC_ASSIGN(AnyModel model, openAnyModel(path, tokenizer, longContext));
  if (model.module)
    MOEC_TRY(all.checkSources(*model.module));
  for (const std::string &warning : model.warnings)
    warn(warning);
  return std::move(model);
}

RunFlags::RunFlags(cl::SubCommand &command)
    : dtype("dtype", cl::init("auto"), cl::value_desc("type"),
            cl::desc("auto, f32, bf16 or q8_0 (auto); a plan has its own"),
            cl::sub(command)),
      variant("variant", cl::value_desc("name"),
              cl::desc("code variant to run, such as cpu-x86-avx2"),
              cl::sub(command)),
      threads("threads", cl::init(0), cl::value_desc("count"),
              cl::desc("threads to run on (0: one a processor)"),
              cl::sub(command)),
      verify("verify",
             cl::desc("compare the weights with the digests that a plan or a "
                      "module states"),
             cl::sub(command)) {}

llvm::Expected<std::shared_ptr<const runtime::Model>>
RunFlags::load(AnyModel model) const {
  CompileRequest request;
  MOEC_ASSIGN(request.precision, parsePrecision(dtype));
  std::string wanted = variant;
  if (wanted.empty())
    wanted = llvm::sys::Process::GetEnv("MOEC_VARIANT").value_or("");
  for (cpu::CpuLevel level : cpu::kCpuLevels)
    if (cpu::variantName(level) == wanted)
      request.levels = {level};
  runtime::ModelOptions options;
  options.variant = variant;
  options.cpu.threads = threads;
  options.verifyWeights = verify;
  bool isStated = (model.plan && statesDigests(*model.plan)) ||
                  (model.module &&
                   llvm::any_of(model.module->files(), [](const auto &file) {
                     return !file->sha256.empty();
                   }));
  if (verify && !isStated)
    warn("--verify compares nothing: no digest of a weight is stated; a plan "
         "that 'compile' writes has them");
  return loadForRunning(std::move(model), request, std::move(options));
}

static cl::OptionCategory watching("watching passes");

PassFlags::PassFlags(cl::SubCommand &command)
    : printBefore("print-ir-before", cl::value_desc("pass"), cl::CommaSeparated,
                  cl::desc("print the IR before a pass, or before all"),
                  cl::cat(watching), cl::sub(command)),
      printAfter(
          "print-ir-after", cl::value_desc("pass"), cl::CommaSeparated,
          cl::desc("print the IR after a pass, after all, or after a change"),
          cl::cat(watching), cl::sub(command)),
      printBeforeAll("print-ir-before-all",
                     cl::desc("print it before every pass"), cl::cat(watching),
                     cl::sub(command)),
      printAfterAll("print-ir-after-all", cl::desc("print it after every pass"),
                    cl::cat(watching), cl::sub(command)),
      printAfterChange("print-ir-after-change",
                       cl::desc("print it after every pass that changed it"),
                       cl::cat(watching), cl::sub(command)),
      printAfterFailure("print-ir-after-failure",
                        cl::desc("print what a failing pass left behind"),
                        cl::cat(watching), cl::sub(command)),
      treeFolder("print-ir-tree-dir", cl::value_desc("folder"),
                 cl::desc("write it to a file per pass in this folder"),
                 cl::cat(watching), cl::sub(command)),
      timing("pass-timing", cl::desc("tell the seconds per pass"),
             cl::cat(watching), cl::sub(command)),
      statistics("pass-statistics", cl::desc("tell what passes counted"),
                 cl::cat(watching), cl::sub(command)),
      verifyEach("verify-each", cl::init(true),
                 cl::desc("check the IR after each pass (true)"),
                 cl::cat(watching), cl::sub(command)),
      reproducer("reproducer", cl::value_desc("file"),
                 cl::desc("where a failure leaves IR, pipeline and flags"),
                 cl::cat(watching), cl::sub(command)) {}

/// A pass that nobody has would print nothing, without a word.
static llvm::Error checkPassNames(const cl::list<std::string> &flag,
                                  llvm::ArrayRef<llvm::StringRef> further) {
  std::vector<llvm::StringRef> known = further.vec();
  for (const PassInfo &pass : allPasses().passes())
    known.push_back(pass.name);
  for (const std::string &name : flag)
    if (!llvm::is_contained(known, name))
      return llvm::make_error<UsageError>("--" + flag.ArgStr.str() +
                                          " names no pass: '" + name + "'" +
                                          suggestion(name, known));
  return llvm::Error::success();
}

llvm::Error PassFlags::check() const {
  MOEC_TRY(checkPassNames(printBefore, {"all"}));
  return checkPassNames(printAfter, {"all", "change"});
}

InstrumentationOptions PassFlags::options() const {
  InstrumentationOptions options;
  // `=all` and `=change` say the same as `-all` and `-change`.
  options.printBeforeAll =
      printBeforeAll || llvm::is_contained(printBefore, "all");
  options.printAfterAll =
      printAfterAll || llvm::is_contained(printAfter, "all");
  options.printAfterChange =
      printAfterChange || llvm::is_contained(printAfter, "change");
  options.printAfterFailure = printAfterFailure;
  for (const std::string &name : printBefore)
    if (name != "all")
      options.printBefore.push_back(name);
  for (const std::string &name : printAfter)
    if (name != "all" && name != "change")
      options.printAfter.push_back(name);
  // What people read on the way; a tree's files can be read back.
  options.printElided = true;
  options.treeFolder = treeFolder;
  options.timing = timing;
  options.statistics = statistics;
  options.verifyEach = verifyEach;
  options.reproducer = reproducer;
  options.flags = commandLine().vec();
  return options;
}

llvm::Expected<Precision> moec::parsePrecision(llvm::StringRef name) {
  if (name == "auto")
    return Precision::automatic;
  if (name == "f32")
    return Precision::f32;
  if (name == "bf16")
    return Precision::bf16;
  if (name == "q8_0")
    return Precision::q8_0;
  return llvm::make_error<UsageError>("--dtype is '" + name.str() +
                                      "', expects auto, f32, bf16 or q8_0");
}

llvm::Error moec::wrongFlag(const cl::Option &flag, llvm::StringRef value,
                            const llvm::Twine &expected) {
  return llvm::make_error<UsageError>(
      ("--" + flag.ArgStr + " is '" + value + "', expects " + expected).str());
}

std::string moec::jsonAnswer(const llvm::json::Value &value) {
  return llvm::formatv("{0:2}\n", value).str();
}

void moec::printJson(const llvm::json::Value &value) {
  llvm::outs() << jsonAnswer(value);
}

void moec::warn(const llvm::Twine &message) {
  // In the order in which things happened, also where both go to one place.
  llvm::outs().flush();
  llvm::WithColor(llvm::errs(), llvm::raw_ostream::MAGENTA, /*Bold=*/true)
      << "warning: ";
  llvm::errs() << escapeControls(message.str()) << "\n";
}

void moec::warnOf(llvm::ArrayRef<Remark> remarks) {
  llvm::MapVector<llvm::StringRef, std::pair<const Remark *, size_t>> once;
  for (const Remark &remark : remarks) {
    // Told with their digests when donors are opened.
    if (llvm::StringRef(remark.reason).starts_with("has equal donors"))
      continue;
    auto &[first, count] = once[remark.reason];
    if (!count++)
      first = &remark;
  }
  for (auto &[reason, seen] : once) {
    std::string text = seen.first->loc.str();
    text += (text.empty() ? "'" : ": '") + seen.first->op + "' " + reason.str();
    if (seen.second > 1)
      text += " (and " + std::to_string(seen.second - 1) + " more)";
    warn(text);
  }
}

static double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

unsigned moec::terminalColumns(int descriptor, unsigned fallback) {
  winsize size;
  if (ioctl(descriptor, TIOCGWINSZ, &size) || !size.ws_col)
    return fallback;
  return size.ws_col;
}

Progress::Progress(std::string what)
    : what(std::move(what)),
      wanted(llvm::sys::Process::StandardErrIsDisplayed() &&
             llvm::sys::Process::GetEnv("TERM").value_or("dumb") != "dumb") {}

Progress::~Progress() {
  if (shown)
    llvm::errs() << "\r\033[K";
}

void Progress::update(uint64_t done, uint64_t total) {
  if (!wanted)
    return;
  std::lock_guard lock(mutex);
  // A thread that was overtaken has nothing new to say. Another total is
  // another part of the work.
  if (total == lastTotal && done < farthest)
    return;
  farthest = done;
  lastTotal = total;
  double time = now();
  if (shown && time - last < 0.1 && done != total)
    return;
  last = time;
  shown = true;
  unsigned percent = total ? unsigned(100.0 * done / total) : 100;
  std::string line = what + " " + std::to_string(percent) + "%";
  // A line that was broken could not be rewritten.
  line = endWithin(line, terminalColumns(STDERR_FILENO, 80) - 1);
  llvm::errs() << "\r\033[K" + line;
}

struct MemoryWatch::State {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> anonymous{0}, resident{0};
  std::optional<std::thread> thread;

  void sample() {
    std::ifstream status("/proc/self/status");
    std::string key;
    for (std::string line; std::getline(status, line);) {
      auto read = [&](llvm::StringRef name, std::atomic<uint64_t> &peak) {
        llvm::StringRef rest = line;
        uint64_t kib;
        if (rest.consume_front(name) &&
            !rest.trim().split(' ').first.getAsInteger(10, kib))
          peak = std::max<uint64_t>(peak, kib * 1024);
      };
      read("RssAnon:", anonymous);
      read("VmRSS:", resident);
    }
  }
};

MemoryWatch::MemoryWatch() : state(std::make_unique<State>()) {
  // Without a thread, `peak` alone looks.
  state->thread = startThread([this] {
    while (!state->stop) {
      state->sample();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
}

MemoryWatch::~MemoryWatch() {
  state->stop = true;
  if (state->thread)
    state->thread->join();
}

PeakMemory MemoryWatch::peak() const {
  state->sample();
  return {state->anonymous, state->resident};
}
