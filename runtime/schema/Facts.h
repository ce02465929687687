//===- Facts.h - the names that plans and hosts agree on ------------------===//
//
// A plan says more about its model than a launch list needs: which symbol
// counts what, and the facts below. Values are text; integers are decimal, and
// lists are separated by commas.
//
//===----------------------------------------------------------------------===//
#pragma once

namespace moec::facts {

// What a host cannot do without.

/// The longest sequence, in tokens.
inline constexpr char kContext[] = "model.context";
/// Columns of the logits.
inline constexpr char kVocabulary[] = "model.vocabulary";
/// Positions in one block of the paged KV cache.
inline constexpr char kBlockSize[] = "kv.block_size";

// Optional.

inline constexpr char kName[] = "model.name";
inline constexpr char kArchitecture[] = "model.architecture";
inline constexpr char kLayers[] = "model.layers";
inline constexpr char kHidden[] = "model.hidden";
/// Experts a layer and how many a token takes; absent in a dense model.
inline constexpr char kExperts[] = "model.experts";
inline constexpr char kTopk[] = "model.topk";
/// Parameters, all and those that one token uses.
inline constexpr char kParameters[] = "model.parameters";
inline constexpr char kActiveParameters[] = "model.active_parameters";
/// Token ids that end a text (a list), and the one that begins it.
inline constexpr char kEos[] = "tokenizer.eos";
inline constexpr char kBos[] = "tokenizer.bos";

/// Symbols of the signature `step`.
inline constexpr char kTokens[] = "tokens"; // in the batch
inline constexpr char kSeqs[] = "seqs";     // sequences in the batch
inline constexpr char kTable[] = "table";   // blocks a row of the block table
inline constexpr char kRows[] = "rows";     // logit rows
inline constexpr char kBlocks[] = "blocks"; // blocks in the KV cache

/// The signature of inference, its inputs and its output. All inputs are i32;
/// the output is f32.
///   tokens [tokens], positions [tokens], seq_offsets [seqs + 1],
///   block_table [seqs, table], logit_rows [rows] -> logits [rows, vocabulary]
/// A token of sequence s attends to what the block table's row s holds.
inline constexpr char kStep[] = "step";
inline constexpr char kInputTokens[] = "tokens";
inline constexpr char kInputPositions[] = "positions";
inline constexpr char kInputSeqOffsets[] = "seq_offsets";
inline constexpr char kInputBlockTable[] = "block_table";
inline constexpr char kInputLogitRows[] = "logit_rows";
inline constexpr char kOutputLogits[] = "logits";

} // namespace moec::facts
