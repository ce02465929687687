//===- HfConfigWriter.h - config.json of an export ------------------------===//
#pragma once

#include "frontend/exporter/Targets.h"
#include "llvm/Support/JSON.h"

namespace moec {

/// The settings of a Hugging Face target. `element` is the type of matrices.
llvm::json::Object hfConfig(const ExportTarget &target,
                            const ModelConfig &config, ElementType element);

/// generation_config.json: which tokens begin and end a text.
llvm::json::Object hfGenerationConfig(const ModelConfig &config);

} // namespace moec
