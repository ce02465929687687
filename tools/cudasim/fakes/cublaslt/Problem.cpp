// What cuBLASLt documents as supported, and what it says to the rest.
#include "tools/cudasim/fakes/cublaslt/Problem.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <algorithm>
#include <string_view>

namespace cudasim::cublaslt {

uint64_t Matrix::bytes() const {
  if (layout.rows == 0 || layout.cols == 0)
    return 0;
  return (at(uint64_t(layout.batch) - 1, layout.rows - 1, layout.cols - 1) +
          1) *
         bytesOf(int(layout.type));
}

static bool isFp8(int type) {
  return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2;
}

int Problem::biasType() const {
  if (desc.biasType >= 0)
    return desc.biasType;
  int out = int(d.layout.type);
  if (isFp8(int(a.layout.type)))
    return isFp8(out) || out == CUDA_R_32F ? CUDA_R_16BF : out;
  if (desc.compute == CUBLAS_COMPUTE_32I && out == CUDA_R_8I)
    return desc.scale;
  return out;
}

int Problem::auxType() const {
  return desc.auxType >= 0 ? desc.auxType : int(d.layout.type);
}

bool Problem::hasBiasGradient() const {
  return desc.epilogue &
         (16u | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB);
}

bool Problem::readsAux() const {
  return (desc.epilogue & 8u) || (desc.epilogue & 64u);
}

bool Problem::auxIsMask() const {
  return (desc.epilogue & CUBLASLT_EPILOGUE_RELU) || (desc.epilogue & 8u);
}

uint64_t Problem::biasLength() const {
  return desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m;
}

namespace {

bool isEpilogue(uint32_t epilogue) {
  switch (epilogue) {
  case CUBLASLT_EPILOGUE_DEFAULT:
  case CUBLASLT_EPILOGUE_RELU:
  case CUBLASLT_EPILOGUE_RELU_AUX:
  case CUBLASLT_EPILOGUE_BIAS:
  case CUBLASLT_EPILOGUE_RELU_BIAS:
  case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
  case CUBLASLT_EPILOGUE_DRELU:
  case CUBLASLT_EPILOGUE_DRELU_BGRAD:
  case CUBLASLT_EPILOGUE_GELU:
  case CUBLASLT_EPILOGUE_GELU_AUX:
  case CUBLASLT_EPILOGUE_GELU_BIAS:
  case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
  case CUBLASLT_EPILOGUE_DGELU:
  case CUBLASLT_EPILOGUE_DGELU_BGRAD:
  case CUBLASLT_EPILOGUE_BGRADA:
  case CUBLASLT_EPILOGUE_BGRADB:
    return true;
  default:
    return false;
  }
}

/// A row of the table of types that go together.
struct Types {
  int a, b, c, d;
};

constexpr Types kFloatTypes[] = {
    {CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
    {CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF},
    {CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUDA_R_32F},
    {CUDA_R_16F, CUDA_R_16F, CUDA_R_16F, CUDA_R_16F},
    {CUDA_R_16F, CUDA_R_16F, CUDA_R_32F, CUDA_R_32F},
    {CUDA_R_8I, CUDA_R_8I, CUDA_R_32F, CUDA_R_32F},
};

// E4M3 times either, or E5M2 times E4M3; C is never 8 bits wide.
bool areFp8Types(const Types &t) {
  if (!isFp8(t.a) || !isFp8(t.b) ||
      (t.a == CUDA_R_8F_E5M2 && t.b == CUDA_R_8F_E5M2))
    return false;
  if (t.c == CUDA_R_32F)
    return t.d == CUDA_R_32F;
  if (t.c != CUDA_R_16BF && t.c != CUDA_R_16F)
    return false;
  return t.d == t.c || t.d == CUDA_R_8F_E4M3 ||
         (t.d == CUDA_R_8F_E5M2 &&
          (t.a == CUDA_R_8F_E5M2 || t.b == CUDA_R_8F_E5M2));
}

bool areSupported(const Desc &desc, const Types &t) {
  auto is = [&](const Types &other) {
    return t.a == other.a && t.b == other.b && t.c == other.c && t.d == other.d;
  };
  switch (desc.compute) {
  case CUBLAS_COMPUTE_32F:
  case CUBLAS_COMPUTE_32F_PEDANTIC:
    return desc.scale == CUDA_R_32F &&
           (areFp8Types(t) ||
            std::any_of(std::begin(kFloatTypes), std::end(kFloatTypes), is));
  case CUBLAS_COMPUTE_32F_FAST_16F:
  case CUBLAS_COMPUTE_32F_FAST_16BF:
  case CUBLAS_COMPUTE_32F_FAST_TF32:
    return desc.scale == CUDA_R_32F && is(kFloatTypes[0]);
  case CUBLAS_COMPUTE_16F:
  case CUBLAS_COMPUTE_16F_PEDANTIC:
    return desc.scale == CUDA_R_16F &&
           is({CUDA_R_16F, CUDA_R_16F, CUDA_R_16F, CUDA_R_16F});
  case CUBLAS_COMPUTE_64F:
  case CUBLAS_COMPUTE_64F_PEDANTIC:
    return desc.scale == CUDA_R_64F &&
           is({CUDA_R_64F, CUDA_R_64F, CUDA_R_64F, CUDA_R_64F});
  case CUBLAS_COMPUTE_32I:
  case CUBLAS_COMPUTE_32I_PEDANTIC:
    return (desc.scale == CUDA_R_32I &&
            is({CUDA_R_8I, CUDA_R_8I, CUDA_R_32I, CUDA_R_32I})) ||
           (desc.scale == CUDA_R_32F &&
            is({CUDA_R_8I, CUDA_R_8I, CUDA_R_8I, CUDA_R_8I}));
  default:
    return false;
  }
}

cublasStatus_t invalid(const std::string &why) {
  return refuse(CUBLAS_STATUS_INVALID_VALUE, why);
}

cublasStatus_t unsupported(const std::string &why) {
  return refuse(CUBLAS_STATUS_NOT_SUPPORTED, why);
}

std::string shapeText(uint64_t rows, uint64_t cols) {
  return std::to_string(rows) + "x" + std::to_string(cols);
}

// One layout by itself.
cublasStatus_t checkLayout(const char *name, const Layout &layout) {
  constexpr uint64_t kMost = INT32_MAX;
  std::string who = std::string("matrix ") + name + ": ";
  if (layout.order != CUBLASLT_ORDER_COL && layout.order != CUBLASLT_ORDER_ROW)
    return unsupported(who + "order " + std::to_string(layout.order) +
                       ", but only column and row order are simulated");
  if (bytesOf(int(layout.type)) == 0)
    return unsupported(who + "data type " + std::to_string(layout.type));
  if (layout.rows == 0 || layout.cols == 0 || layout.rows > kMost ||
      layout.cols > kMost)
    return invalid(who + "a shape of " + shapeText(layout.rows, layout.cols));
  bool byRow = layout.order == CUBLASLT_ORDER_ROW;
  uint64_t least = byRow ? layout.cols : layout.rows;
  if (layout.ld < 0 || uint64_t(layout.ld) < least ||
      uint64_t(layout.ld) > kMost)
    return invalid(who + "the leading dimension is " +
                   std::to_string(layout.ld) + ", but there are " +
                   std::to_string(least) + (byRow ? " columns" : " rows"));
  if (layout.batch < 1 || layout.stride < 0 || layout.stride > int64_t(1) << 40)
    return invalid(who + "a batch of " + std::to_string(layout.batch) +
                   " with a stride of " + std::to_string(layout.stride));
  if (layout.plane != 0 || layout.batchMode != 0)
    return unsupported(who + "planes and arrays of pointers are not simulated");
  return CUBLAS_STATUS_SUCCESS;
}

bool isOperation(int op) {
  return op == CUBLAS_OP_N || op == CUBLAS_OP_T || op == CUBLAS_OP_C;
}

cublasStatus_t checkDesc(const Desc &desc) {
  if (!isOperation(desc.transA) || !isOperation(desc.transB))
    return invalid("an operation is neither N, T nor C");
  if (desc.transC != CUBLAS_OP_N)
    return unsupported("C cannot be transposed");
  if (desc.fill != CUBLAS_FILL_MODE_FULL)
    return unsupported("only full matrices are simulated");
  if (!isEpilogue(desc.epilogue))
    return unsupported("epilogue " + std::to_string(desc.epilogue));
  if (desc.pointerMode < CUBLASLT_POINTER_MODE_HOST ||
      desc.pointerMode > CUBLASLT_POINTER_MODE_ALPHA_DEVICE_VECTOR_BETA_HOST)
    return invalid("pointer mode " + std::to_string(desc.pointerMode));
  if (desc.aScaleMode || desc.bScaleMode || desc.cScaleMode ||
      desc.dScaleMode || desc.auxScaleMode || desc.dOutScaleMode ||
      desc.dOutScale)
    return unsupported("only one f32 scale a matrix is simulated");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t checkEpilogue(const Problem &p) {
  const Desc &desc = p.desc;
  if ((p.hasBias() || p.hasBiasGradient()) && bytesOf(p.biasType()) == 0)
    return unsupported("bias type " + std::to_string(p.biasType()));
  if (p.hasAux()) {
    int64_t unit = p.auxIsMask() ? 128 : 8;
    if (desc.auxLd < int64_t(p.m) || desc.auxLd % unit != 0)
      return invalid("the leading dimension of the aux buffer is " +
                     std::to_string(desc.auxLd) + ", but it must be at least " +
                     std::to_string(p.m) + " and divisible by " +
                     std::to_string(unit));
    if (desc.auxStride < 0 || desc.auxStride % unit != 0)
      return invalid("the batch stride of the aux buffer is " +
                     std::to_string(desc.auxStride));
    if (!p.auxIsMask() && bytesOf(p.auxType()) == 0)
      return unsupported("aux type " + std::to_string(p.auxType()));
  }
  if (p.batch > 1 && (p.hasBias() || p.hasBiasGradient()) &&
      desc.biasStride < 0)
    return invalid("the batch stride of the bias is " +
                   std::to_string(desc.biasStride));
  bool fp8 = isFp8(int(p.a.layout.type));
  if (!fp8 && (desc.aScale || desc.bScale || desc.cScale || desc.dScale ||
               desc.dAmax || desc.auxScale || desc.auxAmax))
    return invalid("scale and amax pointers are for 8-bit floats");
  return CUBLAS_STATUS_SUCCESS;
}

// 8-bit matrices: A transposed and B not, in column order, by sixteens.
cublasStatus_t checkNarrow(const Problem &p) {
  if (p.desc.transA == CUBLAS_OP_N || p.desc.transB != CUBLAS_OP_N ||
      p.a.layout.order != CUBLASLT_ORDER_COL ||
      p.b.layout.order != CUBLASLT_ORDER_COL)
    return unsupported("8-bit floats need A transposed, B not, and column "
                       "order");
  for (const Matrix *matrix : {&p.a, &p.b, &p.c, &p.d}) {
    uint64_t bytes = bytesOf(int(matrix->layout.type));
    if (matrix->layout.ld * int64_t(bytes) % 16 != 0)
      return unsupported("8-bit floats need leading dimensions of whole 16 "
                         "bytes, not " +
                         std::to_string(matrix->layout.ld) + " elements");
  }
  if (p.k % 16 != 0 || p.m % 16 != 0)
    return unsupported("8-bit floats need m and k divisible by 16, not " +
                       std::to_string(p.m) + " and " + std::to_string(p.k));
  return CUBLAS_STATUS_SUCCESS;
}

} // namespace

cublasStatus_t describe(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                        cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                        cublasLtMatrixLayout_t d, Problem &p) {
  if (!descOf(desc))
    return invalid("the matmul descriptor was not initialised");
  struct {
    const char *name;
    cublasLtMatrixLayout_t handle;
    Matrix *matrix;
  } operands[] = {
      {"A", a, &p.a}, {"B", b, &p.b}, {"C", c, &p.c}, {"D", d, &p.d}};
  for (auto &operand : operands) {
    const Layout *layout = layoutOf(operand.handle);
    if (!layout)
      return invalid(std::string("the layout of ") + operand.name +
                     " was not initialised");
    operand.matrix->layout = *layout;
    if (cublasStatus_t bad = checkLayout(operand.name, *layout))
      return bad;
  }
  p.desc = *descOf(desc);
  if (cublasStatus_t bad = checkDesc(p.desc))
    return bad;
  const Layout &la = p.a.layout;
  const Layout &lb = p.b.layout;
  const Layout &lc = p.c.layout;
  const Layout &ld = p.d.layout;
  Types types = {int(la.type), int(lb.type), int(lc.type), int(ld.type)};
  if (!areSupported(p.desc, types))
    return unsupported(std::string("A ") + nameOf(types.a) + ", B " +
                       nameOf(types.b) + ", C " + nameOf(types.c) + ", D " +
                       nameOf(types.d) + " with compute type " +
                       std::to_string(p.desc.compute) + " and scale type " +
                       nameOf(p.desc.scale));
  bool ta = p.desc.transA != CUBLAS_OP_N;
  bool tb = p.desc.transB != CUBLAS_OP_N;
  p.m = ld.rows;
  p.n = ld.cols;
  p.k = ta ? la.rows : la.cols;
  uint64_t aRows = ta ? la.cols : la.rows;
  uint64_t bRows = tb ? lb.cols : lb.rows;
  uint64_t bCols = tb ? lb.rows : lb.cols;
  if (aRows != p.m || bCols != p.n || bRows != p.k)
    return invalid("op(A) is " + shapeText(aRows, p.k) + " and op(B) is " +
                   shapeText(bRows, bCols) + ", but D is " +
                   shapeText(p.m, p.n));
  if (lc.rows != p.m || lc.cols != p.n)
    return invalid("C is " + shapeText(lc.rows, lc.cols) + ", but D is " +
                   shapeText(p.m, p.n));
  if (lc.order != ld.order)
    return unsupported("C and D need one order");
  p.batch = uint64_t(ld.batch);
  for (const Layout *layout : {&la, &lb, &lc})
    if (layout->batch != ld.batch)
      return invalid("batches of " + std::to_string(layout->batch) + " and " +
                     std::to_string(ld.batch));
  uint64_t span = p.d.at(0, p.m - 1, p.n - 1) + 1;
  if (p.batch > 1 && uint64_t(ld.stride) < span)
    return invalid("the batch stride of D is " + std::to_string(ld.stride) +
                   ", but one matrix takes " + std::to_string(span));
  if (isFp8(types.a))
    if (cublasStatus_t bad = checkNarrow(p))
      return bad;
  return checkEpilogue(p);
}

std::vector<Range> rangesOf(const Problem &p) {
  const Desc &desc = p.desc;
  std::vector<Range> ranges = {{"A", p.a.address, p.a.bytes(), false},
                               {"B", p.b.address, p.b.bytes(), false},
                               {"D", p.d.address, p.d.bytes(), true}};
  auto add = [&](const char *what, uint64_t address, uint64_t bytes,
                 bool write) {
    if (address)
      ranges.push_back({what, address, bytes, write});
  };
  if (p.readsC())
    ranges.push_back({"C", p.c.address, p.c.bytes(), false});
  uint64_t steps = p.batch - 1;
  if (p.hasBias() || p.hasBiasGradient())
    ranges.push_back({"the bias", desc.bias,
                      (steps * uint64_t(desc.biasStride) + p.biasLength()) *
                          bytesOf(p.biasType()),
                      p.hasBiasGradient()});
  if (p.hasAux()) {
    uint64_t elements = steps * uint64_t(desc.auxStride) +
                        (p.n - 1) * uint64_t(desc.auxLd) + p.m;
    ranges.push_back(
        {"the aux buffer", desc.aux,
         p.auxIsMask() ? (elements + 7) / 8 : elements * bytesOf(p.auxType()),
         !p.readsAux()});
  }
  uint64_t alphas = desc.pointerMode >= CUBLASLT_POINTER_MODE_DEVICE_VECTOR
                        ? steps * uint64_t(desc.alphaStride) + p.m
                        : 1;
  uint64_t scaleBytes = bytesOf(desc.scale);
  add("alpha", p.alphaAt, alphas * scaleBytes, false);
  add("beta", p.betaAt,
      (desc.pointerMode == CUBLASLT_POINTER_MODE_DEVICE_VECTOR ? alphas : 1) *
          scaleBytes,
      false);
  add("the scale of A", desc.aScale, 4, false);
  add("the scale of B", desc.bScale, 4, false);
  add("the scale of C", desc.cScale, 4, false);
  add("the scale of D", desc.dScale, 4, false);
  add("the scale of the aux buffer", desc.auxScale, 4, false);
  add("the amax of D", desc.dAmax, 4, true);
  add("the amax of the aux buffer", desc.auxAmax, 4, true);
  add("the workspace", p.workspace, p.workspaceBytes, true);
  return ranges;
}

// What the algorithm was chosen for, as far as vector loads care; never less
// than an element.
static cublasStatus_t checkAlignment(const Problem &p, const Algo &algo) {
  struct {
    const char *name;
    const Matrix &matrix;
    uint32_t promised;
  } operands[] = {{"A", p.a, algo.alignA},
                  {"B", p.b, algo.alignB},
                  {"C", p.c, algo.alignC},
                  {"D", p.d, algo.alignD}};
  for (const auto &operand : operands) {
    if (operand.matrix.address == 0)
      continue;
    uint64_t needed = std::max<uint64_t>(
        std::min(operand.promised, kVectorBytes),
        isFp8(int(p.a.layout.type)) ? 16
                                    : bytesOf(int(operand.matrix.layout.type)));
    if (operand.matrix.address % needed != 0)
      return invalid(std::string(operand.name) + " is not aligned to " +
                     std::to_string(needed) +
                     " bytes, which the algorithm was chosen for");
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t checkPointers(const Problem &p, const Algo &algo) {
  if (cublasStatus_t bad = checkAlignment(p, algo))
    return bad;
  if (p.workspace % 16 != 0)
    return invalid("the workspace is not aligned to 16 bytes");
  std::vector<Range> ranges = rangesOf(p);
  for (const Range &range : ranges) {
    char why[512] = "";
    if (!range.address)
      return invalid(std::string(range.what) + " is null");
    if (moecCudasimCheckRange(p.device, range.address, range.bytes, range.write,
                              why, sizeof why) != CUDA_SUCCESS)
      return invalid(std::string(range.what) + ": " + why);
  }
  // What is written may be nothing else that is touched, except that D may
  // take the place of C.
  for (const Range &written : ranges)
    for (const Range &other : ranges) {
      if (&other == &written || !written.write ||
          other.address >= written.address + written.bytes ||
          written.address >= other.address + other.bytes)
        continue;
      bool inPlace = written.what == std::string_view("D") &&
                     other.what == std::string_view("C") &&
                     p.c.address == p.d.address;
      if (!inPlace)
        return invalid(std::string(written.what) + " overlaps " + other.what);
      if (p.c.layout.ld != p.d.layout.ld || p.c.layout.type != p.d.layout.type)
        return invalid("D takes the place of C, but their layouts differ");
    }
  return CUBLAS_STATUS_SUCCESS;
}

} // namespace cudasim::cublaslt
