#include "ir/ops/TensorOps.h"

#include "ir/interp/OpRunner.h"

#include <cmath>

using namespace moec;
using namespace moec::interp;

static constexpr double kSqrt2OverPi = 0.79788456080286535588;

double interp::apply(unsigned fn, double x) {
  switch (static_cast<ActivationFn>(fn)) {
  case ActivationFn::silu:
    return x / (1 + std::exp(-x));
  case ActivationFn::gelu_tanh:
    return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
  case ActivationFn::gelu_erf:
    return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case ActivationFn::quick_gelu:
    return x / (1 + std::exp(-1.702 * x));
  case ActivationFn::relu:
    return x > 0 || std::isnan(x) ? x : 0;
  case ActivationFn::squared_relu:
    return x > 0 || std::isnan(x) ? x * x : 0;
  case ActivationFn::sigmoid:
    return 1 / (1 + std::exp(-x));
  case ActivationFn::tanh:
    return std::tanh(x);
  }
  llvm_unreachable("every activation is computed");
}

double interp::dot(const double *a, const double *b, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int lane = 0; lane < 8; ++lane)
      sums[lane] += a[i + lane] * b[i + lane];
  for (; i < count; ++i)
    sums[i % 8] += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
         ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <typename F> static llvm::Error map(OpRunner &r, F f) {
  HostTensor &y = r.makeFloats(r.in(0).shape);
  for (int64_t i = 0; i < y.elements(); ++i)
    y.floats[i] = f(r.in(0).floats[i]);
  return llvm::Error::success();
}

llvm::Error interp::runActivation(OpRunner &r) {
  unsigned fn = unsigned(r.op.attrs<ActivationAttrs>().fn);
  return map(r, [&](double x) { return apply(fn, x); });
}
llvm::Error interp::runCast(OpRunner &r) {
  return map(r, [](double x) { return x; });
}
llvm::Error interp::runClamp(OpRunner &r) {
  double limit = r.op.attrs<ClampAttrs>().limit;
  return map(r, [&](double x) {
    return x > limit ? limit : x < -limit ? -limit : x;
  });
}
llvm::Error interp::runScale(OpRunner &r) {
  double factor = r.op.attrs<ScaleAttrs>().factor;
  return map(r, [&](double x) { return x * factor; });
}

template <typename F> static llvm::Error zip(OpRunner &r, F f) {
  const HostTensor &a = r.in(0), &b = r.in(1);
  HostTensor &y = r.makeFloats(a.shape);
  // A row on the right repeats for every row on the left, a column within it.
  bool column = a.shape != b.shape && b.shape.size() == 2;
  int64_t period = b.elements();
  for (int64_t i = 0; i < y.elements(); ++i)
    y.floats[i] = f(a.floats[i], b.floats[column ? i / a.dim(-1) : i % period]);
  return llvm::Error::success();
}

llvm::Error interp::runAdd(OpRunner &r) {
  return zip(r, [](double a, double b) { return a + b; });
}
llvm::Error interp::runSub(OpRunner &r) {
  return zip(r, [](double a, double b) { return a - b; });
}
llvm::Error interp::runMul(OpRunner &r) {
  return zip(r, [](double a, double b) { return a * b; });
}

static llvm::Error pickRows(OpRunner &r, unsigned table, unsigned index) {
  const HostTensor &from = r.in(table);
  int64_t count = r.in(index).dim(0), width = from.dim(1);
  HostTensor &y = r.makeFloats({count, width});
  for (int64_t i = 0; i < count; ++i) {
    MOEC_ASSIGN(int64_t row, r.index(index, i, from.dim(0)));
    std::copy_n(from.row(row), width, y.row(i));
  }
  return llvm::Error::success();
}
llvm::Error interp::runEmbedding(OpRunner &r) { return pickRows(r, 0, 1); }
llvm::Error interp::runGatherRows(OpRunner &r) { return pickRows(r, 0, 1); }

llvm::Error interp::runLayerNorm(OpRunner &r) {
  const HostTensor &x = r.in(0);
  double epsilon = r.op.attrs<LayerNormAttrs>().epsilon;
  HostTensor &y = r.makeFloats(x.shape);
  int64_t width = x.dim(-1);
  for (int64_t at = 0; at < x.elements(); at += width) {
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < width; ++i)
      mean += x.floats[at + i];
    mean /= width;
    for (int64_t i = 0; i < width; ++i)
      squares += (x.floats[at + i] - mean) * (x.floats[at + i] - mean);
    double scale = 1 / std::sqrt(squares / width + epsilon);
    for (int64_t i = 0; i < width; ++i)
      y.floats[at + i] = (x.floats[at + i] - mean) * scale * r.in(1).floats[i] +
                         r.in(2).floats[i];
  }
  return llvm::Error::success();
}

llvm::Error interp::runRmsNorm(OpRunner &r) {
  const HostTensor &x = r.in(0);
  const auto &attrs = r.op.attrs<RmsNormAttrs>();
  HostTensor &y = r.makeFloats(x.shape);
  int64_t width = x.dim(-1) / attrs.groups;
  for (int64_t at = 0; at < x.elements(); at += width) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i)
      squares += x.floats[at + i] * x.floats[at + i];
    double scale = 1 / std::sqrt(squares / width + attrs.epsilon);
    for (int64_t i = 0; i < width; ++i)
      y.floats[at + i] = x.floats[at + i] * scale * r.in(1).floats[i];
  }
  return llvm::Error::success();
}

llvm::Error interp::runLinear(OpRunner &r) {
  const HostTensor &x = r.in(0), &weight = r.in(1);
  int64_t rows = x.dim(0), out = weight.dim(0), in = weight.dim(1);
  HostTensor &y = r.makeFloats({rows, out});
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t n = 0; n < out; ++n) {
      double sum = dot(x.row(t), weight.row(n), in);
      y.row(t)[n] = sum + (r.inputs.size() == 3 ? r.in(2).floats[n] : 0);
    }
  return llvm::Error::success();
}

llvm::Error interp::runSlice(OpRunner &r) {
  const auto &attrs = r.op.attrs<SliceAttrs>();
  const HostTensor &x = r.in(0);
  HostTensor &y = r.makeFloats({x.dim(0), attrs.size});
  for (int64_t t = 0; t < x.dim(0); ++t)
    std::copy_n(x.row(t) + attrs.start, attrs.size, y.row(t));
  return llvm::Error::success();
}

// Blocks end in these; the interpreter's loop handles them.
llvm::Error interp::runReturn(OpRunner &) { return llvm::Error::success(); }
llvm::Error interp::runYield(OpRunner &) { return llvm::Error::success(); }

// Kernel ops run their bodies (Interpreter::runOp).
#define KERNEL(Name)                                                           \
  llvm::Error interp::run##Name(OpRunner &) {                                  \
    llvm_unreachable("the interpreter runs the body");                         \
  }
KERNEL(KernelAttention)
KERNEL(KernelCombine)
KERNEL(KernelDispatch)
KERNEL(KernelGateHeads)
KERNEL(KernelGemm)
KERNEL(KernelKvAppend)
KERNEL(KernelRaggedGemm)
KERNEL(KernelRoute)
KERNEL(KernelRowwise)
#undef KERNEL
