//===- AnyModel.h - whatever a user calls a model -------------------------===//
//
// A Hugging Face directory, a GGUF file, a llama2.c checkpoint, a `.moe`, or a
// `.moep`.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/weights/Materialize.h"
#include "runtime/generate/Model.h"
#include "tools/driver/Compiler.h"

namespace moec {

struct AnyModel {
  /// The graph; from a plan, the one it embeds.
  std::unique_ptr<Module> module;
  /// Set where the file is a plan.
  std::shared_ptr<const runtime::Plan> plan;
  std::vector<std::string> warnings;
};

/// `tokenizer`: a file or folder for models that bring none; may be empty.
/// `longContext`: ImportOptions::longContext.
llvm::Expected<AnyModel> openAnyModel(llvm::StringRef path,
                                      llvm::StringRef tokenizer = "",
                                      bool longContext = false);

/// A model ready to run: a plan as it is, anything else compiled for this
/// machine. Weights that no file holds are computed from the module.
llvm::Expected<std::shared_ptr<const runtime::Model>>
loadForRunning(AnyModel model, const CompileRequest &request,
               runtime::ModelOptions options);

/// Numbers of a weight, encoded as its type says, computed on all cores.
llvm::Expected<std::vector<uint8_t>> materializeBytes(const Weight &weight,
                                                      TensorReader &reader,
                                                      unsigned threads = 0);

} // namespace moec
