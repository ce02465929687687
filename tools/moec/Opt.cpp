#include "tools/moec/Command.h"

#include "codegen/package/CpuTarget.h"
#include "ir/support/WholeFile.h"
#include "passes/pipeline/Registry.h"
#include "tools/driver/OptDriver.h"
#include "llvm/Support/FileSystem.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("opt", "run passes over a module");
static cl::opt<std::string> input(cl::Positional, cl::init("-"),
                                  cl::desc("FILE.moe"), cl::sub(flags));
static cl::opt<std::string>
    output("o", cl::init("-"), cl::value_desc("file.moe"),
           cl::desc("where the module goes (standard output)"), cl::sub(flags));
static cl::opt<std::string>
    passes("passes", cl::value_desc("pipeline"),
           cl::desc("passes with options: simplify,upcycle{experts = 8}"),
           cl::sub(flags));
static cl::opt<bool> list("list-passes", cl::desc("print the passes and stop"),
                          cl::sub(flags));
static cl::opt<bool> split("split-input-file",
                           cl::desc("input parted by lines '// -----'"),
                           cl::sub(flags));
static cl::opt<bool> verifyDiagnostics(
    "verify-diagnostics",
    cl::desc("compare messages with the comments that expect them"),
    cl::sub(flags));
static cl::opt<std::string> remarks("remarks", cl::value_desc("form"),
                                    cl::desc("why fusions did not happen: "
                                             "text or json"),
                                    cl::sub(flags));
static cl::opt<bool> binary("binary", cl::desc("write the binary form"),
                            cl::sub(flags));
static cl::opt<bool> replay("replay", cl::desc("the input is a reproducer"),
                            cl::sub(flags));
static cl::opt<std::string>
    target("target", cl::value_desc("name"),
           cl::desc("a CPU variant that kernels must suit, or cpu for all"),
           cl::sub(flags));
static PassFlags passFlags(flags);

static llvm::Error run() {
  if (list) {
    Table table({"pass", "what it does"});
    for (const PassInfo &pass : allPasses().passes())
      table.addRow({pass.name.str(), pass.description.str()});
    table.print(llvm::outs());
    return llvm::Error::success();
  }
  MOEC_TRY(passFlags.check());
  OptOptions options;
  options.passes = passes;
  options.splitInputFile = split;
  options.verifyDiagnostics = verifyDiagnostics;
  if (remarks == "text")
    options.remarks = RemarkForm::text;
  else if (remarks == "json")
    options.remarks = RemarkForm::json;
  else if (!remarks.empty())
    return wrongFlag(remarks, remarks, "text or json");
  if (binary)
    options.output = ModuleForm::binary;
  options.instrumentation = passFlags.options();
  std::optional<CpuTarget> cpu;
  if (target == "cpu")
    cpu.emplace(cpu::kCpuLevels);
  else if (auto level = cpuLevelOf(target))
    cpu.emplace(*level);
  else if (!target.empty())
    return wrongFlag(target, target, "cpu or a variant such as cpu-x86-avx2");
  options.target = cpu ? &*cpu : nullptr;
  Outputs outputs{{{output}, {passFlags.reproducer, OutputKind::later}}, {}};
  MOEC_TRY(outputs.check(input));
  if (llvm::sys::fs::is_directory(input))
    return error(Location::inFile(input))
           << "is a folder, expects a module; 'moec import' makes one of a "
              "model";
  MOEC_ASSIGN(std::string bytes, readWholeFile(input));
  std::string result;
  llvm::raw_string_ostream os(result);
  llvm::Error err =
      replay ? replayOpt(bytes, input, allPasses(), options, os, llvm::errs())
             : runOpt(bytes, input, allPasses(), options, os, llvm::errs());
  // A file is whole or not there; what is printed shows how far it came.
  if (err && output != "-")
    return err;
  // With --verify-diagnostics there is no module.
  if (!verifyDiagnostics)
    err = llvm::joinErrors(std::move(err), writeAnswer(output, result));
  return err;
}

const Command moec::kOptCommand = {&flags, run};
