//===- ModuleDiff.h - what two models have in common, and what not --------===//
//
// Graphs are compared layer by layer (Align.h): a block that was rewritten is
// one rewrite with its ops removed and added, not a list of renamed values.
// Weights are compared by their definitions, so that nothing is read; with
// `compareWeights` by their numbers, a few matrices at a time.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/weights/Materialize.h"
#include "llvm/Support/JSON.h"

namespace moec {

enum class Change : unsigned { same, added, removed, changed };

/// One named thing that differs; empty on the side where it is missing.
struct FieldChange {
  std::string name, before, after;
  Change kind() const {
    return before.empty()  ? Change::added
           : after.empty() ? Change::removed
                           : Change::changed;
  }
};

struct OpChange {
  Change change = Change::same;
  /// Null where the op was added or removed.
  const Operation *before = nullptr, *after = nullptr;
  /// Attributes, weights, operands and types that differ.
  std::vector<FieldChange> fields;
  const Operation &op() const { return after ? *after : *before; }
};

/// A run of ops of one layer, in order.
struct LayerDiff {
  /// -1: outside of layers.
  int64_t layer = -1;
  /// `ffn 384 wide -> 8 experts, top-2 ...`, if a block became another.
  std::string rewrite;
  std::vector<OpChange> ops;
  size_t count(Change change) const;
  bool isSame() const { return count(Change::same) == ops.size(); }
  /// `layer 3`.
  std::string title() const;
};

struct ProgramDiff {
  std::string name;
  Change change = Change::same;
  std::vector<LayerDiff> layers;
  size_t count(Change change) const;
};

/// Two tensors of one shape.
struct NumberDiff {
  double maxDifference = 0;
  /// ||after - before|| / ||before||.
  double relative = 0;
  double cosine = 1;
};

struct WeightDiff {
  std::string name;
  /// Changed: another definition.
  Change change = Change::same;
  const Weight *before = nullptr, *after = nullptr;
  std::vector<FieldChange> fields;
  /// The definition is the same, but one that it refers to is not.
  bool indirectly = false;
  /// Of the numbers, if they were compared.
  std::optional<NumberDiff> numbers;
  /// A bank of experts, each against the dense matrix that it stands for.
  std::string comparedWith;
  std::vector<NumberDiff> experts;
  const Weight &weight() const { return after ? *after : *before; }
};

struct ModuleDiff {
  std::string beforeName, afterName;
  std::vector<FieldChange> facts, files, assets, dims, states;
  std::vector<ProgramDiff> programs;
  /// All weights of both, in the order of the second module.
  std::vector<WeightDiff> weights;
  uint64_t parametersBefore = 0, parametersAfter = 0;
  uint64_t activeBefore = 0, activeAfter = 0;
  bool numbersCompared = false;

  /// No difference was found.
  bool isEmpty() const;
  size_t countWeights(Change change) const;
};

/// The result refers to both modules.
ModuleDiff diffModules(const Module &before, const Module &after);

/// Reads the weights that both have, and experts beside the dense matrices they
/// stand for, and fills their numbers.
llvm::Error
compareWeights(ModuleDiff &diff, TensorReader &before, TensorReader &after,
               unsigned threads,
               llvm::function_ref<void(uint64_t, uint64_t)> progress);

llvm::json::Value toJson(const ModuleDiff &diff);
/// `ops`: every op that differs, not only each layer's rewrite.
void printDiff(const ModuleDiff &diff, llvm::raw_ostream &os, bool ops);
/// One self-contained HTML page.
void writeDiffPage(const ModuleDiff &diff, llvm::raw_ostream &os);

/// `- ` and the like, as text and JSON show a change.
llvm::StringRef changeName(Change change);

/// An op without the names of values: `moe.route {k = 2}`.
std::string opSummary(const Operation &op);

} // namespace moec
