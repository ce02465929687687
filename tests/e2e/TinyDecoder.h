//===- TinyDecoder.h - a small model, interpreted and compiled ------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/interp/Interpreter.h"
#include "runtime/generate/Session.h"
#include "tools/driver/Compiler.h"

namespace moec::test {

constexpr int64_t kTinyHidden = 40, kTinyVocab = 70;

/// A weight of normal numbers, whose seed is fixed.
void addNormal(Module &module, const std::string &name,
               std::vector<int64_t> shape, double mean, double deviation);

/// What is not as in Llama.
enum class Kind {
  llama,
  /// Caps of scores and logits, norms on both sides, windows in every second
  /// layer, scaled embeddings.
  capped,
  /// Norms behind, q and k normed by row, limits of q, k and v.
  postNorm,
  /// Layer norms, a plain FFN with biases and squared ReLU, half of a head
  /// turns.
  biased,
  /// Latent attention: q and k of 6 + 4, v of 7 elements a head; turned parts
  /// grow.
  latent,
};

/// A dense decoder of two layers with random weights and the sizes above.
std::unique_ptr<Module> tinyModule(Kind kind = Kind::llama);

/// Logits of every token, by the interpreter.
std::vector<double> interpret(const Module &module, Interpreter::Mode mode,
                              llvm::ArrayRef<int32_t> tokens);

/// Compiles for one level.
std::shared_ptr<const runtime::Model>
loadVariant(std::unique_ptr<Module> module, Precision precision,
            cpu::CpuLevel level, unsigned threads);

/// Logits of every token, in chunks of the given sizes.
std::vector<float> runChunks(std::shared_ptr<const runtime::Model> model,
                             llvm::ArrayRef<int32_t> tokens,
                             llvm::ArrayRef<size_t> chunks);

} // namespace moec::test
