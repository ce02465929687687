//===- ToyModel.h - the toy plan, loaded ----------------------------------===//
#pragma once

#include "ir/support/Diagnostic.h"
#include "runtime/generate/Session.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"

#include <gtest/gtest.h>

namespace moec::runtime {

class ToyModelTest : public testing::Test {
protected:
  void SetUp() override { folder.write("toy.bin", toy::weightFile()); }

  llvm::Expected<std::shared_ptr<const Model>>
  load(const plan::PlanT &source = toy::makePlan()) {
    MOEC_ASSIGN(std::shared_ptr<const runtime::Plan> plan,
                runtime::Plan::fromBytes(toy::serialize(source),
                                         folder.file("plan.moep")));
    ModelOptions options;
    options.cpu.threads = 2;
    options.cpu.pinThreads = false;
    options.cpu.jitLibrary = MOEC_TEST_JIT;
    options.cpu.cache = CacheOptions{CacheMode::off, ""};
    return Model::load(plan, std::move(options));
  }

  /// A session over the toy plan, or over `source`.
  std::unique_ptr<Session> open(SessionOptions options = {},
                                const plan::PlanT &source = toy::makePlan()) {
    auto model = load(source);
    if (!model) {
      ADD_FAILURE() << toText(model.takeError());
      return nullptr;
    }
    auto session = Session::create(*model, options);
    if (!session) {
      ADD_FAILURE() << toText(session.takeError());
      return nullptr;
    }
    return std::move(*session);
  }

  /// The error of opening a session.
  std::string errorOf(const plan::PlanT &source, SessionOptions options = {}) {
    auto model = load(source);
    if (!model)
      return toText(model.takeError());
    auto session = Session::create(*model, options);
    return session ? "" : toText(session.takeError());
  }

  /// The token that a row of the toy model's logits names.
  static int32_t best(llvm::ArrayRef<float> row) {
    int32_t token = -1;
    for (size_t i = 0; i < row.size(); ++i)
      if (row[i] == 8.0f) {
        EXPECT_EQ(token, -1);
        token = int32_t(i);
      } else {
        EXPECT_EQ(row[i], 0.0f);
      }
    return token;
  }

  TemporaryFolder folder;
};

} // namespace moec::runtime
