//===- Rowwise.cpp - fused row-wise bodies --------------------------------===//
//
// A block takes a row; thread t its columns t, t + Threads, ... As on CPUs, a
// body is cut at norms, rotations and joins of heads: what they read, unless it
// is a load, and what they give piecewise, lies in shared memory as f32;
// between two cuts there is one loop over columns. A norm of the whole row sums
// over the block, one of groups has a warp for each group; both in a fixed
// order. Reads each operand once or twice (then from L1), writes each result
// once.
//
//===----------------------------------------------------------------------===//

#include "codegen/cuda/Kernels.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FormatVariadic.h"

#include <algorithm>
#include <map>

using namespace llvm;
using namespace moec;
using namespace moec::cuda;
using kernel::Activation;
using kernel::RowOp;
using kernel::RowwiseSpec;
using Kind = RowOp::Kind;

namespace {

class RowwisePrinter {
public:
  RowwisePrinter(raw_ostream &os, const RowwiseSpec &spec)
      : os(os), spec(spec) {}
  void print(CudaKernel &result);

private:
  bool isLoad(int op) const {
    Kind kind = spec.ops[op].kind;
    return kind == Kind::Load || kind == Kind::LoadRow || kind == Kind::Gather;
  }
  bool isNorm(int op) const {
    Kind kind = spec.ops[op].kind;
    return kind == Kind::RmsNorm || kind == Kind::LayerNorm;
  }
  void planShared();
  void printTables();
  void printBody();
  void loop(int64_t count, StringRef variable, StringRef start,
            StringRef stride, function_ref<void()> body);
  void columns(int64_t width, function_ref<void()> body) {
    loop(width, "c", "threadIdx.x", "kThreads", body);
  }
  std::string eval(int op, const std::string &column);
  std::string text(int op, const std::string &column);
  std::string kept(int op, const std::string &column) const {
    return formatv("shared[{0} + {1}]", slots[op], column).str();
  }
  void store(unsigned number, const std::string &column);
  void keep(int op);
  void printNorm(int op);
  void printGroupedNorm(int op);
  int64_t printAngles(const RowOp &op);
  void printRope(int op);
  void printJoin(int op);

  raw_ostream &os;
  const RowwiseSpec &spec;
  unsigned threads = 128;
  SmallVector<int64_t> slots; ///< float offset in shared memory, -1: none
  int64_t sharedFloats = 0;
  SmallVector<bool> isKept, isStored;
  using AngleKey = std::pair<int, std::vector<double>>;
  struct Angles {
    int64_t slot;
    unsigned table;
    bool printed = false;
  };
  std::map<AngleKey, Angles> angles;
  /// Names of values by operation and column, in the loop being printed.
  std::map<std::pair<int, std::string>, std::string> names;
  unsigned nextName = 0;
  std::string indent = "    ";
};

} // namespace

void RowwisePrinter::planShared() {
  slots.assign(spec.ops.size(), -1);
  auto reserve = [&](int64_t count) {
    return std::exchange(sharedFloats, sharedFloats + count);
  };
  for (auto [number, op] : enumerate(spec.ops)) {
    bool rope = op.kind == Kind::Rope, join = op.kind == Kind::JoinHeads;
    if (!rope && !join && !isNorm(number))
      continue;
    for (int input : ArrayRef(op.inputs).take_front(join ? 2 : 1))
      if (!isLoad(input) && slots[input] < 0)
        slots[input] = reserve(spec.ops[input].width);
    if ((rope || join || op.groups > 1) && slots[number] < 0)
      slots[number] = reserve(op.width);
    AngleKey key = {op.index, op.inverseFrequencies};
    if (rope && !angles.count(key)) {
      unsigned table = angles.size();
      angles[key] = {reserve(2 * int64_t(op.inverseFrequencies.size())), table};
    }
  }
}

void RowwisePrinter::printTables() {
  for (const auto &[key, place] : angles) {
    os << "__constant__ double kFrequencies" << place.table << "[] = {";
    interleave(
        key.second, os,
        [&](double frequency) { os << "\n    " << f64Literal(frequency); },
        ",");
    os << "};\n";
  }
}

void RowwisePrinter::loop(int64_t count, StringRef variable, StringRef start,
                          StringRef stride, function_ref<void()> body) {
  names.clear();
  os << indent
     << formatv("for (int {0} = {1}; {0} < {2}; {0} += {3}) {{\n", variable,
                start, count, stride);
  indent += "  ";
  body();
  indent.resize(indent.size() - 2);
  os << indent << "}\n";
  names.clear();
}

/// A name that holds the operation's value at `column`.
std::string RowwisePrinter::eval(int op, const std::string &column) {
  if (auto found = names.find({op, column}); found != names.end())
    return found->second;
  std::string value = isKept[op] ? kept(op, column) : text(op, column);
  std::string name = "v" + std::to_string(nextName++);
  os << indent << "float " << name << " = " << value << ";\n";
  return names[{op, column}] = name;
}

std::string RowwisePrinter::text(int number, const std::string &column) {
  const RowOp &op = spec.ops[number];
  auto in = [&](unsigned input) {
    int from = op.inputs[input];
    // One number a row, in every column.
    bool number = spec.ops[from].width == 1 && op.width != 1;
    return eval(from, number ? "0" : column);
  };
  auto load = [&](const char *row) {
    ElementType element = spec.operands[op.buffer].element;
    std::string place = formatv("in{0}[{1}{2}]", op.buffer, row, column).str();
    if (op.kind == Kind::Load)
      place = formatv("in{0}[row * {1} + {2}]", op.buffer, op.width, column);
    if (op.kind == Kind::Gather)
      place = formatv("in{0}[Index(in{1}[row]) * {2} + {3}]", op.buffer,
                      op.index, op.width, column);
    return toF32(element, place);
  };
  switch (op.kind) {
  case Kind::Load:
  case Kind::LoadRow:
  case Kind::Gather:
    return load("");
  // Named functions, so that nothing is contracted across operations.
  case Kind::Add: {
    std::string x = in(0), y = in(1);
    return "__fadd_rn(" + x + ", " + y + ")";
  }
  case Kind::Sub: {
    std::string x = in(0), y = in(1);
    return "__fsub_rn(" + x + ", " + y + ")";
  }
  case Kind::Mul: {
    std::string x = in(0), y = in(1);
    return "__fmul_rn(" + x + ", " + y + ")";
  }
  case Kind::Scale:
    return "__fmul_rn(" + in(0) + ", " + f32Literal(op.scalar) + ")";
  case Kind::Silu:
    return activationText(Activation::Silu, in(0));
  case Kind::GeluTanh:
    return activationText(Activation::GeluTanh, in(0));
  case Kind::GeluErf:
    return activationText(Activation::GeluErf, in(0));
  case Kind::QuickGelu:
    return activationText(Activation::QuickGelu, in(0));
  case Kind::Relu:
    return activationText(Activation::Relu, in(0));
  case Kind::SquaredRelu:
    return activationText(Activation::SquaredRelu, in(0));
  case Kind::Sigmoid:
    return "sigmoid(" + in(0) + ")";
  case Kind::Tanh:
    return "tanhf(" + in(0) + ")";
  case Kind::Clamp: {
    std::string x = in(0), limit = f32Literal(op.scalar);
    return formatv("({0} > {1} ? {1} : {0} < -{1} ? -{1} : {0})", x, limit);
  }
  case Kind::Slice:
    return eval(op.inputs[0], formatv("({0} + {1})", column, op.start));
  case Kind::Cast:
    return toF32(op.element, fromF32(op.element, in(0)));
  case Kind::RmsNorm:
  case Kind::LayerNorm: {
    std::string x = in(0);
    if (op.kind == Kind::LayerNorm)
      x = formatv("({0} - mean{1})", x, number);
    x = formatv("{0} * inverse{1}", x, number);
    if (op.inputs.size() > 1)
      x += " * " + in(1);
    if (op.inputs.size() > 2)
      x += " + " + in(2);
    return x;
  }
  case Kind::Rope:
  case Kind::JoinHeads:
    break;
  }
  llvm_unreachable("what is made piecewise is kept in shared memory");
}

void RowwisePrinter::store(unsigned number, const std::string &column) {
  const RowwiseSpec::Store &target = spec.stores[number];
  std::string value = eval(target.op, column);
  os << indent
     << formatv("out{0}[row * {1} + {2}] = {3};\n", number,
                spec.ops[target.op].width, column,
                fromF32(target.element, value));
}

void RowwisePrinter::keep(int op) {
  if (isKept[op])
    return;
  columns(spec.ops[op].width, [&] {
    std::string value = eval(op, "c");
    os << indent << kept(op, "c") << " = " << value << ";\n";
    for (auto [number, target] : enumerate(spec.stores))
      if (target.op == op) {
        store(number, "c");
        isStored[number] = true;
      }
  });
  os << indent << "__syncthreads();\n";
  isKept[op] = true;
}

void RowwisePrinter::printNorm(int number) {
  const RowOp &op = spec.ops[number];
  std::string width = f32Literal(double(op.width));
  auto sum = [&](StringRef name, function_ref<std::string(std::string)> term) {
    os << indent << "float " << name << " = 0.0f;\n";
    columns(op.width, [&] {
      std::string value = term(eval(op.inputs[0], "c"));
      os << indent << name << " += " << value << ";\n";
    });
    os << indent
       << formatv("{0} = blockSum<kThreads>({0}, partial) / {1};\n", name,
                  width);
  };
  std::string mean = "mean" + std::to_string(number);
  std::string squares = "squares" + std::to_string(number);
  bool centred = op.kind == Kind::LayerNorm;
  if (centred)
    sum(mean, [](std::string x) { return x; });
  sum(squares, [&](std::string x) {
    if (centred)
      x = "(" + x + " - " + mean + ")";
    return x + " * " + x;
  });
  os << indent
     << formatv("float inverse{0} = 1.0f / sqrtf({1} + {2});\n", number,
                squares, f32Literal(op.scalar));
}

void RowwisePrinter::printGroupedNorm(int number) {
  const RowOp &op = spec.ops[number];
  int64_t part = op.width / op.groups;
  std::string width = f32Literal(double(part));
  bool centred = op.kind == Kind::LayerNorm;
  loop(op.groups, "g", "threadIdx.x / 32", "kThreads / 32", [&] {
    auto sum = [&](StringRef name,
                   function_ref<std::string(std::string)> term) {
      os << indent << "float " << name << " = 0.0f;\n";
      loop(part, "c", "threadIdx.x % 32", "32", [&] {
        std::string column = formatv("(g * {0} + c)", part);
        std::string value = term(eval(op.inputs[0], column));
        os << indent << name << " += " << value << ";\n";
      });
      os << indent << formatv("{0} = warpSum({0}) / {1};\n", name, width);
    };
    if (centred)
      sum("mean", [](std::string x) { return x; });
    sum("squares", [&](std::string x) {
      if (centred)
        x = "(" + x + " - mean)";
      return x + " * " + x;
    });
    os << indent
       << formatv("float inverse = 1.0f / sqrtf(squares + {0});\n",
                  f32Literal(op.scalar));
    loop(part, "c", "threadIdx.x % 32", "32", [&] {
      std::string column = formatv("(g * {0} + c)", part);
      std::string x = eval(op.inputs[0], column);
      if (centred)
        x = "(" + x + " - mean)";
      x += " * inverse";
      if (op.inputs.size() > 1)
        x += " * " + eval(op.inputs[1], "c");
      if (op.inputs.size() > 2)
        x += " + " + eval(op.inputs[2], "c");
      os << indent << kept(number, column) << " = " << x << ";\n";
    });
  });
  os << indent << "__syncthreads();\n";
  isKept[number] = true;
}

/// The float offset of cosines, and sines after them, of the row's angles.
int64_t RowwisePrinter::printAngles(const RowOp &op) {
  Angles &place = angles.at({op.index, op.inverseFrequencies});
  if (std::exchange(place.printed, true))
    return place.slot;
  int64_t pairs = op.inverseFrequencies.size();
  columns(pairs, [&] {
    os << indent
       << formatv("float2 turn = sinCos(double(in{0}[row]) * "
                  "kFrequencies{1}[c]);\n",
                  op.index, place.table)
       << indent << formatv("shared[{0} + c] = turn.y;\n", place.slot) << indent
       << formatv("shared[{0} + c] = turn.x;\n", place.slot + pairs);
  });
  os << indent << "__syncthreads();\n";
  return place.slot;
}

void RowwisePrinter::printRope(int number) {
  const RowOp &op = spec.ops[number];
  int64_t pairs = op.inverseFrequencies.size();
  int64_t headDim = op.width / op.groups;
  int64_t slot = printAngles(op);
  std::string magnitude =
      op.magnitude == 1 ? "" : f32Literal(op.magnitude) + " * ";
  loop(op.groups * pairs, "c", "threadIdx.x", "kThreads", [&] {
    int64_t step = op.interleaved ? 2 : 1;
    int64_t distance = op.interleaved ? 1 : pairs;
    os << indent
       << formatv("int i = c / {0} * {1} + c % {0} * {2}, j = i + {3};\n",
                  pairs, headDim, step, distance);
    std::string x = eval(op.inputs[0], "i"), y = eval(op.inputs[0], "j");
    os << indent
       << formatv("float cosine = shared[{0} + c % {1}], sine = shared[{2} + "
                  "c % {1}];\n",
                  slot, pairs, slot + pairs)
       << indent
       << formatv("{0} = {3}({1} * cosine - {2} * sine);\n", kept(number, "i"),
                  x, y, magnitude)
       << indent
       << formatv("{0} = {3}({2} * cosine + {1} * sine);\n", kept(number, "j"),
                  x, y, magnitude);
  });
  int64_t rest = headDim - 2 * pairs;
  if (rest)
    loop(op.groups * rest, "c", "threadIdx.x", "kThreads", [&] {
      os << indent
         << formatv("int i = c / {0} * {1} + {2} + c % {0};\n", rest, headDim,
                    2 * pairs);
      std::string x = eval(op.inputs[0], "i");
      os << indent << kept(number, "i") << " = " << x << ";\n";
    });
  os << indent << "__syncthreads();\n";
  isKept[number] = true;
}

void RowwisePrinter::printJoin(int number) {
  const RowOp &op = spec.ops[number];
  int64_t first = spec.ops[op.inputs[0]].width / op.groups;
  int64_t second = op.width / op.groups - first;
  bool isOnePart = spec.ops[op.inputs[1]].width == second;
  auto copy = [&](int input, int64_t count, int64_t offset, bool repeats) {
    loop(op.groups * count, "c", "threadIdx.x", "kThreads", [&] {
      os << indent
         << formatv("int i = {0}, j = c / {1} * {2} + {3} + c % {1};\n",
                    repeats ? formatv("c % {0}", count).str() : "c", count,
                    first + second, offset);
      std::string x = eval(input, "i");
      os << indent << kept(number, "j") << " = " << x << ";\n";
    });
  };
  copy(op.inputs[0], first, 0, false);
  copy(op.inputs[1], second, first, isOnePart);
  os << indent << "__syncthreads();\n";
  isKept[number] = true;
}

void RowwisePrinter::printBody() {
  isKept.assign(spec.ops.size(), false);
  isStored.assign(spec.stores.size(), false);
  for (auto [number, op] : enumerate(spec.ops)) {
    bool rope = op.kind == Kind::Rope, join = op.kind == Kind::JoinHeads;
    if (!rope && !join && !isNorm(number))
      continue;
    for (int input : ArrayRef(op.inputs).take_front(join ? 2 : 1))
      if (slots[input] >= 0)
        keep(input);
    if (rope)
      printRope(number);
    else if (join)
      printJoin(number);
    else if (op.groups > 1)
      printGroupedNorm(number);
    else
      printNorm(number);
  }
  for (size_t first = 0; first < spec.stores.size(); ++first) {
    if (isStored[first])
      continue;
    int64_t width = spec.ops[spec.stores[first].op].width;
    columns(width, [&] {
      for (size_t number = first; number < spec.stores.size(); ++number) {
        if (isStored[number] || spec.ops[spec.stores[number].op].width != width)
          continue;
        store(number, "c");
        isStored[number] = true;
      }
    });
  }
}

void RowwisePrinter::print(CudaKernel &result) {
  int64_t widest = 1;
  for (const RowOp &op : spec.ops)
    widest = std::max(widest, op.width);
  threads = widest > 1024 ? 256 : 128;
  planShared();
  os << deviceText("Common") << '\n';
  printTables();
  os << "\nconstexpr int kThreads = " << threads << ";\n\n"
     << "extern \"C\" __global__ void __launch_bounds__(kThreads)\n"
     << result.symbol << "(";
  for (auto [number, operand] : enumerate(spec.operands))
    os << "const " << typeName(operand.element) << " *in" << number << ",\n"
       << "    ";
  for (auto [number, store] : enumerate(spec.stores))
    os << typeName(store.element) << " *out" << number << ",\n    ";
  os << "Index rows) {\n"
     << "  extern __shared__ float shared[];\n";
  bool sumsRows = any_of(spec.ops, [](const RowOp &op) {
    return op.groups == 1 &&
           (op.kind == Kind::RmsNorm || op.kind == Kind::LayerNorm);
  });
  if (sumsRows)
    os << "  __shared__ float partial[kThreads / 32];\n";
  os << "  for (Index row = blockIdx.x; row < rows; row += gridDim.x) {\n";
  printBody();
  os << "    __syncthreads(); // The next row reuses shared memory.\n"
     << "  }\n}\n";
  result.grid = {{.extent = 0}};
  result.block = threads;
  result.dynamicSharedBytes = uint64_t(sharedFloats) * 4;
}

void cuda::emitRowwise(raw_ostream &os, const RowwiseSpec &spec,
                       CudaKernel &result) {
  RowwisePrinter(os, spec).print(result);
}
