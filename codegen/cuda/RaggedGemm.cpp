//===- RaggedGemm.cpp - the GEMM of every expert over its own rows --------===//
//
// Grouped: device/RaggedGemmMma.cuh for bf16, device/RaggedGemmFma.cuh for
// f32; any grid is right, and one block for each tile of rows and columns is
// enough for all but the experts' last rows, which blocks take as a second
// tile. Direct: device/RaggedGemmDirect.cuh, a block for each pair and 16
// columns; this grid exactly.
//
// The algorithms are in the device files; what differs by spec is the struct
// `Op` that is printed here: constants, where a row comes from, and the
// epilogue.
//
//===----------------------------------------------------------------------===//

#include "codegen/cuda/Kernels.h"
#include "llvm/Support/FormatVariadic.h"

using namespace llvm;
using namespace moec;
using namespace moec::cuda;
using kernel::RaggedGemmSpec;

// As in the device files.
static constexpr int64_t kTile = 64, kDirectColumns = 16;

/// The body of Op::finish.
static void printEpilogue(raw_ostream &os, const RaggedGemmSpec &spec) {
  int64_t slabs = spec.gated ? 2 : 1;
  for (int64_t slab = 0; slab < slabs; ++slab) {
    os << formatv("    float x{0} = made[{0}];\n", slab);
    if (spec.bias)
      os << formatv("    x{0} += bias[(Index(expert) * {1} + {0}) * kN + "
                    "column];\n",
                    slab, slabs);
  }
  os << "    float x = " << activationText(spec.activation, "x0") << ";\n";
  if (spec.gated)
    os << "    x *= x1;\n";
  if (spec.weighted)
    os << "    x *= pairWeight[pair];\n";
  os << "    out[Index(pair) * kN + column] = " << fromF32(spec.out, "x")
     << ";\n";
}

static void printOp(raw_ostream &os, const RaggedGemmSpec &spec, bool grouped) {
  os << formatv("struct Op {{\n"
                "  static constexpr int kExperts = {0}, kN = {1}, kK = {2};\n"
                "  static constexpr int kSlabs = {3};\n",
                spec.experts, spec.n, spec.k, spec.gated ? 2 : 1);
  if (grouped)
    os << "  const int *order;\n";
  if (spec.searchesToken())
    os << "  const int *tokenOffsets;\n";
  if (spec.bias)
    os << "  const float *bias;\n";
  if (spec.weighted)
    os << "  const float *pairWeight;\n";
  os << "  " << typeName(spec.out) << " *out;\n"
     << "  int pairs;\n"
     << (spec.searchesToken() ? "  int tokens;\n\n" : "\n")
     << "  __device__ int pair(int row) const { return "
     << (grouped ? "order[row]" : "row") << "; }\n"
     << "  __device__ int sourceRow(int row) const { return ";
  if (!spec.gather)
    os << "pair(row)";
  else if (spec.topk == 0)
    os << "tokenOf(tokenOffsets, tokens, pair(row))";
  else
    os << "pair(row) / " << spec.topk;
  os << "; }\n"
     << "  __device__ void finish(int expert, int pair, int column,\n"
     << "                         const float (&made)[kSlabs]) const {\n";
  printEpilogue(os, spec);
  os << "  }\n};\n\n";
}

void cuda::emitRaggedGemm(raw_ostream &os, const RaggedGemmSpec &spec,
                          CudaKernel &result) {
  bool grouped = spec.form == RaggedGemmSpec::Form::Grouped;
  bool mma = spec.a == ElementType::bf16;
  os << deviceText("Common") << '\n';
  if (grouped)
    os << deviceText("Async") << '\n'
       << deviceText("RaggedTiles") << '\n'
       << deviceText(mma ? "RaggedGemmMma" : "RaggedGemmFma") << '\n';
  else
    os << deviceText("RaggedGemmDirect") << '\n';
  printOp(os, spec, grouped);

  StringRef a = typeName(spec.a);
  StringRef space = !grouped ? "direct" : mma ? "mma" : "fmas";
  result.block = !grouped || mma ? 128 : 256;
  os << formatv(
      "extern \"C\" __global__ void __launch_bounds__({0}::kThreads,\n"
      "    {0}::kBlocks)\n"
      "{1}(const {2} *a, ",
      space, result.symbol, a);
  os << (grouped ? "const int *expertOffsets, const int *order,\n"
                 : "const int *pairExpert,\n")
     << "    ";
  if (spec.searchesToken())
    os << "const int *tokenOffsets, ";
  os << "const " << a << " *w, ";
  if (spec.bias)
    os << "const float *bias, ";
  if (spec.weighted)
    os << "const float *pairWeight, ";
  os << '\n'
     << "    " << typeName(spec.out) << " *out, Index pairs"
     << (spec.searchesToken() ? ", Index tokens" : "") << ") {\n"
     << "  Op op = {" << (grouped ? "order, " : "")
     << (spec.searchesToken() ? "tokenOffsets, " : "")
     << (spec.bias ? "bias, " : "") << (spec.weighted ? "pairWeight, " : "")
     << "out, int(pairs)" << (spec.searchesToken() ? ", int(tokens)" : "")
     << "};\n";
  if (grouped)
    os << "  extern __shared__ __align__(16) char shared[];\n"
       << "  int *firstTile = reinterpret_cast<int *>(shared);\n"
       << formatv("  auto *stages = reinterpret_cast<{0} *>(shared + {1});\n",
                  a, (spec.experts + 1 + 3) / 4 * 16)
       << formatv("  {0}::raggedGemm(op, a, w, expertOffsets, firstTile, "
                  "stages);\n",
                  space);
  else
    os << "  direct::raggedGemm(op, a, w, pairExpert);\n";
  os << "}\n";

  int64_t slabs = spec.gated ? 2 : 1;
  if (grouped) {
    int64_t stages = mma ? 3 : 2;
    result.dynamicSharedBytes =
        (spec.experts + 1 + 3) / 4 * 16 + stages * (kTile + kTile * slabs) * 80;
    result.grid = {{.extent = 0, .divisor = kTile},
                   {.constant = spec.n, .divisor = kTile}};
  } else {
    result.grid = {{.extent = 0},
                   {.constant = spec.n, .divisor = kDirectColumns}};
  }
  // A group of K elements makes a row of a panel contiguous.
  result.weight = kernel::WeightLayout{.gated = spec.gated,
                                       .element = spec.w,
                                       .panel = unsigned(kTile),
                                       .group = unsigned(spec.k)};
}
