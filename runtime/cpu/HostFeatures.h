//===- HostFeatures.h - what this processor and system can do -------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace moec::runtime {

/// LLVM's names of the features that both the processor and the system
/// support, sorted. From CPUID and XCR0, never from the processor's name:
/// virtual machines hide that. AMX is listed only if the system grants this
/// process the tile registers, which is asked for on the first call.
llvm::ArrayRef<std::string> hostFeatures();

bool hostHasFeature(llvm::StringRef feature);

/// Those of `wanted` that the host lacks.
std::vector<std::string>
missingFeatures(llvm::ArrayRef<llvm::StringRef> wanted);

} // namespace moec::runtime
