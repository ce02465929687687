#include "ir/weights/Materialize.h"

#include "ir/support/Memory.h"
#include "ir/support/Philox.h"
#include "ir/support/QuantizedBlocks.h"
#include "ir/support/Statistics.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"

#include <cmath>
#include <numeric>

using namespace moec;

const Expr &moec::resolve(const Expr &expr) {
  const Expr *at = &expr;
  while (at->kind == ExprKind::Ref)
    at = at->weight->expr.get();
  return *at;
}

const Expr *moec::asPlainSource(const Expr &expr) {
  const Expr &at = resolve(expr);
  if (at.kind == ExprKind::Source)
    return &at;
  if ((at.kind == ExprKind::Cast || at.kind == ExprKind::Dequantize) &&
      resolve(*at.args[0]).type.element() == at.type.element())
    return asPlainSource(*at.args[0]);
  return nullptr;
}

std::vector<const Expr *> moec::sourceTensors(const Expr &expr) {
  llvm::DenseSet<const Expr *> visited;
  std::vector<const Expr *> sources, work{&expr};
  while (!work.empty()) {
    const Expr &at = resolve(*work.back());
    work.pop_back();
    if (!visited.insert(&at).second)
      continue;
    if (at.kind == ExprKind::Source)
      sources.push_back(&at);
    for (const ExprRef &arg : llvm::reverse(at.args))
      work.push_back(arg.get());
  }
  return sources;
}

std::vector<const Expr *> moec::pieces(const Expr &expr) {
  const Expr &at = resolve(expr);
  bool split = at.kind == ExprKind::Stack ||
               (at.kind == ExprKind::Concat && at.attrs<AxisAttrs>().axis == 0);
  if (!split)
    return {&at};
  std::vector<const Expr *> list;
  for (const ExprRef &arg : at.args)
    llvm::append_range(list, pieces(*arg));
  return list;
}

namespace {
using Numbers = std::vector<float>;

/// A tensor seen as [outer, extent, inner] around one axis.
struct AxisView {
  uint64_t outer = 1, extent = 1, inner = 1;
  AxisView(const TensorType &type, int64_t axis) {
    for (int64_t i = 0; i < int64_t(type.rank()); ++i) {
      uint64_t size = type.dim(i).constant();
      (i < axis ? outer : i == axis ? extent : inner) *= size;
    }
  }
  uint64_t at(uint64_t out, uint64_t slice) const {
    return (out * extent + slice) * inner;
  }
};

class Materializer {
public:
  explicit Materializer(TensorReader &reader) : reader(reader) {}
  llvm::Expected<Numbers> run(const Expr &expr);

private:
  llvm::Expected<Numbers> joined(const Expr &expr, int64_t axis);
  llvm::Expected<Numbers> sum(const Expr &expr, double factor);
  Numbers taken(const Numbers &in, const AxisView &view,
                llvm::ArrayRef<uint64_t> slices);
  llvm::Expected<Numbers> slice(const Expr &expr);
  llvm::Expected<Numbers> take(const Expr &expr);
  Numbers resample(const ResampleAttrs &attrs, Numbers in,
                   const TensorType &type);
  Numbers addNoise(const NoiseAttrs &attrs, Numbers in, const TensorType &type);

  TensorReader &reader;
};
} // namespace

llvm::Expected<Numbers> Materializer::joined(const Expr &expr, int64_t axis) {
  Numbers out(*expr.type.staticElements());
  AxisView whole(expr.type, axis);
  uint64_t start = 0;
  for (const ExprRef &arg : expr.args) {
    MOEC_ASSIGN(Numbers part, run(*arg));
    // A stacked part is one slice; a concatenated one has its own extent.
    uint64_t extent = part.size() / (whole.outer * whole.inner);
    for (uint64_t outer = 0; outer < whole.outer; ++outer)
      std::copy_n(part.begin() + outer * extent * whole.inner,
                  extent * whole.inner, out.begin() + whole.at(outer, start));
    start += extent;
  }
  return out;
}

llvm::Expected<Numbers> Materializer::sum(const Expr &expr, double factor) {
  std::vector<double> total(*expr.type.staticElements());
  for (const ExprRef &arg : expr.args) {
    MOEC_ASSIGN(Numbers part, run(*arg));
    for (size_t i = 0; i < part.size(); ++i)
      total[i] += part[i];
  }
  Numbers out(total.size());
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = float(total[i] * factor);
  return out;
}

Numbers Materializer::taken(const Numbers &in, const AxisView &view,
                            llvm::ArrayRef<uint64_t> slices) {
  Numbers out;
  out.reserve(view.outer * slices.size() * view.inner);
  for (uint64_t outer = 0; outer < view.outer; ++outer)
    for (uint64_t slice : slices)
      out.insert(out.end(), in.begin() + view.at(outer, slice),
                 in.begin() + view.at(outer, slice) + view.inner);
  return out;
}

/// Of a stored tensor only what is cut out is read, so that a slice of a large
/// matrix costs its own memory.
llvm::Expected<Numbers> Materializer::slice(const Expr &expr) {
  auto &attrs = expr.attrs<SliceExprAttrs>();
  AxisView view(expr.args[0]->type, attrs.axis);
  const Expr *at = &resolve(*expr.args[0]);
  while (at->kind == ExprKind::Dequantize)
    at = &resolve(*at->args[0]);
  // Runs of few elements cost more to find than to read.
  uint64_t run = attrs.size * view.inner;
  if (at->kind == ExprKind::Source && (view.outer == 1 || run >= 32)) {
    Numbers out(view.outer * run);
    for (uint64_t outer = 0; outer < view.outer; ++outer)
      MOEC_TRY(reader.readF32(
          *at->file, at->attrs<SourceAttrs>(), view.at(outer, attrs.start),
          llvm::MutableArrayRef(out).slice(outer * run, run)));
    return out;
  }
  std::vector<uint64_t> slices(attrs.size);
  std::iota(slices.begin(), slices.end(), attrs.start);
  MOEC_ASSIGN(Numbers in, this->run(*expr.args[0]));
  return taken(in, view, slices);
}

llvm::Expected<Numbers> Materializer::take(const Expr &expr) {
  auto &attrs = expr.attrs<TakeAttrs>();
  AxisView view(expr.args[0]->type, attrs.axis);
  // No other expression makes integers.
  const Expr &source = resolve(*expr.args[1]);
  auto &tensor = source.attrs<SourceAttrs>();
  uint64_t count = source.type.dim(0).constant();
  bool wide = tensor.element == ElementType::i64;
  MOEC_ASSIGN(llvm::ArrayRef<uint8_t> bytes,
              reader.bytes(*source.file, tensor));
  Location place = Location::inFile(source.file->path);
  if (bytes.size() != count * (wide ? 8 : 4))
    return error(place) << "'" << tensor.key << "' has " << bytes.size()
                        << " bytes, expected " << count << " integers";
  std::vector<uint64_t> slices;
  std::vector<bool> seen(attrs.permutation ? view.extent : 0);
  uint64_t last = attrs.start + expr.type.dim(attrs.axis).constant();
  for (uint64_t i = 0; i < count; ++i) {
    int64_t index =
        wide ? llvm::support::endian::read64le(bytes.data() + 8 * i)
             : int32_t(llvm::support::endian::read32le(bytes.data() + 4 * i));
    if (index < 0 || uint64_t(index) >= view.extent)
      return error(place) << "'" << tensor.key << "' names slice " << index
                          << ", but the axis has " << view.extent;
    if (attrs.permutation && seen[index])
      return error(place) << "'" << tensor.key << "' names slice " << index
                          << " twice, expected a permutation";
    if (attrs.permutation)
      seen[index] = true;
    if (i >= uint64_t(attrs.start) && i < last)
      slices.push_back(index);
  }
  MOEC_ASSIGN(Numbers in, run(*expr.args[0]));
  return taken(in, view, slices);
}

/// Draws a normal number for every element of some slices, the element's index
/// being the counter, and gives both to `use`. Lists of indices keep slices of
/// one element, such as columns, as fast as long ones.
template <typename Fn>
static void drawNormals(RandomKey key, const AxisView &view,
                        llvm::ArrayRef<uint64_t> slices, double mean,
                        double deviation, Fn use) {
  constexpr size_t kBatch = 4096;
  std::vector<uint64_t> indices;
  Numbers drawn;
  auto flush = [&] {
    drawn.resize(indices.size());
    fillNormalAt(key, indices, mean, deviation, drawn);
    for (auto [index, number] : llvm::zip_equal(indices, drawn))
      use(index, number);
    indices.clear();
  };
  for (uint64_t outer = 0; outer < view.outer; ++outer)
    for (uint64_t slice : slices)
      for (uint64_t i = 0; i < view.inner; ++i) {
        indices.push_back(view.at(outer, slice) + i);
        if (indices.size() == kBatch)
          flush();
      }
  flush();
}

Numbers Materializer::resample(const ResampleAttrs &attrs, Numbers in,
                               const TensorType &type) {
  AxisView view(type, attrs.axis);
  RandomKey select =
      RandomKey::of(attrs.seed, "drop.select", attrs.set, attrs.expert);
  std::vector<uint64_t> chosen =
      chooseIndices(select, view.extent, attrs.count);
  llvm::sort(chosen);
  Moments moments = computeMoments(
      attrs.statistics == Statistics::whole ? in : taken(in, view, chosen));
  double deviation = moments.deviation(/*unbiased=*/true);
  RandomKey value = RandomKey::of(attrs.seed, "drop.value", attrs.weight,
                                  attrs.expert, attrs.matrix);
  drawNormals(value, view, chosen, moments.mean, deviation,
              [&](uint64_t index, float number) { in[index] = number; });
  return in;
}

Numbers Materializer::addNoise(const NoiseAttrs &attrs, Numbers in,
                               const TensorType &type) {
  AxisView view(type, attrs.axis);
  std::vector<uint64_t> chosen(view.extent);
  std::iota(chosen.begin(), chosen.end(), 0);
  if (attrs.count >= 0)
    chosen =
        chooseIndices(RandomKey::of(attrs.seed, "noise.select", attrs.weight,
                                    attrs.expert, attrs.matrix),
                      view.extent, attrs.count);
  double deviation = attrs.deviation;
  if (attrs.relative)
    deviation *= computeMoments(in).deviation(/*unbiased=*/true);
  RandomKey value = RandomKey::of(attrs.seed, "noise.value", attrs.weight,
                                  attrs.expert, attrs.matrix);
  drawNormals(value, view, chosen, /*mean=*/0, deviation,
              [&](uint64_t index, float number) {
                in[index] = attrs.replace ? number : in[index] + number;
              });
  return in;
}

llvm::Expected<Numbers> Materializer::run(const Expr &expr) {
  uint64_t elements = *expr.type.staticElements();
  // Lists of indices and sums take 8 bytes an element.
  MOEC_TRY(checkFitsMemory(elements, sizeof(double)));
  auto argument = [&] { return run(*expr.args[0]); };
  switch (expr.kind) {
  case ExprKind::Ref:
    return run(*expr.weight->expr);
  case ExprKind::Source: {
    Numbers out(elements);
    MOEC_TRY(reader.readF32(*expr.file, expr.attrs<SourceAttrs>(), 0, out));
    return out;
  }
  case ExprKind::Dequantize:
  case ExprKind::Reshape:
    return argument();
  case ExprKind::Cast: {
    MOEC_ASSIGN(Numbers out, argument());
    ElementType element = expr.type.element();
    if (element == ElementType::f32)
      return out;
    std::vector<uint8_t> rounded(*byteSize(element, elements));
    encodeFromF32(element, out, rounded);
    decodeToF32(element, rounded, out);
    return out;
  }
  case ExprKind::Scale: {
    MOEC_ASSIGN(Numbers out, argument());
    double factor = expr.attrs<FactorAttrs>().factor;
    for (float &number : out)
      number = float(number * factor);
    return out;
  }
  case ExprKind::Add:
    return sum(expr, 1);
  case ExprKind::Average:
    return sum(expr, 1.0 / expr.args.size());
  case ExprKind::Concat:
    return joined(expr, expr.attrs<AxisAttrs>().axis);
  case ExprKind::Stack:
    return joined(expr, 0);
  case ExprKind::Slice:
    return slice(expr);
  case ExprKind::Take:
    return take(expr);
  case ExprKind::Repeat: {
    auto &attrs = expr.attrs<RepeatAttrs>();
    MOEC_ASSIGN(Numbers in, argument());
    AxisView view(expr.args[0]->type, attrs.axis);
    std::vector<uint64_t> slices;
    for (int64_t time = 0; time < attrs.times; ++time)
      for (uint64_t slice = 0; slice < view.extent; ++slice)
        slices.insert(slices.end(), attrs.each, slice);
    return taken(in, view, slices);
  }
  case ExprKind::Permute: {
    auto &attrs = expr.attrs<PermuteAttrs>();
    MOEC_ASSIGN(Numbers in, argument());
    AxisView view(expr.type, attrs.axis);
    return taken(in, view,
                 permutation(RandomKey::of(attrs.seed, "permute", attrs.weight,
                                           attrs.expert, attrs.matrix),
                             view.extent));
  }
  case ExprKind::Transpose: {
    MOEC_ASSIGN(Numbers in, argument());
    uint64_t rows = expr.type.dim(0).constant();
    uint64_t columns = expr.type.dim(1).constant();
    Numbers out(elements);
    for (uint64_t row = 0; row < rows; ++row)
      for (uint64_t column = 0; column < columns; ++column)
        out[row * columns + column] = in[column * rows + row];
    return out;
  }
  case ExprKind::RotaryToHalf: {
    MOEC_ASSIGN(Numbers in, argument());
    AxisView view(expr.type, 0);
    uint64_t rows = view.extent / expr.attrs<HeadsAttrs>().heads;
    std::vector<uint64_t> slices;
    for (uint64_t row = 0; row < view.extent; ++row) {
      uint64_t head = row / rows, j = row % rows;
      uint64_t pair = j % (rows / 2), half = j / (rows / 2);
      slices.push_back(head * rows + 2 * pair + half);
    }
    return taken(in, view, slices);
  }
  case ExprKind::Resample: {
    MOEC_ASSIGN(Numbers in, argument());
    return resample(expr.attrs<ResampleAttrs>(), std::move(in), expr.type);
  }
  case ExprKind::Noise: {
    MOEC_ASSIGN(Numbers in, argument());
    return addNoise(expr.attrs<NoiseAttrs>(), std::move(in), expr.type);
  }
  case ExprKind::Fill:
    return Numbers(elements, float(expr.attrs<FillAttrs>().value));
  case ExprKind::Normal: {
    auto &attrs = expr.attrs<NormalAttrs>();
    Numbers out(elements);
    fillNormal(RandomKey::of(attrs.seed, "normal", attrs.weight, attrs.expert,
                             attrs.matrix),
               0, attrs.mean, attrs.deviation, out);
    return out;
  }
  case ExprKind::Uniform: {
    auto &attrs = expr.attrs<UniformAttrs>();
    Numbers out(elements);
    fillUniform(RandomKey::of(attrs.seed, "uniform", attrs.weight, attrs.expert,
                              attrs.matrix),
                0, attrs.low, attrs.high, out);
    if (attrs.centered) {
      double mean = computeMoments(out).mean;
      for (float &number : out)
        number = float(number - mean);
    }
    return out;
  }
  }
  llvm_unreachable("every kind is computed");
}

llvm::Expected<std::vector<float>> moec::materialize(const Expr &expr,
                                                     TensorReader &reader) {
  return Materializer(reader).run(expr);
}
