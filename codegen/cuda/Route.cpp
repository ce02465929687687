//===- Route.cpp - choosing experts ---------------------------------------===//
//
// Four warps a block, a token each; see device/Route.cuh.
//
//===----------------------------------------------------------------------===//

#include "codegen/cuda/Kernels.h"
#include "llvm/Support/FormatVariadic.h"

using namespace llvm;
using namespace moec;
using namespace moec::cuda;

static constexpr unsigned kThreads = 128, kTokens = kThreads / 32;

void cuda::emitRoute(raw_ostream &os, const kernel::RouteSpec &spec,
                     CudaKernel &result) {
  os << deviceText("Common") << '\n' << deviceText("Route") << '\n';
  os << formatv(
      "struct Op {{\n"
      "  static constexpr int kExperts = {0}, kTopk = {1};\n"
      "  // softmax, sigmoid, identity, relu; none, sum, softmax of chosen\n"
      "  static constexpr int kScore = {2}, kRenorm = {3};\n"
      "  static constexpr bool kSelectBias = {4}, kCounts = {5};\n"
      "  static constexpr bool kZscore = {6};\n"
      "  static constexpr int kGroups = {11}, kTopGroups = {12};\n"
      "  static constexpr int kGroupSummed = {13};\n"
      "  static constexpr bool kMaskZero = {14};\n"
      "  static __device__ float logitScale() {{ return {7}; }\n"
      "  static __device__ float renormEpsilon() {{ return {8}; }\n"
      "  static __device__ float renormMinimum() {{ return {9}; }\n"
      "  static __device__ float scale() {{ return {10}; }\n"
      "};\n\n",
      spec.experts, spec.topk, int(spec.score), int(spec.renorm),
      spec.selectBias ? "true" : "false", spec.counts ? "true" : "false",
      spec.zscore ? "true" : "false", f32Literal(spec.logitScale),
      f32Literal(spec.renormEpsilon), f32Literal(spec.renormMinimum),
      f32Literal(spec.scale), spec.groups, spec.topGroups, spec.groupSummed,
      spec.maskZero ? "true" : "false");
  os << formatv(
      "extern \"C\" __global__ void __launch_bounds__({0})\n"
      "{1}(const float *logits, {2}{5}\n"
      "    int *pairExpert, float *pairWeight, Index tokens) {{\n"
      "  for (Index token = Index(blockIdx.x) * {3} + threadIdx.x / 32;\n"
      "       token < tokens; token += Index(gridDim.x) * {3})\n"
      "    routeToken<Op>(logits, {4}, {6}, pairExpert, pairWeight,\n"
      "                   token);\n"
      "}\n",
      kThreads, result.symbol, spec.selectBias ? "const float *bias, " : "",
      kTokens, spec.selectBias ? "bias" : "nullptr",
      spec.counts ? "unsigned long long *counters," : "",
      spec.counts ? "counters" : "nullptr");
  result.grid = {{.extent = 0, .divisor = kTokens}};
  result.block = kThreads;
}
