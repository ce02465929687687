//===- DenseTaps.h - what stands before each FFN of a dense model ---------===//
#pragma once

#include "runtime/generate/Model.h"
#include "tools/recipes/Recipe.h"

namespace moec {

class Module;

/// A dense model compiled up to its last FFN, with the state of every token
/// before each FFN as its outputs. One plan variant gives the same bits for any
/// number of threads. Needs the memory that generating needs.
class DenseTaps {
public:
  static llvm::Expected<std::unique_ptr<DenseTaps>>
  create(Module &dense, TokenState state, unsigned threads);

  int64_t layers() const { return layerCount; }
  /// Tokens of one run, at most.
  int64_t maxTokens() const { return limit; }
  /// The code variant that runs.
  std::string variant() const;
  /// Runs a sequence from its start: for each layer, [tokens, hidden].
  llvm::Expected<std::vector<std::vector<float>>>
  run(llvm::ArrayRef<int32_t> tokens);

private:
  DenseTaps() = default;

  std::shared_ptr<const runtime::Model> model;
  std::unique_ptr<runtime::Executor> executor;
  std::vector<int64_t> symbols;
  int64_t layerCount = 0, limit = 0;
  /// Which output a layer reads; layers may share one.
  std::vector<unsigned> outputs;
};

} // namespace moec
