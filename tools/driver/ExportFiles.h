//===- ExportFiles.h - what stands beside an export's tensors -------------===//
#pragma once

#include "frontend/exporter/ExportPlan.h"
#include "frontend/gguf/GgufTokenizerData.h"
#include "frontend/importer/Importer.h"
#include "tools/driver/TensorStream.h"
#include "llvm/Support/JSON.h"

namespace moec {

/// Indented, with a newline at the end; keys are sorted.
std::string jsonText(llvm::json::Value value);

/// `bfloat16`, `float16` or `float32`.
llvm::StringRef hfTypeName(ElementType element);

/// config.json of a plan for Hugging Face, with the model's lineage.
std::string hfConfigText(const Module &module, const ExportPlan &plan,
                         ElementType element);

/// Notes where the module's numbers come from as facts `lineage.source` and
/// `lineage.source_sha256`, unless facts say so already. Reads the source
/// files; without a reader the digests are zeros, for plans.
llvm::Error recordSources(Module &module, CheckpointReader *reader,
                          WorkProgress progress);

/// The facts that follow a model through its files: what it was made from and
/// how, and how it is to be trained.
std::vector<std::pair<std::string, std::string>>
lineageFacts(const Module &module);

/// A file that goes out as it is.
struct CompanionFile {
  std::string name;
  std::string text;
};

/// The tokenizer in Hugging Face's files: those of the source where they hold
/// the module's tokenizer, otherwise made from it. What cannot be written is a
/// note.
llvm::Expected<std::vector<CompanionFile>>
tokenizerFiles(const Module &module, std::vector<std::string> &notes);

/// The tokenizer in GGUF's form: that of a GGUF source where the module has it
/// from there, otherwise made from the module's. What cannot be written is a
/// note.
llvm::Expected<std::optional<GgufTokenizerData>>
ggufTokenizer(const Module &module, std::vector<std::string> &notes);

/// The licence files of the sources.
llvm::Expected<std::vector<CompanionFile>> licenceFiles(const Module &module);

/// The model card. `plan` may have no target.
std::string modelCard(const Module &module, const ExportPlan &plan);

/// Tokenizer, licences and card into a folder that is being built. Files that
/// are there already stay.
llvm::Error writeCompanions(const Module &module, const ExportPlan &plan,
                            llvm::StringRef folder,
                            std::vector<std::string> &notes);

} // namespace moec
