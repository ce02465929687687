#include "runtime/cpu/HostFeatures.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

#include <algorithm>
#include <sys/syscall.h>
#include <unistd.h>

using namespace moec::runtime;

/// Asks Linux for the tile registers, which a process does not have at first.
static bool requestTileRegisters() {
#if defined(__x86_64__)
  constexpr long kRequestComponentPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestComponentPermission, kTileData) == 0;
#else
  return false;
#endif
}

static std::vector<std::string> detect() {
  std::vector<std::string> features;
  bool wantsTiles = false;
  llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  for (const auto &entry : host) {
    if (!entry.second)
      continue;
    features.push_back(entry.first().str());
    wantsTiles |= entry.first() == "amx-tile";
  }
  if (wantsTiles && !requestTileRegisters())
    llvm::erase_if(features, [](const std::string &feature) {
      return llvm::StringRef(feature).starts_with("amx-");
    });
  llvm::sort(features);
  return features;
}

llvm::ArrayRef<std::string> moec::runtime::hostFeatures() {
  static const std::vector<std::string> features = detect();
  return features;
}

bool moec::runtime::hostHasFeature(llvm::StringRef feature) {
  return llvm::is_contained(hostFeatures(), feature);
}

std::vector<std::string>
moec::runtime::missingFeatures(llvm::ArrayRef<llvm::StringRef> wanted) {
  std::vector<std::string> missing;
  for (llvm::StringRef feature : wanted)
    if (!hostHasFeature(feature))
      missing.push_back(feature.str());
  return missing;
}
