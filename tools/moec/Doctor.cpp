#include "tools/moec/Command.h"

#include "ir/support/Escape.h"
#include "runtime/cpu/CpuDevice.h"
#include "runtime/cpu/HostFeatures.h"
#include "runtime/cpu/JitLibrary.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <dlfcn.h>

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("doctor", "what this machine can run, and why not");
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

namespace {
struct Check {
  std::string what;
  bool good;
  std::string detail;
};
} // namespace

static Check checkLibrary(const char *what,
                          std::initializer_list<const char *> names,
                          const char *hint) {
  for (const char *name : names)
    // Left open: such libraries keep memory that only they can find.
    if (dlopen(name, RTLD_LAZY | RTLD_LOCAL))
      return {what, true, name};
  return {what, false, hint};
}

static std::vector<Check> examine() {
  std::vector<Check> checks;
  for (cpu::CpuLevel level : llvm::reverse(cpu::kCpuLevels)) {
    auto missing = runtime::missingFeatures(cpu::requiredFeatures(level));
    checks.push_back(
        {cpu::variantName(level).str(), missing.empty(),
         missing.empty() ? "runs here" : "lacks " + llvm::join(missing, ", ")});
  }
  auto device = runtime::CpuDevice::create();
  if (device)
    checks.push_back({"threads", true,
                      std::to_string((*device)->parallelism()) + " pinned"});
  else
    checks.push_back({"threads", false, toText(device.takeError())});
  auto jit = runtime::JitLibrary::open("");
  if (jit)
    checks.push_back({"JIT plug-in", true,
                      "LLVM " + jit->llvmVersion().str() + ", " + jit->path()});
  else
    checks.push_back({"JIT plug-in", false, toText(jit.takeError())});
  checks.push_back(checkLibrary("CUDA driver", {"libcuda.so.1"},
                                "not found; plans run on the CPU"));
  checks.push_back(checkLibrary("NVRTC", {"libnvrtc.so.13", "libnvrtc.so.12"},
                                "not found; needed to compile CUDA kernels"));
  return checks;
}

static llvm::Error run() {
  std::vector<Check> checks = examine();
  if (json) {
    llvm::json::Array list;
    for (const Check &check : checks)
      list.push_back(llvm::json::Object{{"what", check.what},
                                        {"ok", check.good},
                                        {"detail", toUtf8(check.detail)}});
    printJson(std::move(list));
    return llvm::Error::success();
  }
  Table table({"what", "", "detail"});
  for (const Check &check : checks)
    table.addRow({check.what, check.good ? "ok" : "no", check.detail});
  table.print(llvm::outs());
  return llvm::Error::success();
}

const Command moec::kDoctorCommand = {&flags, run};
