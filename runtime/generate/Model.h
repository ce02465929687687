//===- Model.h - a plan that is ready to run on a device ------------------===//
#pragma once

#include "runtime/cpu/CpuDevice.h"
#include "runtime/program/Executor.h"
#include "runtime/program/WeightProvider.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec {
class Tokenizer;
} // namespace moec

namespace moec::runtime {

struct ModelOptions {
  /// The device; none: the CPU, made from `cpu`.
  std::shared_ptr<Device> device;
  CpuOptions cpu;
  /// The variant to take; empty: $MOEC_VARIANT, or else the best.
  std::string variant;
  /// Compares the digests of weights.
  bool verifyWeights = false;
  /// Makes the weights that have no file.
  Materializer materializer;
};

/// Code and weights on a device, and what hosts need to know about the model.
/// Immutable, shared by its sessions.
class Model {
public:
  static llvm::Expected<std::shared_ptr<const Model>>
  open(llvm::StringRef planPath, ModelOptions options = {});
  static llvm::Expected<std::shared_ptr<const Model>>
  load(std::shared_ptr<const Plan> plan, ModelOptions options = {});
  ~Model();

  const Plan &plan() const { return loaded->plan(); }
  const std::shared_ptr<const LoadedPlan> &loadedPlan() const { return loaded; }
  Device &device() const { return loaded->device(); }

  /// The longest sequence, in tokens.
  int64_t context() const { return contextTokens; }
  int64_t vocabulary() const { return vocabularySize; }
  /// Positions in a block of the KV cache.
  int64_t blockSize() const { return blockTokens; }
  /// The tokenizer in the plan, or null where the plan has none.
  const Tokenizer *tokenizer() const { return text.get(); }
  /// Whether a token ends a text: by the plan's facts or its tokenizer.
  bool isEnd(int32_t token) const;
  /// What loading took: plan, code and weights.
  double loadSeconds() const { return seconds; }

private:
  Model() = default;
  llvm::Error readFacts();

  std::shared_ptr<const LoadedPlan> loaded;
  std::unique_ptr<Tokenizer> text;
  int64_t contextTokens = 0;
  int64_t vocabularySize = 0;
  int64_t blockTokens = 0;
  std::vector<int64_t> ends;
  double seconds = 0;
};

} // namespace moec::runtime
