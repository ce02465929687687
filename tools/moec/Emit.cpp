#include "tools/moec/Command.h"

#include "codegen/cuda/EmitCuda.h"
#include "codegen/package/BindKernel.h"
#include "codegen/package/CpuTarget.h"
#include "ir/binary/ModuleFile.h"
#include "ir/kernel/KernelOps.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("emit", "print the code of kernel ops");
static cl::opt<std::string> positional(cl::Positional, cl::desc("FILE.moe"),
                                       cl::sub(flags));
static cl::opt<std::string>
    op("op", cl::value_desc("file.moe"),
       cl::desc("the same: a module whose programs are in kernel ops (moec opt "
                "with form-kernels makes it)"),
       cl::sub(flags));
static cl::opt<std::string>
    target("target", cl::init("native"), cl::value_desc("name"),
           cl::desc("native, a variant such as cpu-x86-avx2, or cuda: for "
                    "sm_80 and later (native)"),
           cl::sub(flags));
static cl::opt<std::string> output("o", cl::init("-"), cl::value_desc("file"),
                                   cl::desc("where the code goes (standard "
                                            "output)"),
                                   cl::sub(flags));

static std::string llvmText(const cpu::CpuKernel &kernel) {
  llvm::LLVMContext context;
  auto buffer = llvm::MemoryBuffer::getMemBuffer(kernel.bitcode, kernel.symbol,
                                                 /*Terminator=*/false);
  std::string text;
  llvm::raw_string_ostream os(text);
  // Bitcode that this process has just written.
  auto parsed = llvm::cantFail(
      llvm::parseBitcodeFile(buffer->getMemBufferRef(), context));
  parsed->print(os, nullptr);
  return text;
}

/// `cuda` and what names a machine that its code is for.
static bool isCuda(llvm::StringRef name) {
  unsigned machine;
  return name == "cuda" ||
         (name.consume_front("sm_") && !name.getAsInteger(10, machine) &&
          machine >= 80 && machine < 1000);
}

static llvm::Error run() {
  if (positional.empty() == op.empty())
    return llvm::make_error<UsageError>("expects one FILE.moe");
  std::string file = op.empty() ? positional : op;
  bool cuda = isCuda(target.getValue());
  std::optional<cpu::CpuLevel> level;
  if (target == "native")
    level = hostLevels().front();
  else
    level = cpuLevelOf(target);
  if (!cuda && !level)
    return wrongFlag(target, target,
                     "native, cuda, sm_80 or a variant such as cpu-x86-avx2");
  Outputs outputs{{{output}}, {}};
  MOEC_TRY(outputs.check(file));
  MOEC_ASSIGN(auto module, loadModule(file));
  MOEC_TRY(outputs.checkSources(*module));
  llvm::StringSet<> printed;
  std::string code;
  llvm::raw_string_ostream os(code);
  for (auto &program : module->programs())
    for (const Operation &kernelOp : program->body().ops()) {
      if (!isKernel(kernelOp))
        continue;
      MOEC_ASSIGN(BoundKernel bound, bindKernel(kernelOp));
      if (!printed.insert(kernel::name(bound.spec)).second)
        continue;
      auto reason =
          cuda ? cuda::supports(bound.spec) : cpu::supports(bound.spec, *level);
      llvm::StringRef comment = cuda ? "//" : ";";
      // CUDA's source says itself what it computes.
      if (reason || !cuda)
        os << comment << " " << kernel::describe(bound.spec) << "\n";
      if (reason)
        os << comment << " not supported: " << *reason << "\n\n";
      else if (cuda)
        os << cuda::emitCuda(bound.spec).source << "\n";
      else
        os << llvmText(cpu::emitCpu(bound.spec, *level)) << "\n";
    }
  if (printed.empty())
    return error(Location::inFile(file))
           << "holds no kernel op; 'moec opt "
              "--passes=expand-ffn,form-kernels' makes them";
  return writeAnswer(output, code);
}

const Command moec::kEmitCommand = {&flags, run};
