#include "tools/moec/Command.h"

#include "codegen/package/CpuTarget.h"
#include "passes/pipeline/Registry.h"
#include "tools/driver/OptDriver.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("opt", "run passes over a module");
static cl::opt<std::string> input(cl::Positional, cl::init("-"),
                                  cl::desc("<file.moe>"), cl::sub(flags));
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
  OptOptions options;
  options.passes = passes;
  options.splitInputFile = split;
  options.verifyDiagnostics = verifyDiagnostics;
  if (remarks == "text")
    options.remarks = RemarkForm::text;
  else if (remarks == "json")
    options.remarks = RemarkForm::json;
  else if (!remarks.empty())
    return error() << "--remarks is '" << remarks << "', expects text or json";
  if (binary)
    options.output = ModuleForm::binary;
  options.instrumentation = passFlags.options();
  std::optional<CpuTarget> cpu;
  if (target == "cpu")
    cpu.emplace(cpu::kCpuLevels);
  else if (auto level = cpuLevelOf(target))
    cpu.emplace(*level);
  else if (!target.empty())
    return error() << "--target is '" << target
                   << "', expects cpu or a variant such as cpu-x86-avx2";
  options.target = cpu ? &*cpu : nullptr;
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(input);
  if (!buffer)
    return error(Location::inFile(input))
           << "cannot be read: " << buffer.getError().message();
  llvm::StringRef bytes = (*buffer)->getBuffer();

  return replay ? replayOpt(bytes, input, allPasses(), options, llvm::outs(),
                            llvm::errs())
                : runOpt(bytes, input, allPasses(), options, llvm::outs(),
                         llvm::errs());
}

const Command moec::kOptCommand = {&flags, run};
