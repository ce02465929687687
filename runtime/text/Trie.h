//===- Trie.h - the longest of many strings at a place in a text ----------===//
#pragma once

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringRef.h"

#include <array>
#include <cstdint>
#include <vector>

namespace moec {

/// Maps strings to values and finds those that a text starts with.
class Trie {
public:
  void insert(llvm::StringRef key, int32_t value) {
    uint32_t node = 0;
    for (char c : key) {
      auto [edge, added] =
          edges.try_emplace(edgeKey(node, c), uint32_t(values.size()));
      if (added)
        values.push_back(-1);
      node = edge->second;
    }
    values[node] = value;
    if (!key.empty())
      starts[uint8_t(key.front())] = true;
  }

  bool empty() const { return values.size() == 1; }

  /// Whether any key starts with this byte.
  bool canStart(char c) const { return starts[uint8_t(c)]; }

  /// Calls `visit(length, value)` for every key that `text` starts with, the
  /// shortest first.
  template <typename Visit>
  void forEachPrefix(llvm::StringRef text, Visit visit) const {
    uint32_t node = 0;
    for (size_t pos = 0; pos < text.size(); ++pos) {
      auto edge = edges.find(edgeKey(node, text[pos]));
      if (edge == edges.end())
        return;
      node = edge->second;
      if (values[node] >= 0)
        visit(pos + 1, values[node]);
    }
  }

  /// The length of the longest key that `text` starts with, or 0.
  size_t longestPrefix(llvm::StringRef text, int32_t &value) const {
    size_t length = 0;
    if (text.empty() || !canStart(text.front()))
      return 0;
    forEachPrefix(text, [&](size_t prefix, int32_t found) {
      length = prefix;
      value = found;
    });
    return length;
  }

private:
  static uint64_t edgeKey(uint32_t node, char c) {
    return uint64_t(node) << 8 | uint8_t(c);
  }
  llvm::DenseMap<uint64_t, uint32_t> edges;
  /// By node; -1 where no key ends. Node 0 is the root.
  std::vector<int32_t> values = {-1};
  std::array<bool, 256> starts = {};
};

} // namespace moec
