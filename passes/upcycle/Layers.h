//===- Layers.h - the feed-forward layers of a program --------------------===//
#pragma once

#include "ir/core/Module.h"

#include <set>

namespace moec {

/// The ffn or moe.experts of every layer, in order; not the shared FFN of a
/// mixture, nor one that a mixture's experts stand on.
std::vector<Operation *> feedForwardLayers(Program &program);

/// `all`, or a list of layers and ranges such as `0-11,13`.
llvm::Expected<std::set<int64_t>> parseLayers(llvm::StringRef text,
                                              int64_t layers);

struct MoeBlockView;
/// Gives the pairs of a block the bound that its route's attributes allow, by
/// a new ragged dimension where it is another one.
void boundPairs(Module &module, const MoeBlockView &view, int64_t experts);

} // namespace moec
