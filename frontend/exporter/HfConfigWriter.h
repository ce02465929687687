//===- HfConfigWriter.h - config.json of an export ------------------------===//
#pragma once

#include "frontend/exporter/Targets.h"
#include "llvm/Support/JSON.h"

#include <map>

namespace moec {

/// An object of JSON whose numbers keep their kind: readers that tell 30 from
/// 30.0 exist, and llvm::json prints both alike.
class JsonFields {
public:
  void set(llvm::StringRef key, int64_t value);
  void set(llvm::StringRef key, double value);
  void set(llvm::StringRef key, bool value);
  void set(llvm::StringRef key, llvm::StringRef value);
  void set(llvm::StringRef key, const char *value) {
    set(key, llvm::StringRef(value));
  }
  void set(llvm::StringRef key, std::nullptr_t) { values[key.str()] = "null"; }
  void set(llvm::StringRef key, llvm::json::Array value);
  void set(llvm::StringRef key, const JsonFields &value);
  bool empty() const { return values.empty(); }

  /// Keys are sorted; `indent` is that of the closing brace.
  std::string text(unsigned indent = 0) const;

private:
  /// JSON by key.
  std::map<std::string, std::string> values;
};

/// The settings of a Hugging Face target. `element` is the type of matrices.
JsonFields hfConfig(const ExportTarget &target, const ModelConfig &config,
                    ElementType element);

/// generation_config.json: which tokens begin and end a text.
JsonFields hfGenerationConfig(const ModelConfig &config);

} // namespace moec
