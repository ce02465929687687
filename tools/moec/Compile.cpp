#include "tools/moec/Command.h"

#include "ir/support/AtomicFile.h"
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
                    "variant such as cpu-x86-avx512"),
           cl::sub(flags));
static cl::opt<std::string> dtype("dtype", cl::init("auto"),
                                  cl::value_desc("type"),
                                  cl::desc("auto, f32, bf16 or q8_0"),
                                  cl::sub(flags));
static cl::opt<int64_t>
    maxTokens("max-tokens-per-step", cl::init(0), cl::value_desc("count"),
              cl::desc("largest batch of one step; bounds the arena"),
              cl::sub(flags));
static cl::opt<std::string> remarks("remarks", cl::value_desc("file.json"),
                                    cl::desc("why fusions did not happen"),
                                    cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("report as JSON"), cl::sub(flags));
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
    return error() << "--target is '" << target << "', expects one of "
                   << known;
  return llvm::Error::success();
}

static void report(const CompileResult &result, double seconds) {
  const PlanReport &plan = result.report;
  if (json) {
    llvm::json::Array variants, programs;
    for (auto &variant : plan.variants)
      variants.push_back(llvm::json::Object{{"name", variant.name},
                                            {"kernels", variant.kernels},
                                            {"code_bytes", variant.codeBytes}});
    for (auto &arena : plan.arenas)
      programs.push_back(
          llvm::json::Object{{"name", arena.program},
                             {"launches", arena.launches},
                             {"arena_bytes", arena.bytes},
                             {"unshared_bytes", arena.unsharedBytes}});
    printJson(llvm::json::Object{{"plan_bytes", result.plan.size()},
                                 {"seconds", seconds},
                                 {"variants", std::move(variants)},
                                 {"programs", std::move(programs)}});
    return;
  }
  llvm::outs() << "wrote " << output << ": " << formatBytes(result.plan.size())
               << " in " << formatSeconds(seconds) << "\n\n";
  Table variants({"variant", "kernels", "code"});
  for (auto &variant : plan.variants)
    variants.addRow({variant.name, std::to_string(variant.kernels),
                     formatBytes(variant.codeBytes)});
  variants.print(llvm::outs());
  llvm::outs() << "\n";
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
  MOEC_TRY(parseTarget(request.levels));
  MOEC_ASSIGN(request.precision, parsePrecision(dtype));
  request.instrumentation = passes.options();
  request.maxTokens = maxTokens;
  request.folder = llvm::sys::path::parent_path(output).str();
  if (request.folder.empty())
    request.folder = ".";
  MOEC_ASSIGN(AnyModel opened, model.open());
  if (!opened.module || opened.plan)
    return error(Location::inFile(model.path))
           << "is a plan already; compile the model it came from";
  MOEC_ASSIGN(CompileResult result, compileModule(*opened.module, request));
  MOEC_TRY(writeFileAtomically(output, result.plan));
  if (!remarks.empty()) {
    std::string text;
    llvm::raw_string_ostream os(text);
    printRemarksJson(result.remarks, os);
    MOEC_TRY(writeFileAtomically(remarks, text));
  }
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  report(result, seconds.count());
  return llvm::Error::success();
}

const Command moec::kCompileCommand = {&flags, run};
