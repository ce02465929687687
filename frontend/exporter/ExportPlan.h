//===- ExportPlan.h - a module as another program's model -----------------===//
//
// What an export will hold, before anything is computed: settings, tensors as
// expressions over the module's weights, and what is not as it was.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "frontend/exporter/InvertRules.h"
#include "frontend/exporter/Targets.h"
#include "llvm/ADT/DenseSet.h"

namespace moec {

struct ExportRequest {
  /// The model, for messages.
  Location source = {};
  ExportFormat format = ExportFormat::huggingFace;
  /// A target's name; empty: the model's own family, or the first that fits.
  std::string arch;
  /// Element type of matrices. Norms, biases and routers stay f32: they are
  /// small, and selection depends on their last bits.
  ElementType element = ElementType::f32;
  bool allowInexact = false;
};

struct ExportPlan {
  const ExportTarget *target = nullptr;
  /// The settings of what is written.
  ModelConfig config;
  std::vector<ExportTensor> tensors;
  /// What the export computes otherwise than the module; empty where exact.
  std::vector<std::string> changes;
  /// How the model was put into the target's words.
  std::vector<std::string> notes;
};

/// The target that `request` asks for. One that does not fit is an error which
/// tells the reasons and the targets that do fit.
llvm::Expected<const ExportTarget *> chooseTarget(const ModelConfig &config,
                                                  const ExportRequest &request);

/// The names of the targets of a format that express the model exactly.
std::vector<std::string> exactTargets(const ModelConfig &config,
                                      ExportFormat format);

/// Weights under their own names, banks (those in `banks`) expert by expert
/// where they are stacked: what no other program reads.
std::vector<ExportTensor> moduleTensors(llvm::ArrayRef<Weight *> weights,
                                        const llvm::DenseSet<Weight *> &banks,
                                        ElementType element);

llvm::Expected<ExportPlan> planExport(const Module &module,
                                      const ExportRequest &request);

} // namespace moec
