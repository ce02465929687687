//===- TinyNeurons.h - a tiny model's experts, neuron by neuron -----------===//
#pragma once

#include "tests/passes/upcycle/TinyModel.h"

#include <set>

namespace moec {

using Neuron = std::vector<float>;

/// The neurons of an FFN: per neuron its rows of gate and up and its column of
/// down, apart.
struct Neurons {
  std::vector<Neuron> gate, up, down;
  size_t size() const { return up.size(); }
};

inline Neurons neuronsOf(const std::vector<float> &gate,
                         const std::vector<float> &up,
                         const std::vector<float> &down, int64_t width,
                         int64_t hidden) {
  Neurons out;
  for (int64_t j = 0; j < width; ++j) {
    out.gate.push_back(neuronOf(gate, width, hidden, j, /*column=*/false));
    out.up.push_back(neuronOf(up, width, hidden, j, /*column=*/false));
    out.down.push_back(neuronOf(down, hidden, width, j, /*column=*/true));
  }
  return out;
}

inline Neurons denseNeurons(TinyModel &model, const TinyShape &shape,
                            const std::string &prefix = "") {
  auto at = [&](const char *name) {
    return model.weight(prefix + "layers.0.ffn." + name);
  };
  return neuronsOf(at("gate"), at("up"), at("down"), shape.width, shape.hidden);
}

inline Neurons expertNeurons(TinyModel &model, int64_t expert, int64_t hidden) {
  int64_t width = model.dim("layers.0.moe.up", 1);
  auto at = [&](const char *name) {
    auto bank = model.weight(std::string("layers.0.moe.") + name);
    int64_t size = width * hidden;
    return std::vector<float>(bank.begin() + expert * size,
                              bank.begin() + (expert + 1) * size);
  };
  return neuronsOf(at("gate"), at("up"), at("down"), width, hidden);
}

inline Neurons sharedNeurons(TinyModel &model, int64_t hidden) {
  int64_t width = model.dim("layers.0.moe.shared.up", 0);
  auto at = [&](const char *name) {
    return model.weight(std::string("layers.0.moe.shared.") + name);
  };
  return neuronsOf(at("gate"), at("up"), at("down"), width, hidden);
}

/// The dense neuron that neuron j is, whole; -1 if it is none of them.
inline int64_t wholeNeuron(const Neurons &dense, const Neurons &expert,
                           size_t j) {
  for (size_t i = 0; i < dense.size(); ++i)
    if (dense.gate[i] == expert.gate[j] && dense.up[i] == expert.up[j] &&
        dense.down[i] == expert.down[j])
      return i;
  return -1;
}

/// Neurons of which matrix `part` is a dense one's, at its place.
inline std::set<size_t> kept(const std::vector<Neuron> &dense,
                             const std::vector<Neuron> &expert) {
  std::set<size_t> out;
  for (size_t j = 0; j < expert.size(); ++j)
    if (dense[j] == expert[j])
      out.insert(j);
  return out;
}

} // namespace moec
