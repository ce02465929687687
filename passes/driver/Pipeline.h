//===- Pipeline.h - passes by name ----------------------------------------===//
//
// A pipeline is `simplify,upcycle{experts = 8, init = drop},lower`. What
// `pipelineText` prints, `parsePipeline` reads back to the same passes with the
// same options.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/driver/Pass.h"
#include "llvm/ADT/ArrayRef.h"

#include <vector>

namespace moec {

/// One line of the list of passes.
struct PassInfo {
  llvm::StringLiteral name;
  llvm::StringLiteral description;
  std::unique_ptr<Pass> (*create)();
};

/// Every pass that a program knows. The driver has no list of its own.
class PassRegistry {
public:
  explicit PassRegistry(llvm::ArrayRef<PassInfo> passes) : list(passes) {}

  llvm::ArrayRef<PassInfo> passes() const { return list; }
  /// A pass with default options; null for an unknown name.
  std::unique_ptr<Pass> create(llvm::StringRef name) const;

private:
  llvm::ArrayRef<PassInfo> list;
};

using Pipeline = std::vector<std::unique_ptr<Pass>>;

/// `place` names the text in messages, for example "--passes".
llvm::Expected<Pipeline> parsePipeline(llvm::StringRef text,
                                       const PassRegistry &registry,
                                       llvm::StringRef place = "pipeline");

std::string pipelineText(llvm::ArrayRef<std::unique_ptr<Pass>> pipeline);

} // namespace moec
