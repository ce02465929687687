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

/// A dense decoder of two layers with random weights and the sizes above.
std::unique_ptr<Module> tinyModule();

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
