#include "ir/weights/Materialize.h"

#include "ir/support/Philox.h"
#include "ir/support/Statistics.h"
#include "llvm/ADT/STLExtras.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace moec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {
/// Every tensor holds 0, 1, 2, ...
class CountingReader final : public TensorReader {
public:
  llvm::Error readF32(const SourceFile &, const SourceAttrs &tensor,
                      uint64_t first,
                      llvm::MutableArrayRef<float> out) override {
    if (tensor.key == "broken")
      return error() << "cannot read '" << tensor.key << "'";
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = float(first + i);
    elementsRead += out.size();
    return llvm::Error::success();
  }
  llvm::Expected<llvm::ArrayRef<uint8_t>> bytes(const SourceFile &,
                                                const SourceAttrs &) override {
    return llvm::ArrayRef(reinterpret_cast<const uint8_t *>(stored.data()),
                          stored.size() * sizeof(int64_t));
  }
  std::vector<int64_t> stored;
  uint64_t elementsRead = 0;
  std::optional<Place> place(const SourceFile &, const SourceAttrs &) override {
    return std::nullopt;
  }
};

class MaterializeTest : public testing::Test {
protected:
  MaterializeTest() : file(module.addFile("src", "file")) {}

  ExprRef source(std::vector<int64_t> shape, std::string key = "w",
                 ElementType element = ElementType::f32) {
    auto attrs = std::make_unique<SourceAttrs>();
    attrs->key = std::move(key);
    attrs->shape = std::move(shape);
    attrs->element = element;
    return make(ExprKind::Source, {}, std::move(attrs), file);
  }
  template <typename Attrs>
  ExprRef apply(ExprKind kind, std::vector<ExprRef> args, Attrs attrs) {
    return make(kind, std::move(args),
                std::make_unique<Attrs>(std::move(attrs)));
  }
  ExprRef make(ExprKind kind, std::vector<ExprRef> args,
               std::unique_ptr<Attributes> attrs, SourceFile *from = nullptr) {
    auto expr =
        Expr::make(kind, std::move(args), std::move(attrs), nullptr, from);
    if (expr)
      return std::move(*expr);
    ADD_FAILURE() << toText(expr.takeError());
    return nullptr;
  }
  std::vector<float> values(const ExprRef &expr) {
    auto result = materialize(*expr, reader);
    if (result)
      return std::move(*result);
    ADD_FAILURE() << toText(result.takeError());
    return {};
  }

  Module module{"m"};
  SourceFile *file;
  CountingReader reader;
};
} // namespace

TEST_F(MaterializeTest, ShapesMoveElements) {
  ExprRef w = source({2, 3});
  EXPECT_THAT(values(w), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(apply(ExprKind::Transpose, {w}, NoAttrs())),
              ElementsAre(0, 3, 1, 4, 2, 5));
  SliceExprAttrs columns;
  columns.axis = 1;
  columns.start = 1;
  columns.size = 2;
  EXPECT_THAT(values(apply(ExprKind::Slice, {w}, columns)),
              ElementsAre(1, 2, 4, 5));
  AxisAttrs axis;
  EXPECT_THAT(values(apply(ExprKind::Concat, {w, w}, axis)),
              ElementsAre(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5));
  axis.axis = 1;
  EXPECT_THAT(values(apply(ExprKind::Concat, {w, w}, axis)),
              ElementsAre(0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5));
  ExprRef stacked = apply(ExprKind::Stack, {w, w}, NoAttrs());
  EXPECT_EQ(stacked->type.rank(), 3u);
  EXPECT_THAT(values(stacked), ElementsAre(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5));
  RepeatAttrs repeat;
  repeat.each = 2;
  repeat.times = 2;
  EXPECT_THAT(values(apply(ExprKind::Repeat, {source({2})}, repeat)),
              ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
  HeadsAttrs heads;
  heads.heads = 2;
  EXPECT_THAT(values(apply(ExprKind::RotaryToHalf, {source({8, 1})}, heads)),
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST_F(MaterializeTest, OnlyASliceOfASourceIsRead) {
  SliceExprAttrs columns;
  columns.axis = 1;
  columns.start = 40;
  columns.size = 32;
  auto cut = values(apply(ExprKind::Slice, {source({3, 100})}, columns));
  ASSERT_EQ(cut.size(), 96u);
  for (size_t i = 0; i < cut.size(); ++i)
    EXPECT_EQ(cut[i], float(i / 32 * 100 + 40 + i % 32));
  EXPECT_EQ(reader.elementsRead, 96u);

  SliceExprAttrs rows;
  rows.start = 1;
  rows.size = 2;
  EXPECT_THAT(values(apply(ExprKind::Slice, {source({4, 2})}, rows)),
              ElementsAre(2, 3, 4, 5));
}

TEST_F(MaterializeTest, TakeFollowsIndices) {
  reader.stored = {2, 0, 3, 1};
  ExprRef order = source({4}, "order", ElementType::i64);
  TakeAttrs attrs;
  attrs.axis = 1;
  attrs.permutation = true;
  EXPECT_THAT(values(apply(ExprKind::Take, {source({2, 4}), order}, attrs)),
              ElementsAre(2, 0, 3, 1, 6, 4, 7, 5));
  attrs.axis = 0;
  attrs.start = 1;
  attrs.count = 2;
  EXPECT_THAT(values(apply(ExprKind::Take, {source({4, 2}), order}, attrs)),
              ElementsAre(0, 1, 6, 7));
  // Indices may repeat unless they are said to be a permutation.
  reader.stored = {2, 0, 0, 1};
  auto twice = materialize(
      *apply(ExprKind::Take, {source({4, 2}), order}, attrs), reader);
  ASSERT_FALSE(bool(twice));
  EXPECT_THAT(toText(twice.takeError()),
              HasSubstr("'order' names slice 0 twice, expected a permutation"));
  attrs.permutation = false;
  EXPECT_THAT(values(apply(ExprKind::Take, {source({4, 2}), order}, attrs)),
              ElementsAre(0, 1, 0, 1));
  reader.stored = {2, 0, 0, 4};
  auto outside = materialize(
      *apply(ExprKind::Take, {source({4, 2}), order}, attrs), reader);
  ASSERT_FALSE(bool(outside));
  EXPECT_THAT(toText(outside.takeError()),
              HasSubstr("'order' names slice 4, but the axis has 4"));
}

TEST_F(MaterializeTest, Arithmetic) {
  ExprRef w = source({3});
  FactorAttrs half;
  half.factor = 0.5;
  ExprRef scaled = apply(ExprKind::Scale, {w}, half);
  EXPECT_THAT(values(scaled), ElementsAre(0, 0.5, 1));
  EXPECT_THAT(values(apply(ExprKind::Add, {w, scaled}, NoAttrs())),
              ElementsAre(0, 1.5, 3));
  EXPECT_THAT(values(apply(ExprKind::Average, {w, scaled}, NoAttrs())),
              ElementsAre(0, 0.75, 1.5));
  ElementAttrs bf16;
  bf16.element = ElementType::bf16;
  FactorAttrs third;
  third.factor = 1.0 / 3;
  EXPECT_THAT(
      values(apply(ExprKind::Cast, {apply(ExprKind::Scale, {w}, third)}, bf16)),
      ElementsAre(0, 0.333984375f, 0.66796875f));
  FillAttrs fill;
  fill.shape = {2};
  fill.value = 7;
  EXPECT_THAT(values(apply(ExprKind::Fill, {}, fill)), ElementsAre(7, 7));
}

/// The element at (row, column) of a [rows, columns] result, by definition.
static void expectResampled(llvm::ArrayRef<float> result, int64_t rows,
                            int64_t columns, const ResampleAttrs &attrs) {
  auto chosen = chooseIndices(
      RandomKey::of(attrs.seed, "drop.select", attrs.set, attrs.expert),
      attrs.axis ? columns : rows, attrs.count);
  auto isChosen = [&](int64_t row, int64_t column) {
    return llvm::is_contained(chosen, uint64_t(attrs.axis ? column : row));
  };
  std::vector<float> pool;
  for (int64_t i = 0; i < rows * columns; ++i)
    if (attrs.statistics == Statistics::whole ||
        isChosen(i / columns, i % columns))
      pool.push_back(float(i));
  Moments moments = computeMoments(pool);
  RandomKey key = RandomKey::of(attrs.seed, "drop.value", attrs.weight,
                                attrs.expert, attrs.matrix);
  for (int64_t i = 0; i < rows * columns; ++i) {
    float expected = float(i);
    if (isChosen(i / columns, i % columns))
      expected = float(normal(key, i) * moments.deviation(true) + moments.mean);
    ASSERT_EQ(result[i], expected) << i;
  }
}

TEST_F(MaterializeTest, ResampleRedrawsChosenSlices) {
  ResampleAttrs attrs;
  attrs.seed = 3;
  attrs.weight = "layers.0.ffn.up";
  attrs.matrix = "up";
  attrs.set = "layers.0.ffn";
  for (int64_t axis : {0, 1})
    for (int64_t count : {1, 20, 30})
      for (int64_t expert : {0, 1})
        for (Statistics statistics :
             {Statistics::selected, Statistics::whole}) {
          attrs.axis = axis;
          attrs.count = count;
          attrs.expert = expert;
          attrs.statistics = statistics;
          auto result =
              values(apply(ExprKind::Resample, {source({30, 50})}, attrs));
          ASSERT_EQ(result.size(), 1500u);
          expectResampled(result, 30, 50, attrs);
        }
  attrs.count = 0;
  ExprRef w = source({30, 50});
  EXPECT_EQ(values(apply(ExprKind::Resample, {w}, attrs)), values(w));
}

TEST_F(MaterializeTest, NoiseIsAddedOrReplaces) {
  NoiseAttrs attrs;
  attrs.seed = 3;
  attrs.weight = "w";
  attrs.deviation = 0.5;
  RandomKey key = RandomKey::of(3, "noise.value", "w");
  ExprRef w = source({40, 30});
  auto added = values(apply(ExprKind::Noise, {w}, attrs));
  for (size_t i = 0; i < 1200; ++i)
    ASSERT_EQ(added[i], float(i) + float(normal(key, i) * 0.5)) << i;
  attrs.axis = 1;
  attrs.count = 10;
  attrs.replace = true;
  attrs.relative = true;
  auto chosen = chooseIndices(RandomKey::of(3, "noise.select", "w"), 30, 10);
  double deviation = 0.5 * computeMoments(values(w)).deviation(true);
  auto replaced = values(apply(ExprKind::Noise, {w}, attrs));
  for (size_t i = 0; i < 1200; ++i)
    ASSERT_EQ(replaced[i], llvm::is_contained(chosen, i % 30)
                               ? float(normal(key, i) * deviation)
                               : float(i))
        << i;
}

TEST_F(MaterializeTest, RandomLeavesAndPermutations) {
  NormalAttrs normals;
  normals.shape = {3, 50};
  normals.seed = 8;
  normals.weight = "router";
  normals.mean = 1;
  auto drawn = values(apply(ExprKind::Normal, {}, normals));
  RandomKey key = RandomKey::of(8, "normal", "router");
  for (size_t i = 0; i < drawn.size(); ++i)
    ASSERT_EQ(drawn[i], float(normal(key, i) * 0.02 + 1));
  UniformAttrs uniforms;
  uniforms.shape = {1000};
  uniforms.centered = true;
  auto centred = values(apply(ExprKind::Uniform, {}, uniforms));
  EXPECT_NEAR(computeMoments(centred).mean, 0, 1e-8);
  EXPECT_NEAR(computeMoments(centred).deviation(true), 1 / std::sqrt(12.0),
              0.03);
  PermuteAttrs permute;
  permute.axis = 1;
  permute.weight = "w";
  auto order = permutation(RandomKey::of(0, "permute", "w"), 20);
  auto moved = values(apply(ExprKind::Permute, {source({2, 20})}, permute));
  for (size_t i = 0; i < 40; ++i)
    ASSERT_EQ(moved[i], float(i / 20 * 20 + order[i % 20]));
}

TEST_F(MaterializeTest, RefsPiecesAndPlainSources) {
  ExprRef w = source({2, 3});
  Weight *weight = module.addWeight("w", w);
  auto made = Expr::make(ExprKind::Ref, {}, nullptr, weight);
  ASSERT_TRUE(bool(made));
  ExprRef ref = *made;
  EXPECT_EQ(values(ref), values(w));
  EXPECT_EQ(&resolve(*ref), w.get());
  ExprRef bank = apply(ExprKind::Stack, {w, ref, w}, NoAttrs());
  EXPECT_EQ(pieces(*bank).size(), 3u);
  EXPECT_EQ(pieces(*w).size(), 1u);
  EXPECT_EQ(asPlainSource(*ref), w.get());
  EXPECT_EQ(asPlainSource(*apply(ExprKind::Cast, {ref}, ElementAttrs())),
            w.get());
  ElementAttrs bf16;
  bf16.element = ElementType::bf16;
  EXPECT_EQ(asPlainSource(*apply(ExprKind::Cast, {ref}, bf16)), nullptr);
}

TEST_F(MaterializeTest, SourceTensorsAreFoundThroughRefs) {
  ExprRef w = source({2, 3}), other = source({2, 3}, "v");
  auto ref = Expr::make(ExprKind::Ref, {}, nullptr, module.addWeight("w", w));
  ASSERT_TRUE(bool(ref));
  ExprRef sum = apply(ExprKind::Add, {*ref, other}, NoAttrs());
  EXPECT_THAT(sourceTensors(*apply(ExprKind::Stack, {sum, w, sum}, NoAttrs())),
              ElementsAre(w.get(), other.get()));
}

TEST_F(MaterializeTest, ReadErrorsAreReturned) {
  ExprRef broken = source({2}, "broken");
  ExprRef sum = apply(ExprKind::Add, {source({2}), broken}, NoAttrs());
  auto result = materialize(*sum, reader);
  ASSERT_FALSE(bool(result));
  EXPECT_THAT(toText(result.takeError()), HasSubstr("cannot read 'broken'"));
}

// A text of a line can ask for any size; what no machine holds is an error.
TEST_F(MaterializeTest, SizesBeyondTheMemoryAreErrors) {
  FillAttrs attrs;
  attrs.shape = {int64_t(1) << 30, int64_t(1) << 30};
  auto result = materialize(*apply(ExprKind::Fill, {}, attrs), reader);
  ASSERT_FALSE(bool(result));
  EXPECT_THAT(toText(result.takeError()),
              HasSubstr("needs memory for 1152921504606846976 numbers of 8 "
                        "bytes, more than the "));
}
