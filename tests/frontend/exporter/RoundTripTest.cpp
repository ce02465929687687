//===- RoundTripTest.cpp - what is read is what is written ----------------===//

#include "frontend/exporter/ExportPlan.h"
#include "frontend/exporter/HfConfigWriter.h"
#include "frontend/importer/Importer.h"
#include "ir/weights/Materialize.h"
#include "tests/frontend/TinyFamilies.h"
#include "gtest/gtest.h"

using namespace moec;

namespace {
struct Case {
  const char *architecture;
  void (*make)(TinyFamily &);
};
class RoundTrip : public testing::TestWithParam<Case> {
protected:
  std::unique_ptr<Module> import() {
    auto imported = importModel(model.folder.path());
    if (!imported) {
      ADD_FAILURE() << toText(imported.takeError());
      return nullptr;
    }
    return std::move(imported->module);
  }
  ExportPlan plan(const Module &module, llvm::StringRef arch = "") {
    ExportRequest request;
    request.arch = arch.str();
    auto planned = planExport(module, request);
    if (planned)
      return std::move(*planned);
    ADD_FAILURE() << toText(planned.takeError());
    return ExportPlan();
  }
  static std::string settings(const ExportPlan &plan) {
    return hfConfig(*plan.target, plan.config, ElementType::f32).text();
  }
  TinyFamily model;
};
} // namespace

/// Every tensor of the source comes out again, bit by bit, and no other.
TEST_P(RoundTrip, Tensors) {
  GetParam().make(model);
  ASSERT_FALSE(bool(model.write()));
  auto module = import();
  ASSERT_TRUE(module);
  ExportPlan planned = plan(*module);
  ASSERT_TRUE(planned.target);
  EXPECT_EQ(planned.target->name, GetParam().architecture);
  EXPECT_TRUE(planned.changes.empty());
  CheckpointReader reader;
  std::set<std::string> written;
  for (const ExportTensor &tensor : planned.tensors) {
    auto source = llvm::find_if(model.tensors, [&](auto &candidate) {
      return candidate.name == tensor.name;
    });
    ASSERT_NE(source, model.tensors.end()) << tensor.name;
    EXPECT_EQ(source->shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(written.insert(tensor.name).second) << tensor.name;
    auto numbers = materialize(*tensor.expr, reader);
    ASSERT_TRUE(bool(numbers)) << toText(numbers.takeError());
    EXPECT_EQ(*numbers, TinyModel::valuesOf(*source)) << tensor.name;
  }
  for (const SafetensorsLayout &tensor : model.tensors)
    if (tensor.type == ElementType::f32)
      EXPECT_TRUE(written.count(tensor.name)) << tensor.name;
}

/// Settings that are written mean what they were made from.
TEST_P(RoundTrip, Settings) {
  GetParam().make(model);
  ASSERT_FALSE(bool(model.write()));
  auto module = import();
  ASSERT_TRUE(module);
  ExportPlan first = plan(*module);
  ASSERT_TRUE(first.target);
  std::string text = settings(first);
  model.folder.write("config.json", text);
  auto again = import();
  ASSERT_TRUE(again);
  ExportPlan second = plan(*again, first.target->name);
  ASSERT_TRUE(second.target);
  EXPECT_EQ(settings(second), text);
}

static const Case kCases[] = {
    {"llama", [](TinyFamily &model) { model.makeLlama(); }},
    {"mistral",
     [](TinyFamily &model) {
       model.makeLlama("mistral", "MistralForCausalLM");
       model.set("sliding_window", "8");
     }},
    {"qwen2", [](TinyFamily &model) { model.makeQwen2(); }},
    {"qwen3", [](TinyFamily &model) { model.makeQwen3(); }},
    {"gpt2", [](TinyFamily &model) { model.makeGpt2("transformer."); }},
    {"gemma", [](TinyFamily &model) { model.makeGemma(); }},
    {"gemma2", [](TinyFamily &model) { model.makeGemma2(); }},
    {"phi3", [](TinyFamily &model) { model.makePhi3(); }},
    {"olmo2", [](TinyFamily &model) { model.makeOlmo2(); }},
    {"nemotron", [](TinyFamily &model) { model.makeNemotron(); }},
    {"starcoder2", [](TinyFamily &model) { model.makeStarcoder2(); }},
    {"mixtral", [](TinyFamily &model) { model.makeMixtral(); }},
    {"qwen2_moe", [](TinyFamily &model) { model.makeQwen2Moe(); }},
    {"qwen3_moe", [](TinyFamily &model) { model.makeQwen3Moe(); }},
    {"olmoe", [](TinyFamily &model) { model.makeOlmoe(); }},
    {"granitemoe", [](TinyFamily &model) { model.makeGranite(false); }},
    {"granitemoeshared", [](TinyFamily &model) { model.makeGranite(true); }},
    {"glm4_moe", [](TinyFamily &model) { model.makeGlm4Moe(); }},
    {"dots1", [](TinyFamily &model) { model.makeDots1(); }},
};
INSTANTIATE_TEST_SUITE_P(Families, RoundTrip, testing::ValuesIn(kCases),
                         [](auto &info) {
                           return std::string(info.param.architecture);
                         });

/// Latents have no target, and the error says so.
TEST(Export, RefusesLatents) {
  TinyFamily model;
  model.makeDeepseek(false);
  ASSERT_FALSE(bool(model.write()));
  auto imported = importModel(model.folder.path());
  ASSERT_TRUE(bool(imported)) << toText(imported.takeError());
  auto planned = planExport(*imported->module, ExportRequest());
  ASSERT_FALSE(bool(planned));
  EXPECT_NE(toText(planned.takeError()).find("latents"), std::string::npos);
}

/// A graph that differs in one op from every decoder is no decoder.
TEST(Export, RefusesAnotherGraph) {
  TinyFamily model;
  model.makeLlama();
  ASSERT_FALSE(bool(model.write()));
  auto imported = importModel(model.folder.path());
  ASSERT_TRUE(bool(imported)) << toText(imported.takeError());
  Module &module = *imported->module;
  // The second layer's attention reads what is not normalised.
  Operation *q = nullptr;
  for (Operation &op : module.findProgram("step")->body().ops())
    for (Value operand : op.operands())
      if (operand.weight() && operand.weight()->name == "layers.1.attn.q")
        q = &op;
  ASSERT_TRUE(q);
  q->setOperand(0, q->operand(0).definingOp()->operand(0));
  auto planned = planExport(module, ExportRequest());
  ASSERT_FALSE(bool(planned));
  std::string text = toText(planned.takeError());
  EXPECT_NE(text.find("model.layers.1.attn"), std::string::npos) << text;
  EXPECT_NE(text.find("expected 'rms_norm"), std::string::npos) << text;
}
