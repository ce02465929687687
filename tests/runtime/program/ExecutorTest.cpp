#include "runtime/program/Executor.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/CpuDevice.h"
#include "runtime/cpu/JitLibrary.h"
#include "runtime/program/PackedWeights.h"
#include "runtime/program/WeightProvider.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

class ExecutorTest : public testing::Test {
protected:
  void SetUp() override {
    folder.write("toy.bin", toy::weightFile());
    CpuOptions options;
    options.threads = 2;
    options.pinThreads = false;
    options.jitLibrary = MOEC_TEST_JIT;
    options.cache = CacheOptions{CacheMode::readWrite, folder.file("cache")};
    auto made = CpuDevice::create(options);
    ASSERT_TRUE(bool(made)) << toText(made.takeError());
    device = std::move(*made);
  }

  llvm::Expected<std::unique_ptr<Executor>> load(const plan::PlanT &source) {
    MOEC_ASSIGN(std::shared_ptr<const runtime::Plan> plan,
                runtime::Plan::fromBytes(toy::serialize(source),
                                         folder.file("plan.moep")));
    MOEC_ASSIGN(unsigned variant, chooseVariant(*plan, *device));
    FileWeightProvider weights;
    MOEC_ASSIGN(std::shared_ptr<const LoadedPlan> loaded,
                LoadedPlan::load(plan, device, variant, weights));
    return Executor::create(loaded, {0, 0, 0, 0, 8});
  }

  static llvm::Error runAffine(Executor &executor, llvm::ArrayRef<float> x,
                               std::vector<float> &y) {
    y.resize(x.size());
    RunRequest request;
    request.signature = 1;
    int64_t symbols[] = {int64_t(x.size()), 0, 0, 0, 8};
    request.symbols = symbols;
    llvm::ArrayRef<uint8_t> inputs[] = {
        {reinterpret_cast<const uint8_t *>(x.data()), x.size() * 4}};
    llvm::MutableArrayRef<uint8_t> outputs[] = {
        {reinterpret_cast<uint8_t *>(y.data()), y.size() * 4}};
    request.inputs = inputs;
    request.outputs = outputs;
    return executor.run(request);
  }

  std::string errorOf(const plan::PlanT &source) {
    auto executor = load(source);
    return executor ? "" : toText(executor.takeError());
  }

  TemporaryFolder folder;
  std::shared_ptr<CpuDevice> device;
};

TEST_F(ExecutorTest, RunsLaunchesAtAnySize) {
  auto executor = load(toy::makePlan());
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  // Up and down again, so that bindings are made, reused and dropped.
  for (size_t tokens : {1, 16, 3, 16, 1}) {
    std::vector<float> x(tokens), y;
    for (size_t i = 0; i < tokens; ++i)
      x[i] = float(i) - 2;
    llvm::Error err = runAffine(**executor, x, y);
    ASSERT_FALSE(bool(err)) << toText(std::move(err));
    for (size_t i = 0; i < tokens; ++i)
      EXPECT_EQ(y[i], 2 * (3 * x[i] + 1)) << tokens << ", " << i;
  }
  EXPECT_EQ((*executor)->arenaBytes(), 64u + 64 * 16);
  EXPECT_EQ((*executor)->stateBytes(), 8u * 4 * 4 + 4 * 8);
}

TEST_F(ExecutorTest, RunsOnWeightsPackedBeforehand) {
  plan::PlanT source = toy::makePlan();
  auto file = std::make_unique<plan::WeightFileT>();
  WeightFileHead head{kWeightFileStart + 4, {}};
  file->file = "toy.weights";
  file->bytes = head.fileBytes;
  file->id.assign(head.id.begin(), head.id.end());
  source.weight_files.push_back(std::move(file));
  auto range = std::make_unique<plan::PackedRangeT>();
  range->offset = kWeightFileStart;
  range->bytes = 4;
  source.variants[0]->weights[0]->packed = std::move(range);
  std::string text = llvm::toStringRef(head.encode()).str();
  text.resize(kWeightFileStart);
  float scale = 7;
  text.append(reinterpret_cast<const char *>(&scale), 4);
  folder.write("toy.weights", text);
  // What was packed is used, and the source, which says 3, is not.
  auto executor = load(source);
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  EXPECT_EQ((*executor)->loaded().packedBeforehandBytes(), 4u);
  std::vector<float> y;
  ASSERT_FALSE(bool(runAffine(**executor, {2}, y)));
  EXPECT_EQ(y[0], 2 * (7 * 2 + 1));
  ASSERT_EQ(::unlink(folder.file("toy.bin").c_str()), 0);
  EXPECT_TRUE(bool(load(source)));
  // Without: the source is missing, and the note says what would help.
  source.variants[0]->weights[0]->packed = nullptr;
  EXPECT_THAT(errorOf(source),
              testing::AllOf(HasSubstr("toy.bin"),
                             HasSubstr("compile with --pack=cpu-generic")));
}

TEST_F(ExecutorTest, TakesCodeFromTheCacheTheSecondTime) {
  ASSERT_TRUE(bool(load(toy::makePlan())));
  EXPECT_EQ(device->codeStatistics().compiled, 1u);
  EXPECT_EQ(device->codeStatistics().cacheProblem, "");
  ASSERT_TRUE(bool(load(toy::makePlan())));
  EXPECT_EQ(device->codeStatistics().compiled, 0u);
  EXPECT_EQ(device->codeStatistics().cacheHits, 1u);
}

TEST_F(ExecutorTest, RefusesSymbolsAndSizesThatDoNotFit) {
  auto executor = load(toy::makePlan());
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  std::vector<float> y;
  EXPECT_THAT(toText(runAffine(**executor, std::vector<float>(17), y)),
              HasSubstr("has no program of signature 'affine' for tokens = 17, "
                        "seqs = 0"));
  RunRequest request;
  request.signature = 1;
  int64_t symbols[] = {2, 0, 0, 0, 8};
  request.symbols = symbols;
  uint8_t bytes[8] = {};
  llvm::ArrayRef<uint8_t> inputs[] = {llvm::ArrayRef<uint8_t>(bytes, 4)};
  llvm::MutableArrayRef<uint8_t> outputs[] = {bytes};
  request.inputs = inputs;
  request.outputs = outputs;
  EXPECT_THAT(toText((*executor)->run(request)),
              HasSubstr("expects 8 bytes for 'x', got 4"));
}

TEST_F(ExecutorTest, PrefersTheFirstProgramThatFits) {
  plan::PlanT source = toy::makePlan();
  // A program for one token only, first in the list: it doubles nothing.
  auto &programs = source.variants[0]->programs;
  auto small = std::make_unique<plan::ProgramT>(*programs[0]);
  small->name = "one";
  small->symbol_limits = {1, 0, 0, 0, 0};
  small->launches.pop_back();
  small->launches[0]->buffers[3] = 4;
  programs.insert(programs.begin(), std::move(small));
  auto executor = load(source);
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  std::vector<float> y;
  ASSERT_FALSE(bool(runAffine(**executor, {5}, y)));
  EXPECT_EQ(y[0], 16);
  ASSERT_FALSE(bool(runAffine(**executor, {5, 6}, y)));
  EXPECT_EQ(y[0], 32);
}

TEST_F(ExecutorTest, RefusesRangesThatOverlapInPart) {
  plan::PlanT source = toy::makePlan();
  plan::ProgramT &program = *source.variants[0]->programs[0];
  auto second = std::make_unique<plan::BufferT>(*program.buffers[3]);
  second->offset = toy::polynomial({{128, {}}});
  program.buffers.push_back(std::move(second));
  program.launches[1]->buffers[1] = 5;
  program.arena_bytes = toy::polynomial({{128, {}}, {64, {toy::kTokens}}});
  auto executor = load(source);
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  std::vector<float> y;
  EXPECT_THAT(toText(runAffine(**executor, {1, 2}, y)),
              HasSubstr("launch 1 (layers.0.double): error: binds buffers 3 "
                        "and 5, arena bytes [64, 192) and [128, 256), which "
                        "overlap in part"));
}

TEST_F(ExecutorTest, ChecksTheArenaAtEverySize) {
  // Right at the maximum of 16 tokens, wrong below.
  plan::PlanT source = toy::makePlan();
  plan::ProgramT &program = *source.variants[0]->programs[0];
  program.buffers[3]->offset = toy::polynomial({{1024, {}}, {-64, {0}}});
  program.arena_bytes = toy::polynomial({{64, {toy::kTokens}}});
  auto executor = load(source);
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  std::vector<float> y;
  EXPECT_FALSE(bool(runAffine(**executor, std::vector<float>(16), y)));
  EXPECT_THAT(toText(runAffine(**executor, {1}, y)),
              HasSubstr("has 64 bytes at offset 960, outside the 64 bytes"));
}

TEST_F(ExecutorTest, ProfilesLaunches) {
  auto executor = load(toy::makePlan());
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  (*executor)->setProfile(true);
  std::vector<float> y;
  for (int i = 0; i < 3; ++i)
    ASSERT_FALSE(bool(runAffine(**executor, {1, 2, 3}, y)));
  std::vector<LaunchProfile> profile = (*executor)->profile();
  ASSERT_EQ(profile.size(), 2u);
  EXPECT_EQ(profile[1].launch, 1u);
  EXPECT_EQ(profile[1].runs, 3u);
  EXPECT_GT(profile[1].seconds, 0);
  EXPECT_EQ(launchName(*profile[1].program, 1),
            "program 'affine', launch 1 (layers.0.double)");
}

TEST_F(ExecutorTest, FindsTheLaunchThatLeavesNan) {
  auto executor = load(toy::makePlan());
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  (*executor)->setCheckNan(true);
  std::vector<float> y;
  EXPECT_FALSE(bool(runAffine(**executor, {1, 2}, y)));
  EXPECT_THAT(toText(runAffine(**executor, {1, NAN}, y)),
              HasSubstr("launch 0 (layers.0.affine): error: leaves NaN in "
                        "buffer 3, element 1"));
}

TEST_F(ExecutorTest, ReadsAndClearsStates) {
  auto executor = load(toy::makePlan());
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  int32_t tokens[] = {1, 2, 5}, positions[] = {0, 1, 2}, offsets[] = {0, 3},
          table[] = {7}, rows[] = {2};
  float logits[toy::kVocabulary];
  auto view = [](auto &array) {
    return llvm::ArrayRef<uint8_t>(reinterpret_cast<uint8_t *>(array),
                                   sizeof(array));
  };
  llvm::ArrayRef<uint8_t> inputs[] = {view(tokens), view(positions),
                                      view(offsets), view(table), view(rows)};
  llvm::MutableArrayRef<uint8_t> outputs[] = {
      {reinterpret_cast<uint8_t *>(logits), sizeof(logits)}};
  int64_t symbols[] = {3, 1, 1, 1, 8};
  RunRequest request{0, symbols, inputs, outputs};
  llvm::Error err = (*executor)->run(request);
  ASSERT_FALSE(bool(err)) << toText(std::move(err));
  EXPECT_EQ(logits[toy::nextToken({1, 2, 5})], 8);
  int64_t counters[4];
  llvm::MutableArrayRef<uint8_t> bytes(reinterpret_cast<uint8_t *>(counters),
                                       sizeof(counters));
  ASSERT_FALSE(bool((*executor)->readState(1, bytes)));
  EXPECT_THAT(counters, testing::ElementsAre(0, 2, 1, 0));
  ASSERT_FALSE(bool((*executor)->zeroState(1)));
  ASSERT_FALSE(bool((*executor)->readState(1, bytes)));
  EXPECT_THAT(counters, testing::Each(0));
  // States have the size of 8 blocks; a run that states another is refused.
  symbols[4] = 9;
  EXPECT_THAT(toText((*executor)->run(request)),
              HasSubstr("state 'layers.0.cache', which was made for other"));
}

TEST_F(ExecutorTest, NamesWhatAVariantNeeds) {
  plan::PlanT source = toy::makePlan();
  source.variants[0]->features = {"warp-drive"};
  EXPECT_THAT(errorOf(source),
              HasSubstr("has no variant for device 'cpu': variant "
                        "'cpu-generic' needs warp-drive, which this"));
  source.variants[0]->name = "cuda-sm90";
  EXPECT_THAT(errorOf(source), HasSubstr("is for another kind of device"));
}

TEST_F(ExecutorTest, TakesTheVariantThatIsForced) {
  plan::PlanT source = toy::makePlan();
  source.variants.push_back(
      std::make_unique<plan::VariantT>(*source.variants[0]));
  source.variants[0]->features = {"warp-drive"};
  source.variants[1]->name = "cpu-x86-plain";
  auto plan = runtime::Plan::fromBytes(toy::serialize(source), "plan.moep");
  ASSERT_TRUE(bool(plan)) << toText(plan.takeError());
#if defined(__x86_64__)
  auto best = chooseVariant(**plan, *device);
  ASSERT_TRUE(bool(best)) << toText(best.takeError());
  EXPECT_EQ(*best, 1u);
  auto forced = chooseVariant(**plan, *device, "plain");
  ASSERT_TRUE(bool(forced)) << toText(forced.takeError());
  EXPECT_EQ(*forced, 1u);
#endif
  auto lacking = chooseVariant(**plan, *device, "cpu-generic");
  ASSERT_FALSE(bool(lacking));
  EXPECT_THAT(toText(lacking.takeError()), HasSubstr("needs warp-drive"));
  auto unknown = chooseVariant(**plan, *device, "avx9");
  ASSERT_FALSE(bool(unknown));
  EXPECT_THAT(toText(unknown.takeError()),
              HasSubstr("has no variant 'avx9', it has 'cpu-generic', "
                        "'cpu-x86-plain'"));
}

TEST_F(ExecutorTest, RunsNativeObjects) {
  auto jit = JitLibrary::open(MOEC_TEST_JIT);
  ASSERT_TRUE(bool(jit)) << toText(jit.takeError());
  auto object = jit->compile(toy::bitcode(), "");
  ASSERT_TRUE(bool(object)) << toText(object.takeError());
  plan::PlanT source = toy::makePlan();
  plan::CodeBlobT &blob = *source.variants[0]->code[0];
  blob.kind = plan::CodeKind::native_object;
  blob.code = *object;
  toy::sign(blob);
  auto executor = load(source);
  ASSERT_TRUE(bool(executor)) << toText(executor.takeError());
  EXPECT_EQ(device->codeStatistics().compiled, 0u);
  EXPECT_EQ(device->codeStatistics().cacheHits, 0u);
  std::vector<float> y;
  ASSERT_FALSE(bool(runAffine(**executor, {5}, y)));
  EXPECT_EQ(y[0], 32);
  blob.kind = plan::CodeKind::cuda_source;
  EXPECT_THAT(errorOf(source), HasSubstr("code 0 is cuda_source, a CPU expects "
                                         "llvm_bitcode or native_object"));
}

TEST_F(ExecutorTest, RefusesCodeThatIsWrong) {
  plan::PlanT source = toy::makePlan();
  source.variants[0]->code[0]->code[200] ^= 1;
  EXPECT_THAT(errorOf(source), HasSubstr("expects the SHA-256"));
  source.variants[0]->code[0]->code = {'B', 'C', 0xc0, 0xde, 1, 2, 3, 4};
  toy::sign(*source.variants[0]->code[0]);
  EXPECT_THAT(errorOf(source), HasSubstr("bitcode cannot be read"));
  source = toy::makePlan();
  source.variants[0]->kernels[0]->name = "absent";
  EXPECT_THAT(errorOf(source), HasSubstr("absent"));
}

} // namespace
