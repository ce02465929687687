//===- Session.h - sequences over a model's paged KV cache ----------------===//
//
// A session owns the states of one user of a model: the KV cache, cut into
// blocks, and the counters. Sequences grow by `forward`, which takes blocks as
// they are needed; several sequences may share one step. `step` is the bare
// signature (runtime/schema/Facts.h) for hosts that manage blocks themselves.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/generate/BlockAllocator.h"
#include "runtime/generate/Model.h"

#include <array>
#include <map>

namespace moec::runtime {

struct SessionOptions {
  /// Tokens that all sequences together may hold; 0: one full context.
  int64_t cacheTokens = 0;
  /// An upper bound for the KV cache; 0: none. The session holds fewer tokens
  /// where it is reached, and fails where not even one block fits.
  uint64_t cacheBytes = 0;
  bool checkNan = false;
};

/// The inputs of one step; see Facts.h.
struct StepBatch {
  llvm::ArrayRef<int32_t> tokens;
  llvm::ArrayRef<int32_t> positions;
  llvm::ArrayRef<int32_t> seqOffsets;
  /// Row by row; its columns are blockTable.size() / seqs.
  llvm::ArrayRef<int32_t> blockTable;
  llvm::ArrayRef<int32_t> logitRows;
};

enum class SequenceId : uint32_t {};

enum class WantedLogits { none, last, all };

/// New tokens of one sequence.
struct SequenceChunk {
  SequenceId sequence;
  llvm::ArrayRef<int32_t> tokens;
  WantedLogits logits = WantedLogits::last;
};

/// How often each expert of a layer was chosen.
struct ExpertCounter {
  std::string name;
  std::vector<int64_t> counts;
};

/// Not thread-safe; the sessions of one model take turns.
class Session {
public:
  static llvm::Expected<std::unique_ptr<Session>>
  create(std::shared_ptr<const Model> model, SessionOptions options = {});

  const Model &model() const { return *shared; }
  Executor &executor() { return *runner; }
  const BlockAllocator &blocks() const { return allocator; }
  /// Tokens that one step takes at most.
  int64_t maxStepTokens() const { return stepTokens; }
  /// Logit rows that one step yields at most.
  int64_t maxRows() const { return stepRows; }
  /// Tokens that one sequence holds at most.
  int64_t maxSequenceTokens() const;

  SequenceId beginSequence();
  /// Gives the blocks of a sequence back.
  void endSequence(SequenceId sequence);
  int64_t length(SequenceId sequence) const;
  /// Forgets what is behind the first `length` tokens.
  void truncate(SequenceId sequence, int64_t length);

  /// Runs one step over new tokens of different sequences; returns the logits
  /// asked for, row after row, valid until the next step. Fails without a
  /// change where a token is outside the vocabulary, a sequence exceeds the
  /// context, or the cache has no block left.
  llvm::Expected<llvm::ArrayRef<float>>
  forward(llvm::ArrayRef<SequenceChunk> chunks);

  /// Feeds any number of tokens, in steps of `maxStepTokens`; returns the
  /// logits of the last one. Stops between steps on an interruption.
  llvm::Expected<llvm::ArrayRef<float>> prefill(SequenceId sequence,
                                                llvm::ArrayRef<int32_t> tokens);

  /// One step as the signature has it; everything is checked.
  llvm::Error step(const StepBatch &batch, llvm::MutableArrayRef<float> logits);

  /// The counters of all layers, in the plan's order.
  llvm::Expected<std::vector<ExpertCounter>> expertCounters();
  llvm::Error resetCounters();

private:
  struct Sequence {
    int64_t length = 0;
    std::vector<int32_t> blocks;
  };

  Session(std::shared_ptr<const Model> model, int32_t blocks)
      : shared(std::move(model)), allocator(blocks) {}
  llvm::Error findSymbols();
  llvm::Error checkBatch(const StepBatch &batch, int64_t seqs,
                         int64_t table) const;
  llvm::Error checkTokens(llvm::ArrayRef<int32_t> tokens) const;
  Sequence &find(SequenceId sequence);

  std::shared_ptr<const Model> shared;
  BlockAllocator allocator;
  std::unique_ptr<Executor> runner;
  unsigned signature = 0;
  // Indices of symbols and inputs, in the plan's order.
  unsigned tokensSymbol = 0, seqsSymbol = 0, tableSymbol = 0, rowsSymbol = 0,
           blocksSymbol = 0;
  std::array<unsigned, 5> inputs = {};
  int64_t stepTokens = 0;
  int64_t stepSequences = 0;
  int64_t stepRows = 0;
  /// Columns of the block table, always the same, so that bindings are reused.
  int64_t tableColumns = 0;
  std::vector<int64_t> symbolValues;

  std::map<uint32_t, Sequence> sequences;
  uint32_t nextSequence = 0;
  // Kept, so that a decode step allocates nothing.
  std::vector<int32_t> tokens, positions, seqOffsets, blockTable, logitRows;
  std::vector<float> logits;
};

} // namespace moec::runtime
