// What each recipe promises at its first step, against what its block computes.

#include "passes/upcycle/Exactness.h"

#include "tests/passes/upcycle/TinyModel.h"

using namespace moec;

namespace {
struct Case {
  std::string options;
  TinyShape shape;
  ExactnessClass kind;
  /// Whether the bound must be a number.
  bool bounded = false;
};

/// The dense FFN in double, by hand.
std::vector<double> byHand(TinyModel &model, const TinyShape &s,
                           const HostTensor &x) {
  auto at = [&](const char *name) {
    return model.weight(std::string("layers.0.ffn.") + name);
  };
  auto gate = s.gated ? at("gate") : std::vector<float>();
  auto up = at("up"), down = at("down");
  auto bias = [&](const char *name, int64_t i) {
    return s.biased ? double(at(name)[i]) : 0;
  };
  auto fn = [&](double z) {
    if (s.fn == "silu")
      return z / (1 + std::exp(-z));
    if (s.fn == "gelu_erf")
      return 0.5 * z * (1 + std::erf(z / std::sqrt(2.0)));
    if (s.fn == "relu")
      return z > 0 ? z : 0;
    EXPECT_EQ(s.fn, "squared_relu");
    return z > 0 ? z * z : 0;
  };
  int64_t tokens = x.dim(0);
  std::vector<double> y(tokens * s.hidden);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> h(s.width);
    for (int64_t j = 0; j < s.width; ++j) {
      double g = s.gated ? bias("gate.bias", j) : 0, u = bias("up.bias", j);
      for (int64_t i = 0; i < s.hidden; ++i) {
        g += s.gated ? gate[j * s.hidden + i] * x.row(t)[i] : 0;
        u += up[j * s.hidden + i] * x.row(t)[i];
      }
      h[j] = s.gated ? fn(g) * u : fn(u);
    }
    for (int64_t i = 0; i < s.hidden; ++i) {
      double sum = bias("down.bias", i);
      for (int64_t j = 0; j < s.width; ++j)
        sum += down[i * s.width + j] * h[j];
      y[t * s.hidden + i] = sum;
    }
  }
  return y;
}

TinyShape shapeOf(std::string fn, bool gated, bool biased = false) {
  TinyShape shape;
  shape.fn = std::move(fn);
  shape.gated = gated;
  shape.biased = biased;
  return shape;
}

class ExactnessTest : public testing::TestWithParam<Case> {};

/// What the pass would promise, and what comes out.
void check(const Case &test) {
  SCOPED_TRACE(test.options + " on " + test.shape.fn);
  TinyModel model(test.shape);
  HostTensor x = normalTokens(24, test.shape.hidden);
  std::vector<double> expected = byHand(model, test.shape, x);
  ASSERT_LT(relativeError(model.run(x), expected), 1e-6);
  UpcycleOptions options;
  auto pipeline =
      parsePipeline("upcycle{" + test.options + "}", allPasses(), "the test");
  ASSERT_TRUE(bool(pipeline)) << toText(pipeline.takeError());
  options = *static_cast<UpcycleOptions *>((*pipeline)[0]->optionFields());
  FfnAttrs ffn;
  for (Operation &op : model.module->findProgram("step")->body().ops())
    if (op.is(OpKind::Ffn))
      ffn = op.attrs<FfnAttrs>();
  Exactness promise = promisedExactness(
      options, ffn, *parseElementType(test.shape.element), test.shape.width);
  EXPECT_EQ(promise.kind, test.kind) << promise.reason;
  model.upcycle(test.options);
  EXPECT_EQ(model.module->facts["upcycle.exactness"],
            enumNames(test.kind)[unsigned(test.kind)].str());
  double error = relativeError(model.run(x), expected);
  EXPECT_LE(error, promise.bound) << promise.reason;
  if (test.bounded)
    EXPECT_LT(promise.bound, 10) << promise.reason;
  if (test.kind == ExactnessClass::none)
    EXPECT_GT(error, 0.01) << promise.reason;
}
} // namespace

TEST_P(ExactnessTest, PromiseIsKept) { check(GetParam()); }

static const std::string kWild = ",router_std=1";
static const std::string kZero = ",router_init=zero";
static const std::string kGroups =
    "init=virtual_group,granularity=4,experts=8,";

INSTANTIATE_TEST_SUITE_P(
    Exact, ExactnessTest,
    testing::Values(
        // Weights that add up to one, any router.
        Case{"experts=4" + kWild, shapeOf("silu", true), ExactnessClass::exact},
        Case{"experts=4,router=topk_softmax,permute=true" + kWild,
             shapeOf("gelu_erf", false, true), ExactnessClass::exact},
        Case{"experts=4,router=softmax_all" + kWild, shapeOf("silu", true),
             ExactnessClass::exact},
        Case{"experts=4,router=sigmoid_topk_renorm,router_scale=2.5,scaling="
             "exact,select_bias=true" +
                 kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        // A copy's slices are chosen together: T = G and T = 2G.
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("silu", true), ExactnessClass::exact},
        Case{kGroups + "top_k=8,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("silu", true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,scaling=exact" + kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("gelu_erf", false, true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("squared_relu", false, true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("relu", true, true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact" + kWild,
             shapeOf("squared_relu", true), ExactnessClass::exact},
        Case{kGroups + "top_k=8,router=topk_softmax,scaling=down" + kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=megatron" + kWild,
             shapeOf("squared_relu", false, true), ExactnessClass::exact},
        Case{kGroups +
                 "top_k=4,router=topk_softmax,scaling=exact,"
                 "weight_applied_to=hidden" +
                 kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        // Nothing of it redrawn.
        Case{kGroups +
                 "top_k=4,router=topk_softmax,scaling=exact,then=drop,"
                 "drop_ratio=0" +
                 kWild,
             shapeOf("silu", true), ExactnessClass::exact},
        // A shared copy, and a shared slice behind a gate of zero.
        Case{"experts=4,shared_experts=1,shared_scale=0.25,scaling=exact" +
                 kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        Case{"experts=4,shared_experts=1,shared_gate=true,scaling=exact" +
                 kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        Case{"init=virtual_group,granularity=2,experts=6,top_k=2,router=topk_"
             "softmax,shared_width=8,shared_init=split,shared_gate=true,"
             "scaling=exact" +
                 kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        Case{"experts=3,shared_width=10,shared_init=split" + kWild,
             shapeOf("silu", true, true), ExactnessClass::exact},
        // Adapters that add nothing; every slice, unweighted.
        Case{"init=low_rank,experts=4,rank=3" + kWild, shapeOf("silu", true),
             ExactnessClass::exact},
        Case{"init=split,experts=4,top_k=4,weight_applied_to=none" + kWild,
             shapeOf("relu", false), ExactnessClass::exact}));

INSTANTIATE_TEST_SUITE_P(
    ExactWhileZero, ExactnessTest,
    testing::Values(
        // S = N / T, and S = E G^2 / T.
        Case{"experts=8,top_k=2,router=softmax_topk,scaling=exact" + kZero,
             shapeOf("silu", true, true), ExactnessClass::exact_zero_router},
        Case{kGroups + "top_k=4,router=softmax_topk,scaling=exact" + kZero,
             shapeOf("silu", true, true), ExactnessClass::exact_zero_router},
        Case{kGroups + "top_k=8,router=softmax_topk,scaling=megatron" + kZero,
             shapeOf("squared_relu", false), ExactnessClass::exact_zero_router},
        Case{"experts=8,top_k=8,router=softmax_threshold,router_threshold=0.48,"
             "router_threshold_by_experts=true,scaling=exact" +
                 kZero,
             shapeOf("silu", true), ExactnessClass::exact_zero_router},
        Case{"experts=8,top_k=8,router=softmax_topp,router_threshold=0.5,"
             "scaling=exact" +
                 kZero,
             shapeOf("silu", true), ExactnessClass::exact_zero_router},
        // DS-MoE: slices, the scale N folded in, all of them.
        Case{"init=split,experts=8,router=softmax_all,scaling=exact,"
             "weight_applied_to=hidden" +
                 kZero,
             shapeOf("gelu_erf", false, true),
             ExactnessClass::exact_all_experts},
        Case{"init=split,experts=8,router=softmax_all,scaling=exact,split_by="
             "random" +
                 kZero,
             shapeOf("silu", true), ExactnessClass::exact_all_experts}));

INSTANTIATE_TEST_SUITE_P(
    Inexact, ExactnessTest,
    testing::Values(
        // The sum of k of N softmax scores, as it is.
        Case{"experts=8,top_k=2,router=softmax_topk" + kZero,
             shapeOf("silu", true), ExactnessClass::approximate},
        Case{"experts=8,top_k=2,router=softmax_topk,scaling=exact" + kWild,
             shapeOf("silu", true), ExactnessClass::approximate},
        // Any router's sum lies between that and 1.
        Case{"experts=8,top_k=2,router=softmax_topk" + kWild,
             shapeOf("silu", true), ExactnessClass::approximate, true},
        Case{"experts=8,top_k=2,router=softmax_topk,scaling=exact,router_std=9",
             shapeOf("silu", true), ExactnessClass::approximate, true},
        Case{kGroups + "top_k=4,router=softmax_topk,scaling=exact" + kWild,
             shapeOf("silu", true), ExactnessClass::approximate, true},
        Case{"experts=4,top_k=1,router=softmax_topk,shared_experts=1,"
             "shared_scale=0.5" +
                 kWild,
             shapeOf("silu", true), ExactnessClass::approximate, true},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=megatron" + kZero,
             shapeOf("silu", true), ExactnessClass::approximate},
        // The bias of down, which Megatron does not scale.
        Case{kGroups + "top_k=4,router=softmax_topk,scaling=megatron" + kZero,
             shapeOf("squared_relu", false, true), ExactnessClass::approximate},
        Case{kGroups + "top_k=3,router=topk_softmax,scaling=exact" + kZero,
             shapeOf("silu", true), ExactnessClass::none},
        Case{"init=split,experts=8,top_k=2,scaling=exact" + kZero,
             shapeOf("silu", true), ExactnessClass::none},
        Case{"init=drop,drop_ratio=0.5", shapeOf("silu", true),
             ExactnessClass::none},
        Case{"init=noise,noise_std=0.1", shapeOf("silu", true),
             ExactnessClass::none},
        Case{"init=qwen2,experts=3,expert_width=8", shapeOf("silu", true),
             ExactnessClass::none},
        Case{kGroups + "top_k=4,router=topk_softmax,scaling=exact,then=drop,"
                       "drop_ratio=0.5",
             shapeOf("silu", true), ExactnessClass::none},
        Case{"experts=4,then=noise,noise_std=0.1", shapeOf("silu", true),
             ExactnessClass::none},
        Case{"init=scratch", shapeOf("silu", true), ExactnessClass::none},
        Case{"init=low_rank,experts=4,adapter_init=normal,init_std=0.3",
             shapeOf("silu", true), ExactnessClass::none},
        Case{"shared_experts=1", shapeOf("silu", true),
             ExactnessClass::approximate},
        Case{"shared_experts=1,shared_init=scratch,init_std=0.3",
             shapeOf("silu", true), ExactnessClass::none}));

// Spec 2.3: with a router of zeros the cube root on every matrix of a SwiGLU
// is off by about 11% for S = 4 and 21% for S = 32; and by exactly what the
// formula says.
TEST(MegatronScaling, ErrorIsTheFormulas) {
  TinyShape shape;
  shape.hidden = 64;
  shape.width = 512;
  struct {
    const char *options;
    double total, low, high;
  } cases[] = {
      {"init=copy,experts=8,top_k=2", 4, 0.08, 0.14},
      {"init=virtual_group,granularity=8,experts=64,top_k=16", 32, 0.17, 0.25}};
  for (auto &test : cases) {
    TinyModel model(shape);
    // The deviation at which the spec measured.
    HostTensor x = normalTokens(16, shape.hidden, 1.4);
    std::vector<double> dense = byHand(model, shape, x);
    // W_d s (silu(s W_g x) * s W_u x) / S, by hand.
    double root = std::cbrt(test.total);
    auto gate = model.weight("layers.0.ffn.gate");
    auto up = model.weight("layers.0.ffn.up");
    auto down = model.weight("layers.0.ffn.down");
    std::vector<double> formula(dense.size());
    for (int64_t t = 0; t < x.dim(0); ++t)
      for (int64_t j = 0; j < shape.width; ++j) {
        double g = 0, u = 0;
        for (int64_t i = 0; i < shape.hidden; ++i) {
          g += gate[j * shape.hidden + i] * x.row(t)[i];
          u += up[j * shape.hidden + i] * x.row(t)[i];
        }
        double h = root * g / (1 + std::exp(-root * g)) * root * u;
        for (int64_t i = 0; i < shape.hidden; ++i)
          formula[t * shape.hidden + i] +=
              root * down[i * shape.width + j] * h / test.total;
      }
    model.upcycle(std::string(test.options) +
                  ",router=softmax_topk,router_init=zero,scaling=megatron");
    std::vector<double> y = model.run(x);
    EXPECT_LT(relativeError(y, formula), 1e-6);
    double error = relativeError(y, dense);
    EXPECT_GT(error, test.low);
    EXPECT_LT(error, test.high);
    EXPECT_LT(error, megatronError(ActivationFn::silu, test.total, true) * 1.1);
  }
  EXPECT_LT(megatronError(ActivationFn::squared_relu, 8, false), 1e-12);
  EXPECT_LT(megatronError(ActivationFn::relu, 8, false), 1e-12);
}

// In bf16 the square root of a scale is rounded, a power of two is not.
TEST(Rounding, OfStoredWeightsIsInTheBound) {
  TinyShape shape;
  shape.element = "bf16";
  for (bool rounds : {false, true}) {
    TinyModel model(shape);
    HostTensor x = normalTokens(24, shape.hidden);
    std::vector<double> expected = model.run(x);
    std::string options =
        std::string("init=virtual_group,experts=8,"
                    "router=topk_softmax,scaling=exact,") +
        (rounds ? "granularity=2,top_k=2" : "granularity=4,top_k=4");
    check({options, shape, ExactnessClass::exact});
    model.upcycle(options);
    double error = relativeError(model.run(x), expected);
    EXPECT_EQ(error > 1e-6, rounds) << error;
  }
}
