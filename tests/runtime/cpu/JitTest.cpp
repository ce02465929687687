#include "runtime/cpu/JitLibrary.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/HostFeatures.h"
#include "runtime/schema/KernelAbi.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "tests/runtime/toy/ToyPlan.h"
#include "llvm/ADT/StringExtras.h"

#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using namespace moec::runtime;
using testing::HasSubstr;

namespace {

std::string errorOf(llvm::Expected<std::vector<uint8_t>> result) {
  return result ? "" : toText(result.takeError());
}

JitLibrary openPlugin() {
  auto jit = JitLibrary::open(MOEC_TEST_JIT);
  if (!jit)
    ADD_FAILURE() << toText(jit.takeError());
  return std::move(*jit);
}

TEST(Jit, CompilesLoadsAndCalls) {
  JitLibrary jit = openPlugin();
  EXPECT_TRUE(jit.llvmVersion().starts_with("19."));
  auto object = jit.compile(toy::bitcode(), "");
  ASSERT_TRUE(bool(object)) << toText(object.takeError());
  auto code = jit.load(llvm::ArrayRef<uint8_t>(*object));
  ASSERT_TRUE(bool(code)) << toText(code.takeError());
  auto functions = (*code)->lookup({"toy_affine", "toy_double"});
  ASSERT_TRUE(bool(functions)) << toText(functions.takeError());
  auto affine = reinterpret_cast<MoecKernel>((*functions)[0]);
  float x[20], weight = 2, constant = -1, out[20] = {};
  for (int i = 0; i < 20; ++i)
    x[i] = float(i);
  void *buffers[] = {x, &weight, &constant, out};
  int64_t count = 20;
  affine(buffers, &count, 0, 2, nullptr);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(out[i], 2.0f * float(i) - 1);
}

TEST(Jit, CompilesForTheFeaturesAlone) {
  JitLibrary jit = openPlugin();
  auto plain = jit.compile(toy::bitcode(), "");
  ASSERT_TRUE(bool(plain)) << toText(plain.takeError());
  auto again = jit.compile(toy::bitcode(), "");
  ASSERT_TRUE(bool(again)) << toText(again.takeError());
  EXPECT_EQ(*plain, *again);
#if defined(__x86_64__)
  // Code for a processor that this one need not be.
  auto wide = jit.compile(toy::bitcode(), "+avx512f,+avx512vl,+avx2");
  ASSERT_TRUE(bool(wide)) << toText(wide.takeError());
  EXPECT_NE(*plain, *wide);
#endif
}

TEST(Jit, RefusesDamagedBitcode) {
  JitLibrary jit = openPlugin();
  std::vector<uint8_t> bitcode = toy::bitcode();
  EXPECT_THAT(errorOf(jit.compile({}, "")),
              HasSubstr("bitcode cannot be read"));
  EXPECT_THAT(
      errorOf(jit.compile(llvm::ArrayRef<uint8_t>(bitcode).take_front(64), "")),
      HasSubstr("bitcode cannot be read"));
}

TEST(Jit, NamesWhatIsNotThere) {
  JitLibrary jit = openPlugin();
  auto object = jit.compile(toy::bitcode(), "");
  ASSERT_TRUE(bool(object)) << toText(object.takeError());
  auto code = jit.load(llvm::ArrayRef<uint8_t>(*object));
  ASSERT_TRUE(bool(code)) << toText(code.takeError());
  auto functions = (*code)->lookup({"toy_affine", "toy_missing"});
  ASSERT_FALSE(bool(functions));
  EXPECT_THAT(toText(functions.takeError()), HasSubstr("toy_missing"));
  // An object that is none.
  std::vector<uint8_t> noise(256, 7);
  auto loaded = jit.load(llvm::ArrayRef<uint8_t>(noise));
  EXPECT_FALSE(bool(loaded));
  llvm::consumeError(loaded.takeError());
}

TEST(Jit, SaysWhereItLookedForThePlugin) {
  TemporaryFolder folder;
  auto missing = JitLibrary::open(folder.file("libnone.so"));
  ASSERT_FALSE(bool(missing));
  EXPECT_THAT(toText(missing.takeError()),
              testing::AllOf(HasSubstr("MOEC_JIT_LIBRARY"),
                             HasSubstr(folder.file("libnone.so"))));
  folder.write("libbad.so", "no library");
  auto bad = JitLibrary::open(folder.file("libbad.so"));
  ASSERT_FALSE(bool(bad));
  EXPECT_THAT(toText(bad.takeError()), HasSubstr("cannot be opened"));
}

TEST(Jit, IsFoundByTheEnvironmentAndBesideTheProgram) {
  setenv("MOEC_JIT_LIBRARY", MOEC_TEST_JIT, 1);
  auto named = JitLibrary::open();
  ASSERT_TRUE(bool(named)) << toText(named.takeError());
  EXPECT_EQ(named->path(), MOEC_TEST_JIT);
  unsetenv("MOEC_JIT_LIBRARY");
  auto found = JitLibrary::open();
  EXPECT_TRUE(bool(found)) << toText(found.takeError());
}

TEST(HostFeatures, AreThoseOfTheProcessor) {
#if defined(__x86_64__)
  EXPECT_EQ(hostHasFeature("avx2"), bool(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(hostHasFeature("avx512f"), bool(__builtin_cpu_supports("avx512f")));
  EXPECT_TRUE(hostHasFeature("sse2"));
#endif
  EXPECT_FALSE(hostHasFeature("warp-drive"));
  EXPECT_THAT(missingFeatures({"warp-drive"}),
              testing::ElementsAre("warp-drive"));
}

} // namespace
