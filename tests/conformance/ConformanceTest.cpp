//===- ConformanceTest.cpp - compiled kernels against the interpreter -----===//
//
// Each `.moe` file here has programs whose last kernel op is looked at, and
// lines `// ROW: A = bf16, ...`: element types that stand for $A and so on. For
// every row, program and code variant the op is bound and compiled as for a
// plan, run on what the interpreter gave to the op, and compared with what the
// interpreter made of it in its two modes, within c and floor of Tolerances.h.
// The table of errors is printed.
//
//===----------------------------------------------------------------------===//

#include "codegen/package/BindKernel.h"
#include "ir/core/Module.h"
#include "ir/interp/Interpreter.h"
#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/text/Parser.h"
#include "ir/verify/Verifier.h"
#include "tests/codegen/KernelHarness.h"
#include "tests/conformance/Tolerances.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

using namespace moec;
using namespace moec::test;

namespace {
/// What the symbols of every program stand for: 13 tokens of two sequences,
/// three blocks of four positions each, of eight blocks.
const std::map<std::string, int64_t> kSymbols = {
    {"t", 13}, {"s", 2}, {"c", 3}, {"n", 8}};

int64_t valueOf(const Polynomial &polynomial) {
  return *polynomial.hostBound().evaluate(
      [](const DimSymbol *symbol) { return kSymbols.at(symbol->name()); });
}

std::vector<int64_t> shapeOf(const TensorType &type) {
  std::vector<int64_t> shape;
  for (const Dim &dim : type.shape())
    shape.push_back(valueOf(dim.polynomial()));
  return shape;
}

/// The numbers of i32 arguments, by name.
std::vector<int64_t> indexNamed(llvm::StringRef name) {
  if (name == "positions")
    return {0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8, 9};
  if (name == "offsets")
    return {0, 5, 13};
  if (name == "table")
    return {3, 1, 4, 0, 5, 2};
  EXPECT_EQ(name, "index");
  return {7, 0, 3, 3, 1, 6, 2, 5, 4, 0, 7, 7, 2};
}

HostTensor argumentOf(Value argument, Random &random) {
  const TensorType &type = argument.type();
  std::vector<int64_t> shape = shapeOf(type);
  if (!isFloat(type.element())) {
    HostTensor tensor = HostTensor::ofInts(type.element(), shape);
    if (!argument.state())
      tensor.ints = indexNamed(argument.hint());
    EXPECT_EQ(int64_t(tensor.ints.size()), tensor.elements());
    return tensor;
  }
  HostTensor tensor = HostTensor::ofFloats(type.element(), shape);
  for (double &number : tensor.floats)
    number = moec::roundTo(type.element(), random.normal());
  return tensor;
}

/// A weight as stored, and what that means.
struct WeightNumbers {
  Array stored;
  HostTensor meant;
};

WeightNumbers numbersOf(const Weight &weight, Random &random) {
  std::vector<int64_t> shape = shapeOf(weight.type());
  ElementType element = weight.type().element();
  HostTensor meant = HostTensor::ofFloats(element, shape);
  // Products of rows of normal numbers are about 1, as the floors expect.
  Array stored =
      randomWeights(element, meant.floats.size(),
                    1 / std::sqrt(double(shape.back())), random, meant.floats);
  if (weight.name == "identity")
    for (int64_t i = 0; i < meant.elements(); ++i) {
      int64_t row = i / shape.back() % shape[shape.size() - 2];
      meant.floats[i] = i % shape.back() == row;
      stored.set(i, meant.floats[i]);
    }
  return {std::move(stored), std::move(meant)};
}

/// What the interpreter gave to the op and made of it, in one mode.
struct Observed {
  std::vector<HostTensor> inputs, results;
};

Array toArray(const HostTensor &tensor, ElementType element, size_t count) {
  Array array(element, count);
  // Behind the last pair there is expert -1.
  array.fillBytes(0xFF);
  for (auto [i, number] : llvm::enumerate(tensor.floats))
    array.set(i, number);
  for (auto [i, number] : llvm::enumerate(tensor.ints))
    array.set(i, double(number));
  return array;
}

std::vector<double> numbers(const HostTensor &tensor) {
  if (tensor.ints.empty())
    return tensor.floats;
  return {tensor.ints.begin(), tensor.ints.end()};
}

/// One row of the table.
class Row {
public:
  Row(const Program &program, std::string title)
      : program(program), title(std::move(title)) {
    for (const Operation &candidate : program.body().ops())
      if (isKernel(candidate))
        op = &candidate;
  }

  const Operation *kernel() const { return op; }
  void run(const Module &module, cpu::CpuLevel level);

private:
  void interpret(const Module &module);
  void compare(const Array &got, unsigned result, const Tolerance &tolerance);

  const Program &program;
  std::string title;
  const Operation *op = nullptr;
  std::map<std::string, WeightNumbers> weights;
  Observed exact, typed;
  Errors worst;
};

void Row::interpret(const Module &module) {
  Random random(1);
  for (const auto &weight : module.weights())
    weights.emplace(weight->name, numbersOf(*weight, random));
  std::vector<HostTensor> arguments;
  for (unsigned i = 0; i < program.body().numArguments(); ++i)
    arguments.push_back(argumentOf(program.body().argument(i), random));
  for (auto [mode, observed] : {std::pair(Interpreter::Mode::f64, &exact),
                                std::pair(Interpreter::Mode::typed, &typed)}) {
    Interpreter interpreter(mode, [&](const Weight &weight) {
      return llvm::Expected<HostTensor>(weights.at(weight.name).meant);
    });
    Observed *into = observed;
    interpreter.observe = [this, into](const Operation &seen,
                                       llvm::ArrayRef<HostTensor *> inputs,
                                       llvm::ArrayRef<HostTensor *> results) {
      if (&seen != op)
        return;
      for (HostTensor *input : inputs)
        into->inputs.push_back(*input);
      for (HostTensor *result : results)
        into->results.push_back(*result);
    };
    auto results = interpreter.run(program, arguments);
    ASSERT_TRUE(bool(results)) << toText(results.takeError());
  }
  // What comes before the op is exact in the programs of this folder, so that
  // the errors are the op's.
  ASSERT_EQ(exact.inputs.size(), op->numOperands());
  for (auto [a, b] : llvm::zip_equal(exact.inputs, typed.inputs))
    ASSERT_EQ(a.floats, b.floats);
}

void Row::compare(const Array &got, unsigned result,
                  const Tolerance &tolerance) {
  std::vector<double> meant = numbers(exact.results[result]);
  // Ragged results are as long as their bound in memory.
  ASSERT_GE(got.size(), meant.size());
  Array shown(got.element, meant.size());
  for (size_t i = 0; i < meant.size(); ++i)
    shown.set(i, got.get(i));
  Errors errors;
  if (exact.results[result].ints.empty())
    expectClose(shown, meant, numbers(typed.results[result]), tolerance,
                "result " + std::to_string(result), &errors);
  else
    for (size_t i = 0; i < meant.size(); ++i)
      EXPECT_EQ(shown.getInt(i), meant[i])
          << "result " << result << " at " << i;
  if (errors.error >= worst.error)
    worst = errors;
}

void Row::run(const Module &module, cpu::CpuLevel level) {
  ASSERT_TRUE(op);
  ASSERT_NO_FATAL_FAILURE(interpret(module));
  auto bound = bindKernel(*op);
  ASSERT_TRUE(bool(bound)) << toText(bound.takeError());
  if (auto reason = cpu::supports(bound->spec, level)) {
    ASSERT_TRUE(level == cpu::CpuLevel::Generic &&
                llvm::StringRef(*reason).contains("is f16"))
        << *reason;
    std::printf("%-20s %-60s excluded: %s\n",
                cpu::variantName(level).str().c_str(), title.c_str(),
                reason->c_str());
    return;
  }
  const Compiled &code = compiled(bound->spec, level);

  auto inputNumber = [&](Value value) {
    return llvm::find(op->operands(), value) - op->operands().begin();
  };
  std::vector<Array> arrays;
  llvm::DenseMap<Value, unsigned> bufferOf;
  for (auto [i, values] : llvm::enumerate(bound->buffers)) {
    if (bound->weightBuffer == i) {
      std::vector<const Array *> parts;
      for (Value value : values)
        parts.push_back(&weights.at(value.weight()->name).stored);
      std::vector<int64_t> shape = shapeOf(values[0].type());
      arrays.push_back(packWeights(parts, shape.size() == 3 ? shape[0] : 1,
                                   shape[shape.size() - 2], shape.back(),
                                   *code.kernel.weight));
      continue;
    }
    Value value = values[0];
    size_t count = 1;
    for (int64_t extent : shapeOf(value.type()))
      count *= size_t(extent);
    bool isResult = value.definingOp() == op;
    arrays.push_back(
        toArray(isResult ? HostTensor() : exact.inputs[inputNumber(value)],
                bound->elements[i], count));
    bufferOf[value] = i;
  }
  // A result that is a version of a state is in the buffer of its operand.
  std::vector<std::pair<unsigned, unsigned>> written; // result, buffer
  for (unsigned i = 0; i < op->numResults(); ++i) {
    Value result = op->result(i);
    if (!result.state()) {
      if (bufferOf.count(result))
        written.push_back({i, bufferOf.lookup(result)});
      continue;
    }
    for (Value operand : op->operands())
      if (operand.state() == result.state())
        written.push_back({i, bufferOf.lookup(operand)});
  }
  ASSERT_FALSE(written.empty());
  std::vector<const Array *> buffers;
  for (const Array &array : arrays)
    buffers.push_back(&array);
  std::vector<Array *> outputs;
  for (auto [result, buffer] : written)
    outputs.push_back(&arrays[buffer]);
  std::vector<int64_t> extents;
  for (const Polynomial &extent : bound->extents)
    extents.push_back(valueOf(extent));
  Random random(2);
  code.runSplit(buffers, extents, outputs, random);
  Tolerance tolerance = toleranceOf(bound->spec);
  for (auto [result, buffer] : written)
    compare(arrays[buffer], result, tolerance);
  std::printf("%-20s %-60s error %.1e <= %g * %.1e + %g\n",
              cpu::variantName(level).str().c_str(), title.c_str(), worst.error,
              tolerance.c, worst.typed, tolerance.floor);
}

class Conformance : public testing::TestWithParam<cpu::CpuLevel> {
protected:
  /// Runs every program of a file with the types of one row.
  void runRow(llvm::StringRef text, llvm::StringRef row, llvm::StringRef file);
  /// Mnemonics of the kernels that were run.
  std::set<std::string> seen;
};
} // namespace

void Conformance::runRow(llvm::StringRef text, llvm::StringRef row,
                         llvm::StringRef file) {
  std::string written = text.str();
  llvm::SmallVector<llvm::StringRef> settings;
  row.split(settings, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef setting : settings) {
    auto [name, type] = setting.split('=');
    std::string from = "$" + name.trim().str();
    for (size_t at; (at = written.find(from)) != std::string::npos;)
      written.replace(at, from.size(), type.trim().str());
  }
  auto module = parseModule(written, file);
  ASSERT_TRUE(bool(module)) << toText(module.takeError());
  ASSERT_EQ(toText(verify(**module)), "");
  for (const auto &program : (*module)->programs()) {
    std::string title = (*module)->name() + " " + program->name +
                        (row.empty() ? "" : ", ") + row.str();
    SCOPED_TRACE(title);
    Row one(*program, title);
    one.run(**module, GetParam());
    if (one.kernel())
      seen.insert(one.kernel()->mnemonic().str());
  }
}

TEST_P(Conformance, EveryKernelIsAsTheInterpreterSays) {
  MOEC_SKIP_UNLESS_HOST_RUNS(GetParam());
  std::vector<std::string> files;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator at(MOEC_CONFORMANCE_FOLDER, code), end;
       at != end && !code; at.increment(code))
    if (llvm::sys::path::extension(at->path()) == ".moe")
      files.push_back(at->path());
  std::sort(files.begin(), files.end());
  for (const std::string &file : files) {
    auto buffer = llvm::MemoryBuffer::getFile(file);
    ASSERT_TRUE(bool(buffer)) << file;
    llvm::StringRef text = (*buffer)->getBuffer();
    unsigned rows = 0;
    for (llvm::StringRef line : llvm::split(text, '\n'))
      if (line.consume_front("// ROW:")) {
        ++rows;
        runRow(text, line.trim(), file);
      }
    EXPECT_GT(rows, 0u) << file << " has no line '// ROW: ...'";
  }
#define OP(Name, Mnemonic, ...)                                                \
  if (isKernel(OpKind::Name))                                                  \
    EXPECT_TRUE(seen.count(Mnemonic)) << Mnemonic << " has no program";
#include "ir/ops/Ops.def"
}

MOEC_INSTANTIATE_LEVELS(Conformance);
