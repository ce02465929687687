// The documented result: products are added up in f32 by growing k (f64 in
// double, integers exactly), then scale, C, bias, activation, scale of D.
#include "tools/cudasim/fakes/cublaslt/Problem.h"

#include "ir/support/ElementType.h"
#include "tools/cudasim/driver/PrivateApi.h"
#include "tools/cudasim/fakes/Formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cudasim::cublaslt {

namespace {

template <typename T> T load(const char *base, uint64_t index) {
  T value;
  std::memcpy(&value, base + index * sizeof(T), sizeof(T));
  return value;
}

double readElement(int type, const char *base, uint64_t index) {
  switch (type) {
  case CUDA_R_8I:
    return load<int8_t>(base, index);
  case CUDA_R_32I:
    return load<int32_t>(base, index);
  case CUDA_R_8F_E4M3:
    return fakes::smallToF32(fakes::kE4m3, load<uint8_t>(base, index));
  case CUDA_R_8F_E5M2:
    return fakes::smallToF32(fakes::kE5m2, load<uint8_t>(base, index));
  case CUDA_R_16F:
    return moec::f16ToF32(load<uint16_t>(base, index));
  case CUDA_R_16BF:
    return moec::bf16ToF32(load<uint16_t>(base, index));
  case CUDA_R_32F:
    return load<float>(base, index);
  default:
    return load<double>(base, index);
  }
}

template <typename T> void put(char *base, uint64_t index, T value) {
  std::memcpy(base + index * sizeof(T), &value, sizeof(T));
}

void writeElement(int type, char *base, uint64_t index, double value) {
  switch (type) {
  case CUDA_R_8I:
    return put(base, index,
               int8_t(std::clamp(std::nearbyint(value), -128.0, 127.0)));
  case CUDA_R_32I:
    return put(base, index,
               int32_t(std::clamp(std::nearbyint(value), -2147483648.0,
                                  2147483647.0)));
  case CUDA_R_8F_E4M3:
    return put(base, index, fakes::f32ToSmall(fakes::kE4m3, float(value)));
  case CUDA_R_8F_E5M2:
    return put(base, index, fakes::f32ToSmall(fakes::kE5m2, float(value)));
  case CUDA_R_16F:
    return put(base, index, moec::f32ToF16(float(value)));
  case CUDA_R_16BF:
    return put(base, index, moec::f32ToBf16(float(value)));
  case CUDA_R_32F:
    return put(base, index, float(value));
  default:
    return put(base, index, value);
  }
}

char *bytesAt(uint64_t address) {
  return static_cast<char *>(moecCudasimBytes(address));
}

double readScale(uint64_t address) {
  return address ? load<float>(bytesAt(address), 0) : 1.0;
}

constexpr double kRootTwoOverPi = 0.7978845608028654;
constexpr double kGeluCube = 0.044715;

double gelu(double x) {
  return 0.5 * x *
         (1 + std::tanh(kRootTwoOverPi * (x + kGeluCube * x * x * x)));
}

double geluSlope(double x) {
  double t = std::tanh(kRootTwoOverPi * (x + kGeluCube * x * x * x));
  return 0.5 * (1 + t) +
         0.5 * x * (1 - t * t) * kRootTwoOverPi * (1 + 3 * kGeluCube * x * x);
}

/// An operand as a plain array, rows x cols of op(X) with k innermost.
template <typename T>
std::vector<T> gather(const Matrix &matrix, uint64_t batch, uint64_t outer,
                      uint64_t inner, bool innerIsRow) {
  std::vector<T> values(outer * inner);
  const char *base = bytesAt(matrix.address);
  for (uint64_t o = 0; o != outer; ++o)
    for (uint64_t i = 0; i != inner; ++i) {
      uint64_t at =
          innerIsRow ? matrix.at(batch, i, o) : matrix.at(batch, o, i);
      values[o * inner + i] = T(readElement(int(matrix.layout.type), base, at));
    }
  return values;
}

/// What is kept of a batch entry while it is computed.
class Entry {
public:
  Entry(const Problem &problem, uint64_t batch) : p(problem), batch(batch) {}
  template <typename T> void run();
  double amax = 0;
  double auxAmax = 0;

private:
  double finish(uint64_t row, uint64_t col, double product);
  double scaleOf(uint64_t address, double host, bool vector, uint64_t row);
  template <typename T>
  void gradients(const std::vector<T> &a, const std::vector<T> &b);
  bool maskAt(uint64_t row, uint64_t col) const;
  void setMask(uint64_t row, uint64_t col, bool value);

  const Problem &p;
  uint64_t batch;
  std::vector<double> columnSums;
};

uint64_t auxIndex(const Problem &p, uint64_t batch, uint64_t row,
                  uint64_t col) {
  return batch * uint64_t(p.desc.auxStride) + col * uint64_t(p.desc.auxLd) +
         row;
}

bool Entry::maskAt(uint64_t row, uint64_t col) const {
  uint64_t bit = auxIndex(p, batch, row, col);
  return bytesAt(p.desc.aux)[bit / 8] >> (bit % 8) & 1;
}

void Entry::setMask(uint64_t row, uint64_t col, bool value) {
  uint64_t bit = auxIndex(p, batch, row, col);
  char &byte = bytesAt(p.desc.aux)[bit / 8];
  byte = char((byte & ~(1 << (bit % 8))) | (value << (bit % 8)));
}

double Entry::scaleOf(uint64_t address, double host, bool vector,
                      uint64_t row) {
  if (!address)
    return host;
  uint64_t index =
      vector ? batch * uint64_t(p.desc.alphaStride) + row : uint64_t(0);
  return readElement(p.desc.scale, bytesAt(address), index);
}

double Entry::finish(uint64_t row, uint64_t col, double product) {
  const Desc &desc = p.desc;
  bool vector = desc.pointerMode >= CUBLASLT_POINTER_MODE_DEVICE_VECTOR;
  bool vectorBeta = desc.pointerMode == CUBLASLT_POINTER_MODE_DEVICE_VECTOR;
  double value = scaleOf(p.alphaAt, p.alpha, vector, row) *
                 readScale(desc.aScale) * readScale(desc.bScale) * product;
  if (p.readsC()) {
    double beta = scaleOf(p.betaAt, p.beta, vectorBeta, row);
    double old = readElement(int(p.c.layout.type), bytesAt(p.c.address),
                             p.c.at(batch, row, col));
    // A beta of 0 leaves C unread, so that NaN in it does not matter.
    if (beta != 0)
      value += beta * readScale(desc.cScale) * old;
  }
  if (p.hasBias())
    value += readElement(p.biasType(), bytesAt(desc.bias),
                         batch * uint64_t(desc.biasStride) + row);
  uint32_t epilogue = desc.epilogue;
  if (epilogue & CUBLASLT_EPILOGUE_RELU) {
    if (p.hasAux())
      setMask(row, col, value > 0);
    value = value > 0 ? value : 0;
  } else if (epilogue & CUBLASLT_EPILOGUE_GELU) {
    if (p.hasAux()) {
      auxAmax = std::max(auxAmax, std::fabs(value));
      writeElement(p.auxType(), bytesAt(desc.aux), auxIndex(p, batch, row, col),
                   value * readScale(desc.auxScale));
    }
    value = gelu(value);
  } else if (epilogue & 8u) {
    value = maskAt(row, col) ? value : 0;
  } else if (epilogue & 64u) {
    value *= geluSlope(readElement(p.auxType(), bytesAt(desc.aux),
                                   auxIndex(p, batch, row, col)));
  }
  return value;
}

template <typename T>
void Entry::gradients(const std::vector<T> &a, const std::vector<T> &b) {
  const Desc &desc = p.desc;
  uint64_t length = p.biasLength();
  std::vector<double> sums(length);
  if (desc.epilogue == CUBLASLT_EPILOGUE_BGRADA ||
      desc.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
    const std::vector<T> &from =
        desc.epilogue == CUBLASLT_EPILOGUE_BGRADA ? a : b;
    for (uint64_t i = 0; i != length; ++i)
      for (uint64_t k = 0; k != p.k; ++k)
        sums[i] += double(from[i * p.k + k]);
  } else {
    sums = columnSums;
  }
  for (uint64_t i = 0; i != length; ++i)
    writeElement(p.biasType(), bytesAt(desc.bias),
                 batch * uint64_t(desc.biasStride) + i, sums[i]);
}

template <typename T> void Entry::run() {
  bool ta = p.desc.transA != CUBLAS_OP_N;
  bool tb = p.desc.transB != CUBLAS_OP_N;
  std::vector<T> a = gather<T>(p.a, batch, p.m, p.k, /*innerIsRow=*/ta);
  std::vector<T> b = gather<T>(p.b, batch, p.n, p.k, /*innerIsRow=*/!tb);
  columnSums.assign(p.m, 0);
  double dScale = readScale(p.desc.dScale);
  for (uint64_t col = 0; col != p.n; ++col)
    for (uint64_t row = 0; row != p.m; ++row) {
      const T *x = &a[row * p.k];
      const T *y = &b[col * p.k];
      T sum = 0;
      for (uint64_t k = 0; k != p.k; ++k)
        sum += x[k] * y[k];
      double value = finish(row, col, double(sum));
      columnSums[row] += value;
      amax = std::max(amax, std::fabs(value));
      writeElement(int(p.d.layout.type), bytesAt(p.d.address),
                   p.d.at(batch, row, col), value * dScale);
    }
  if (p.hasBiasGradient())
    gradients(a, b);
}

} // namespace

void compute(const Problem &p) {
  // A real algorithm leaves its partial sums there; whoever shares it between
  // streams, or expects it back, finds this.
  if (p.workspace)
    std::memset(bytesAt(p.workspace), 0xa5, p.workspaceBytes);
  double amax = 0;
  double auxAmax = 0;
  for (uint64_t batch = 0; batch != p.batch; ++batch) {
    Entry entry(p, batch);
    switch (p.desc.compute) {
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
      entry.run<double>();
      break;
    case CUBLAS_COMPUTE_32I:
    case CUBLAS_COMPUTE_32I_PEDANTIC:
      entry.run<int64_t>();
      break;
    default:
      entry.run<float>();
      break;
    }
    amax = std::max(amax, entry.amax);
    auxAmax = std::max(auxAmax, entry.auxAmax);
  }
  if (p.desc.dAmax)
    put(bytesAt(p.desc.dAmax), 0, float(amax));
  if (p.desc.auxAmax)
    put(bytesAt(p.desc.auxAmax), 0, float(auxAmax));
  for (const Range &range : rangesOf(p))
    if (range.write)
      moecCudasimWritten(range.address, range.bytes);
}

} // namespace cudasim::cublaslt
