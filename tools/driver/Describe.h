//===- Describe.h - a module in numbers, as JSON and as a picture ---------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/Support/JSON.h"

namespace moec {

struct MoeBlockView;
struct RouteAttrs;

/// Where the experts' gate, up or down comes from.
struct MatrixOrigins {
  std::string name;
  /// In words, one for each expert; a single one for a dense FFN, and where
  /// all experts are made at once.
  std::vector<std::string> each;
};

struct LayerSummary {
  int64_t layer = 0;
  /// Empty for a dense FFN.
  std::string router;
  int64_t experts = 0, topk = 0;
  /// Where the experts' `up` comes from, in a line.
  std::string provenance;
  /// Of all matrices, expert by expert.
  std::vector<MatrixOrigins> origins;
};

struct ModelSummary {
  std::string name, architecture;
  int64_t layers = 0, hidden = 0, context = 0, vocabulary = 0;
  /// All numbers in weights that a program reads; those that one token uses.
  uint64_t parameters = 0, activeParameters = 0;
  /// Of the weights in their logical encoding.
  uint64_t bytes = 0;
  /// Multiplications and additions of matrix products for one token, without
  /// attention over the context.
  uint64_t flopsPerToken = 0;
  std::vector<LayerSummary> layerList;
};

ModelSummary summarize(const Module &module);
llvm::json::Value toJson(const ModelSummary &summary);

/// Dimensions, files, weights, states and programs with their ops.
llvm::json::Value describeModule(const Module &module);
/// Every program as a graph in the JSON of Google's Model Explorer.
llvm::json::Value modelExplorerGraphs(const Module &module);
/// A graph for Graphviz: one cluster a program, and in it one a layer.
void printDot(const Module &module, llvm::raw_ostream &os);

/// How a router chooses, in a word: `softmax-topk-renorm`.
std::string routerName(const RouteAttrs &attrs);
/// With its form: `tanh-softmax-topk` of one of two layers.
std::string routerName(const MoeBlockView &block);

/// What a weight is made of, in a line: `2 x (@src: up_proj), 2 x (@donor1:
/// up_proj)`. Files are named where there are several.
std::string provenance(const Weight &weight);
/// The same for each part of a stack of experts; a single entry for another
/// weight.
std::vector<std::string> origins(const Weight &weight);

} // namespace moec
