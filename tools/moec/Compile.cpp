#include "tools/moec/Command.h"

#include "ir/support/AtomicFile.h"
#include "ir/support/Escape.h"
#include "tools/driver/PackWeights.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <chrono>

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("compile", "lower a model to a plan (.moep)");
static ModelFlags model(flags);
static cl::opt<std::string> output("o", cl::Required,
                                   cl::value_desc("file.moep"),
                                   cl::desc("where the plan goes"),
                                   cl::sub(flags));
static cl::opt<std::string>
    target("target", cl::init("cpu"), cl::value_desc("name"),
           cl::desc("cpu (every variant), native (this machine's), or a "
                    "variant such as cpu-x86-avx512 (cpu)"),
           cl::sub(flags));
static cl::opt<std::string> dtype("dtype", cl::init("auto"),
                                  cl::value_desc("type"),
                                  cl::desc("auto, f32, bf16 or q8_0 (auto)"),
                                  cl::sub(flags));
static NumberFlag<int64_t> maxTokens(
    "max-tokens-per-step", AtLeast(0), cl::init(0), cl::value_desc("count"),
    cl::desc("largest batch of one step, which bounds the arena (0: the "
             "context)"),
    cl::sub(flags));
static cl::opt<std::string> remarks("remarks", cl::value_desc("file.json"),
                                    cl::desc("why fusions did not happen"),
                                    cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("report as JSON"), cl::sub(flags));
static cl::list<std::string>
    pack("pack", cl::ValueOptional, cl::CommaSeparated,
         cl::value_desc("variant,..."),
         cl::desc("variants whose weights are written too, packed, to a file "
                  "beside the plan: names, host (this machine's) or all; plan "
                  "and file then need no other, and load at once. With none "
                  "the plan reads the model's files and packs at each load "
                  "(host)"),
         cl::sub(flags));
static PassFlags passes(flags);

static llvm::Error parseTarget(std::vector<cpu::CpuLevel> &levels) {
  if (target == "cpu")
    return llvm::Error::success();
  if (target == "native") {
    levels = {hostLevels().front()};
    return llvm::Error::success();
  }
  std::string known = "cpu, native";
  for (cpu::CpuLevel level : cpu::kCpuLevels) {
    if (cpu::variantName(level) == target.getValue())
      levels = {level};
    known += ", " + cpu::variantName(level).str();
  }
  if (levels.empty())
    return wrongFlag(target, target, "one of " + known);
  return llvm::Error::success();
}

/// The variants to pack for; none where weights stay where they are.
static llvm::Expected<std::vector<std::string>> variantsToPack() {
  std::vector<std::string> variants;
  for (const std::string &name : pack)
    variants.push_back(name.empty() ? "host" : name);
  if (llvm::is_contained(variants, "none")) {
    if (variants.size() > 1)
      return wrongFlag(pack, llvm::join(variants, ","),
                       "none alone, or variants");
    variants.clear();
  } else if (variants.empty()) {
    // A device or pipe has no file beside it.
    if (!llvm::sys::fs::exists(output) ||
        llvm::sys::fs::is_regular_file(output))
      variants.push_back("host");
  }
  return variants;
}

/// `packed` is null where weights stay where they are.
static void report(const CompileResult &result, const PackReport *packed,
                   double packSeconds, double seconds) {
  const PlanReport &plan = result.report;
  uint64_t planBytes = packed ? packed->planBytes : result.plan.size();
  if (json) {
    llvm::json::Array variants, programs;
    for (auto &variant : plan.variants)
      variants.push_back(llvm::json::Object{{"name", toUtf8(variant.name)},
                                            {"kernels", variant.kernels},
                                            {"code_bytes", variant.codeBytes}});
    for (auto &arena : plan.arenas)
      programs.push_back(
          llvm::json::Object{{"name", toUtf8(arena.program)},
                             {"launches", arena.launches},
                             {"arena_bytes", arena.bytes},
                             {"unshared_bytes", arena.unsharedBytes}});
    llvm::json::Object answer{{"plan_bytes", planBytes},
                              {"seconds", seconds},
                              {"variants", std::move(variants)},
                              {"programs", std::move(programs)}};
    if (packed) {
      llvm::json::Array list;
      for (auto &variant : packed->variants)
        list.push_back(
            llvm::json::Object{{"name", toUtf8(variant.name)},
                               {"weights", variant.weights},
                               {"bytes", variant.bytes},
                               {"shared_bytes", variant.sharedBytes}});
      answer["packed"] = llvm::json::Object{{"file", toUtf8(packed->path)},
                                            {"bytes", packed->fileBytes},
                                            {"seconds", packSeconds},
                                            {"variants", std::move(list)}};
    }
    printJson(std::move(answer));
    return;
  }
  llvm::outs() << "wrote " << output << ": " << formatBytes(planBytes) << " in "
               << formatSeconds(seconds - packSeconds) << "\n";
  if (packed)
    llvm::outs() << "wrote " << packed->path << ": "
                 << formatBytes(packed->fileBytes) << " in "
                 << formatSeconds(packSeconds) << "\n";
  llvm::outs() << "\n";
  Table variants({"variant", "kernels", "code"});
  for (auto &variant : plan.variants)
    variants.addRow({variant.name, std::to_string(variant.kernels),
                     formatBytes(variant.codeBytes)});
  variants.print(llvm::outs());
  llvm::outs() << "\n";
  if (packed) {
    Table weights({"packed for", "weights", "bytes", "shared"});
    for (auto &variant : packed->variants)
      weights.addRow({variant.name, std::to_string(variant.weights),
                      formatBytes(variant.bytes),
                      formatBytes(variant.sharedBytes)});
    weights.print(llvm::outs());
    llvm::outs() << "\n";
  }
  Table programs({"program", "launches", "peak arena", "without sharing"});
  for (auto &arena : plan.arenas)
    programs.addRow({arena.program, std::to_string(arena.launches),
                     formatBytes(arena.bytes),
                     formatBytes(arena.unsharedBytes)});
  programs.print(llvm::outs());
}

static llvm::Error run() {
  auto start = std::chrono::steady_clock::now();
  CompileRequest request;
  MOEC_TRY(checkOutput(output));
  MOEC_TRY(passes.check());
  MOEC_TRY(parseTarget(request.levels));
  MOEC_ASSIGN(request.precision, parsePrecision(dtype));
  request.instrumentation = passes.options();
  request.digests = true;
  request.maxTokens = maxTokens;
  MOEC_ASSIGN(std::vector<std::string> packFor, variantsToPack());
  request.folder = llvm::sys::path::parent_path(output).str();
  if (request.folder.empty())
    request.folder = ".";
  Outputs outputs;
  outputs.writes = {
      {output}, {remarks}, {passes.reproducer, OutputKind::later}};
  if (!packFor.empty())
    outputs.writes.push_back({weightFileOf(output), OutputKind::later});
  MOEC_ASSIGN(AnyModel opened, model.open(outputs));
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan already; compile the model it came from";
  MOEC_ASSIGN(CompileResult result, compileModule(*opened.module, request));
  // Whole on the disk before the plan has its name.
  std::optional<AtomicFile> remarkFile;
  if (!remarks.empty()) {
    std::string text;
    llvm::raw_string_ostream os(text);
    printRemarksJson(result.remarks, os);
    MOEC_ASSIGN(remarkFile, AtomicFile::create(remarks));
    MOEC_TRY(remarkFile->append(text));
    MOEC_TRY(remarkFile->sync());
  }
  std::optional<PackReport> packed;
  std::chrono::duration<double> packSeconds{};
  if (packFor.empty()) {
    MOEC_TRY(writeFileAtomically(output, result.plan));
    if (llvm::sys::fs::exists(weightFileOf(output)))
      warn("'" + weightFileOf(output) +
           "' holds the packed weights of an earlier plan, which nothing uses "
           "any more");
  } else {
    auto packStart = std::chrono::steady_clock::now();
    Progress progress("packing weights");
    MOEC_ASSIGN(packed,
                writePackedPlan(output, result.plan, *opened.module, packFor,
                                [&](uint64_t done, uint64_t total) {
                                  progress.update(done, total);
                                }));
    packSeconds = std::chrono::steady_clock::now() - packStart;
  }
  if (remarkFile)
    MOEC_TRY(remarkFile->commit());
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  report(result, packed ? &*packed : nullptr, packSeconds.count(),
         seconds.count());
  return llvm::Error::success();
}

const Command moec::kCompileCommand = {&flags, run};
