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
static cl::opt<std::string>
    op("op", cl::Required, cl::value_desc("file.moe"),
       cl::desc("module whose programs are in kernel ops (moec opt with "
                "form-kernels makes it)"),
       cl::sub(flags));
static cl::opt<std::string>
    target("target", cl::init("native"), cl::value_desc("name"),
           cl::desc("native, a CPU variant, or cuda (sm_80 and later)"),
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

static llvm::Error run() {
  bool cuda = target == "cuda" || llvm::StringRef(target).starts_with("sm_");
  std::optional<cpu::CpuLevel> level;
  if (target == "native")
    level = hostLevels().front();
  else
    level = cpuLevelOf(target);
  if (!cuda && !level)
    return error() << "--target is '" << target
                   << "', expects native, cuda, sm_80 or a variant such as "
                      "cpu-x86-avx2";
  MOEC_ASSIGN(auto module, loadModule(op));
  llvm::StringSet<> printed;
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
      llvm::outs() << comment << " " << kernel::describe(bound.spec) << "\n";
      if (reason)
        llvm::outs() << comment << " not supported: " << *reason << "\n\n";
      else if (cuda)
        llvm::outs() << cuda::emitCuda(bound.spec).source << "\n";
      else
        llvm::outs() << llvmText(cpu::emitCpu(bound.spec, *level)) << "\n";
    }
  if (printed.empty())
    return error(Location::inFile(op))
           << "holds no kernel op; 'moec opt "
              "--passes=expand-ffn,form-kernels' makes them";
  return llvm::Error::success();
}

const Command moec::kEmitCommand = {&flags, run};
