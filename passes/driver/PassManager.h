//===- PassManager.h - runs a pipeline ------------------------------------===//
#pragma once

#include "passes/driver/Instrumentation.h"
#include "passes/driver/Pipeline.h"
#include "passes/driver/Remarks.h"

namespace llvm {
class raw_ostream;
}

namespace moec {

class PassManager {
public:
  explicit PassManager(InstrumentationOptions options = {});

  /// Appends a pass that has a name.
  void add(std::unique_ptr<Pass> pass);
  void add(Pipeline more);
  llvm::ArrayRef<std::unique_ptr<Pass>> passes() const { return pipeline; }

  /// Given to every pass; not owned.
  void setTarget(const TargetQueries *queries) { target = queries; }
  void setReader(TensorReader *tensors) { reader = tensors; }
  /// Where IR, timing and statistics go; stderr unless set.
  void setLog(llvm::raw_ostream &os) { log = &os; }

  /// Runs every pass in order on a valid module. The error of a pass carries a
  /// note that names it; the module is then in an unspecified state.
  llvm::Error run(Module &module);

  /// What the passes of all runs said.
  llvm::ArrayRef<Remark> remarks() const { return remarkList; }

private:
  InstrumentationOptions options;
  Pipeline pipeline;
  const TargetQueries *target = nullptr;
  TensorReader *reader = nullptr;
  llvm::raw_ostream *log;
  std::vector<Remark> remarkList;
};

} // namespace moec
