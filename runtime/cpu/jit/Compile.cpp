#include "runtime/cpu/jit/Compile.h"

#include "ir/support/Diagnostic.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/MemoryBufferRef.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"

#include <mutex>

using namespace moec;

static void initializeTarget() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
  });
}

/// Which processor's instruction costs to assume. Only scheduling depends on
/// it; the instructions that may be used come from the features alone.
static llvm::StringRef tuningFor(llvm::StringRef features) {
  if (features.contains("+avx512f"))
    return "x86-64-v4";
  if (features.contains("+avx2"))
    return "x86-64-v3";
  return "generic";
}

/// Collects what LLVM reports while it compiles (inline assembly, selection
/// failures), which would otherwise end the process.
namespace {
struct ErrorCollector final : llvm::DiagnosticHandler {
  explicit ErrorCollector(std::string &text) : text(text) {}
  bool handleDiagnostics(const llvm::DiagnosticInfo &info) override {
    if (info.getSeverity() != llvm::DS_Error)
      return true;
    llvm::raw_string_ostream os(text);
    llvm::DiagnosticPrinterRawOStream printer(os);
    if (!text.empty())
      os << "; ";
    info.print(printer);
    return true;
  }
  std::string &text;
};
} // namespace

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  // Kernels come with their vectors, tiles and unrolling chosen. Loops that
  // the emitter left scalar are still worth vectorising.
  llvm::PipelineTuningOptions options;
  options.LoopInterleaving = false;
  options.SLPVectorization = false;
  llvm::PassBuilder builder(&machine, options);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
      .run(module, modules);
}

llvm::Expected<llvm::SmallVector<char, 0>>
jit::compile(llvm::StringRef bitcode, llvm::StringRef features) {
  initializeTarget();
  llvm::LLVMContext context;
  std::string problems;
  context.setDiagnosticHandler(std::make_unique<ErrorCollector>(problems));

  llvm::Expected<std::unique_ptr<llvm::Module>> parsed = llvm::parseBitcodeFile(
      llvm::MemoryBufferRef(bitcode, "kernels"), context);
  if (!parsed)
    return error() << "bitcode cannot be read: "
                   << llvm::toString(parsed.takeError());
  llvm::Module &module = **parsed;
  std::string text;
  llvm::raw_string_ostream os(text);
  if (llvm::verifyModule(module, &os))
    return error() << "bitcode does not verify: " << os.str();

  llvm::Triple host(llvm::sys::getProcessTriple());
  llvm::Triple triple(module.getTargetTriple());
  if (!module.getTargetTriple().empty() && triple.getArch() != host.getArch())
    return error() << "expects code for " << host.getArchName() << ", got "
                   << triple.getArchName();
  std::string problem;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(host.str(), problem);
  if (!target)
    return error() << "no code generator for " << host.str() << ": " << problem;
  // f32 arithmetic is what the kernel op says; fma only where it is written.
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      host.str(), host.isX86() ? "x86-64" : "generic", features, options,
      llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Default));
  if (!machine)
    return error() << "no code generator for " << host.str();
  llvm::DataLayout layout = machine->createDataLayout();
  if (!module.getDataLayoutStr().empty() && module.getDataLayout() != layout)
    return error() << "expects the data layout '"
                   << layout.getStringRepresentation() << "', got '"
                   << module.getDataLayoutStr() << "'";
  module.setDataLayout(layout);
  module.setTargetTriple(host.str());

  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.removeFnAttr("target-cpu");
    function.addFnAttr("target-features", features);
    if (host.isX86()) {
      function.addFnAttr("tune-cpu", tuningFor(features));
      // Some tunings split 512-bit vectors; kernels mean what they say.
      function.addFnAttr("prefer-vector-width",
                         features.contains("+avx512f") ? "512" : "256");
    }
  }
  optimize(module, *machine);

  llvm::SmallVector<char, 0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager emission;
  emission.add(llvm::createTargetTransformInfoWrapperPass(
      machine->getTargetIRAnalysis()));
  if (machine->addPassesToEmitFile(emission, stream, nullptr,
                                   llvm::CodeGenFileType::ObjectFile))
    return error() << "the code generator cannot write objects";
  emission.run(module);
  if (!problems.empty())
    return error() << "the code generator reports: " << problems;
  return object;
}
