//===- TinyModel.h - an FFN to upcycle, to run and to look into -----------===//
#pragma once

#include "ir/interp/Interpreter.h"
#include "ir/ops/MoeBlock.h"
#include "ir/support/Philox.h"
#include "ir/text/Parser.h"
#include "ir/weights/Materialize.h"
#include "passes/driver/PassManager.h"
#include "passes/pipeline/Registry.h"
#include "llvm/ADT/StringExtras.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>
#include <map>

namespace moec {

/// Checkpoints that are kept in memory: tensors by key.
class MemoryReader final : public TensorReader {
public:
  llvm::Error readF32(const SourceFile &, const SourceAttrs &tensor,
                      uint64_t first,
                      llvm::MutableArrayRef<float> out) override {
    const std::vector<float> &from = floats.at(tensor.key);
    std::copy_n(from.begin() + first, out.size(), out.begin());
    return llvm::Error::success();
  }
  llvm::Expected<llvm::ArrayRef<uint8_t>>
  bytes(const SourceFile &, const SourceAttrs &tensor) override {
    const std::vector<int64_t> &from = integers.at(tensor.key);
    return llvm::ArrayRef(reinterpret_cast<const uint8_t *>(from.data()),
                          from.size() * sizeof(int64_t));
  }
  std::optional<Place> place(const SourceFile &, const SourceAttrs &) override {
    return std::nullopt;
  }
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<int64_t>> integers;
};

/// What the dense FFN is like. Weights are normal, so that what a gate or an up
/// projection gives has a deviation of about 1.
struct TinyShape {
  int64_t hidden = 16, width = 24;
  std::string fn = "silu";
  bool gated = true, biased = false;
  std::string element = "f32";
};

class TinyModel {
public:
  explicit TinyModel(const std::string &text) {
    auto parsed = parseModule(text, "test.moe");
    if (parsed)
      module = std::move(*parsed);
    else
      ADD_FAILURE() << toText(parsed.takeError());
  }
  explicit TinyModel(const TinyShape &shape) : TinyModel(textOf(shape)) {}

  static std::string weightText(const std::string &name,
                                std::vector<int64_t> shape, int64_t seed,
                                double deviation, const std::string &element) {
    std::string list;
    for (int64_t size : shape)
      list += (list.empty() ? "" : ", ") + std::to_string(size);
    return "  weight @" + name + " : tensor<[" + list + "], " + element +
           "> = cast(normal({shape = [" + list +
           "], deviation = " + std::to_string(deviation) +
           ", seed = " + std::to_string(seed) + ", weight = \"" + name +
           "\"}), {element = " + element + "})\n";
  }
  /// The weights of one FFN, `prefix` before their names.
  static std::string ffnWeights(const TinyShape &s, const std::string &prefix,
                                int64_t seed) {
    std::string text, ffn = prefix + "layers.0.ffn.";
    double in = 1 / std::sqrt(double(s.hidden));
    double out = 1 / std::sqrt(double(s.width));
    if (s.gated)
      text +=
          weightText(ffn + "gate", {s.width, s.hidden}, seed, in, s.element);
    text += weightText(ffn + "up", {s.width, s.hidden}, seed, in, s.element);
    text += weightText(ffn + "down", {s.hidden, s.width}, seed, out, s.element);
    if (!s.biased)
      return text;
    if (s.gated)
      text += weightText(ffn + "gate.bias", {s.width}, seed, 0.5, "f32");
    text += weightText(ffn + "up.bias", {s.width}, seed, 0.5, "f32");
    return text + weightText(ffn + "down.bias", {s.hidden}, seed, 0.5, "f32");
  }
  static std::string programText(const TinyShape &s) {
    std::string type = "tensor<[t, " + std::to_string(s.hidden) + "], f32>";
    std::string operands, ffn = ", @layers.0.ffn.";
    for (const char *suffix : {"", ".bias"})
      if (!*suffix || s.biased)
        for (const char *name : {"gate", "up", "down"})
          if (s.gated || llvm::StringRef(name) != "gate")
            operands += ffn + name + suffix;
    return "  program @step(%x: " + type + ") -> (y: " + type +
           ") {\n    %y = ffn %x" + operands + " {fn = " + s.fn +
           (s.gated ? "" : ", gated = false") +
           (s.biased ? ", biased = true" : "") + "} : " + type +
           "\n    return %y\n  }\n";
  }
  static std::string textOf(const TinyShape &shape) {
    return "module @m {\n  dim t <= 64\n  file @calibration = \"c\"\n" +
           ffnWeights(shape, "", 1) + programText(shape) + "}\n";
  }

  /// Runs passes; the text of the error, empty where there is none.
  std::string tryPasses(const std::string &text) {
    auto pipeline = parsePipeline(text, allPasses(), "the test");
    if (!pipeline)
      return toText(pipeline.takeError());
    PassManager manager;
    manager.add(std::move(*pipeline));
    llvm::Error err = manager.run(*module);
    remarks.assign(manager.remarks().begin(), manager.remarks().end());
    return err ? toText(std::move(err)) : "";
  }
  void passes(const std::string &text) { ASSERT_EQ(tryPasses(text), ""); }
  /// Pass upcycle with these options.
  void upcycle(const std::string &options) {
    passes("upcycle{" + options + "}");
  }

  std::vector<float> weight(const std::string &name) {
    Weight *found = module->findWeight(name);
    if (!found) {
      ADD_FAILURE() << "no weight '" << name << "'";
      return {};
    }
    auto numbers = materialize(*found->expr, reader);
    if (numbers)
      return std::move(*numbers);
    ADD_FAILURE() << toText(numbers.takeError());
    return {};
  }
  int64_t dim(const std::string &name, int axis) const {
    return module->findWeight(name)->type().dim(axis).constant();
  }

  /// The first result of the program, in f32, from x, the arguments that follow
  /// it, and counters of zero.
  std::vector<double> run(const HostTensor &x,
                          std::vector<HostTensor> more = {}) {
    Interpreter interpreter(
        Interpreter::Mode::typed,
        [&](const Weight &weight) -> llvm::Expected<HostTensor> {
          MOEC_ASSIGN(auto numbers, materialize(*weight.expr, reader));
          std::vector<int64_t> shape;
          for (const Dim &size : weight.type().shape())
            shape.push_back(size.constant());
          HostTensor tensor =
              HostTensor::ofFloats(weight.type().element(), shape);
          std::copy(numbers.begin(), numbers.end(), tensor.floats.begin());
          return tensor;
        });
    const Program &step = *module->findProgram("step");
    std::vector<HostTensor> arguments{x};
    for (HostTensor &argument : more)
      arguments.push_back(std::move(argument));
    for (unsigned i = arguments.size(); i < step.body().numArguments(); ++i) {
      std::vector<int64_t> shape;
      for (const Dim &size : step.body().argument(i).type().shape())
        shape.push_back(size.constant());
      arguments.push_back(HostTensor::ofInts(ElementType::i64, shape));
    }
    auto results = interpreter.run(step, std::move(arguments));
    if (results)
      return (*results)[0].floats;
    ADD_FAILURE() << toText(results.takeError());
    return {};
  }

  std::unique_ptr<Module> module;
  MemoryReader reader;
  std::vector<Remark> remarks;
};

inline HostTensor normalTokens(int64_t tokens, int64_t hidden,
                               double deviation = 1) {
  HostTensor x = HostTensor::ofFloats(ElementType::f32, {tokens, hidden});
  RandomKey key = RandomKey::of(7, "test", "x");
  for (size_t i = 0; i < x.floats.size(); ++i)
    x.floats[i] = float(normal(key, i) * deviation);
  return x;
}

/// ||a - b|| / ||b||.
inline double relativeError(const std::vector<double> &a,
                            const std::vector<double> &b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

/// Row `row` of a matrix, or column, as one list.
inline std::vector<float> neuronOf(const std::vector<float> &matrix,
                                   int64_t rows, int64_t columns, int64_t index,
                                   bool column) {
  std::vector<float> out;
  for (int64_t i = 0; i < (column ? rows : columns); ++i)
    out.push_back(column ? matrix[i * columns + index]
                         : matrix[index * columns + i]);
  return out;
}

} // namespace moec
