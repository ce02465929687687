//===- BugsTest.cpp - every seeded bug is caught, and only the bug --------===//
//
// Each kernel is compiled twice: as it stands, and with CORRECT defined. The
// first must end with the right error code and a report that names kernel,
// thread and a source line marked "// BUG"; the second must say nothing.
//
//===----------------------------------------------------------------------===//
#include "tests/tools/cudasim/bugs/Scene.h"
#include "tests/tools/cudasim/corpus/harness/Children.h"
#include "tests/tools/cudasim/corpus/harness/Compile.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>

using namespace bugs;
using corpus::ChildResult;

static std::string kernelName(const Bug &bug) {
  std::string name = bug.name;
  name[0] = char(tolower(name[0]));
  return name;
}

/// "File.cu:12" for every line of the kernel's file that ends in the mark.
static std::vector<std::string> markedPlaces(const Bug &bug) {
  std::vector<std::string> places;
  std::string file = std::string(bug.name) + ".cu";
  std::stringstream text(corpus::readText(BUG_KERNELS "/" + file));
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    if (line.find("// BUG") != std::string::npos)
      places.push_back(file + ":" + std::to_string(number));
  }
  return places;
}

/// True where `text` holds the place, and not as the start of a longer number.
static bool namesPlace(const std::string &text, const std::string &place) {
  for (size_t at = text.find(place); at != std::string::npos;
       at = text.find(place, at + 1))
    if (!isdigit(text[at + place.size()]))
      return true;
  return false;
}

static ChildResult runBug(const Bug &bug, bool correct, int seed) {
  std::vector<std::string> defines;
  if (correct)
    defines.push_back("--define-macro=CORRECT");
  const corpus::Compiled &compiled = corpus::compileKernel(
      BUG_KERNELS, std::string(bug.name) + ".cu", 90, defines);
  EXPECT_EQ(compiled.error, "");
  return corpus::runChild(
      "checks=all,device=h100,seed=" + std::to_string(seed) + bug.options,
      /*capture=*/true, [&] {
        Scene scene(compiled.ptx, kernelName(bug), correct);
        bug.run(scene);
        scene.close();
        printf("code %d\n", int(scene.firstError()));
        return 0;
      });
}

class SeededBug : public testing::TestWithParam<const Bug *> {};

TEST_P(SeededBug, IsCaughtAtItsPlace) {
  const Bug &bug = *GetParam();
  for (int seed : {0, 1, 2}) {
    ChildResult result = runBug(bug, /*correct=*/false, seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", report:\n" +
                 result.errors);
    ASSERT_EQ(result.status, 0) << "signal " << result.signal;
    EXPECT_EQ(result.output, "code " + std::to_string(int(bug.code)) + "\n");
    const std::string &report = result.errors;
    EXPECT_NE(report.find(kernelName(bug)), std::string::npos);
    bool said = false;
    for (const char *word : bug.says)
      said |= report.find(word) != std::string::npos;
    EXPECT_TRUE(said) << "the report does not say what is wrong";
    bool placed = false;
    for (const std::string &place : markedPlaces(bug))
      placed |= namesPlace(report, place);
    EXPECT_TRUE(placed) << "the report does not name a marked source line";
    if (bug.thread >= 0)
      EXPECT_NE(report.find("thread (" + std::to_string(bug.thread) + ",0,0)"),
                std::string::npos);
    if (bug.block >= 0)
      EXPECT_NE(report.find("block (" + std::to_string(bug.block) + ",0,0)"),
                std::string::npos);
  }
}

TEST_P(SeededBug, CorrectTwinSaysNothing) {
  for (int seed : {0, 1, 2}) {
    ChildResult result = runBug(*GetParam(), /*correct=*/true, seed);
    EXPECT_EQ(result.status, 0) << "signal " << result.signal;
    EXPECT_EQ(result.output, "code 0\n") << "seed " << seed;
    EXPECT_EQ(result.errors, "") << "seed " << seed;
  }
}

static std::vector<const Bug *> pointers() {
  std::vector<const Bug *> list;
  for (const Bug &bug : allBugs())
    list.push_back(&bug);
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, SeededBug, testing::ValuesIn(pointers()),
                         [](const auto &info) {
                           return std::string(info.param->name);
                         });

/// A child that has a context and does what `body` says with it.
static ChildResult runHost(const std::function<void()> &body) {
  return corpus::runChild("checks=all,device=h100", /*capture=*/true, [&] {
    CUcontext context = nullptr;
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(context);
    body();
    cuDevicePrimaryCtxRelease(0);
    return 0;
  });
}

TEST(HostBug, DoubleFree) {
  ChildResult result = runHost([] {
    CUdeviceptr pointer = 0;
    cuMemAlloc(&pointer, 100);
    printf("%d ", int(cuMemFree(pointer)));
    printf("%d\n", int(cuMemFree(pointer)));
  });
  EXPECT_EQ(result.output, "0 1\n");
}

TEST(HostBug, FreeOfAnInteriorPointer) {
  ChildResult result = runHost([] {
    CUdeviceptr pointer = 0;
    cuMemAlloc(&pointer, 1024);
    printf("%d ", int(cuMemFree(pointer + 256)));
    printf("%d\n", int(cuMemFree(pointer)));
  });
  EXPECT_EQ(result.output, "1 0\n");
}

TEST(HostBug, LeakIsReported) {
  ChildResult result = runHost([] {
    CUdeviceptr kept = 0, freed = 0;
    cuMemAlloc(&kept, 12345);
    cuMemAlloc(&freed, 54321);
    cuMemFree(freed);
  });
  EXPECT_NE(result.errors.find("leak"), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("12345"), std::string::npos) << result.errors;
  EXPECT_EQ(result.errors.find("54321"), std::string::npos) << result.errors;
}

// An output that no kernel wrote is copied back.
TEST(HostBug, UnwrittenOutputIsReported) {
  for (bool written : {false, true}) {
    ChildResult result = runHost([&] {
      CUdeviceptr out = 0;
      unsigned words[16];
      cuMemAlloc(&out, sizeof words);
      cuMemsetD32(out, 7, written ? 16 : 15);
      cuMemcpyDtoH(words, out, sizeof words);
      cuMemFree(out);
    });
    if (written)
      EXPECT_EQ(result.errors, "");
    else
      EXPECT_NE(result.errors.find("uninit"), std::string::npos)
          << result.errors;
  }
}

TEST(HostBug, CopyPastTheEnd) {
  ChildResult result = runHost([] {
    CUdeviceptr out = 0;
    unsigned words[17] = {};
    cuMemAlloc(&out, 64);
    printf("%d ", int(cuMemcpyHtoD(out, words, 64)));
    printf("%d\n", int(cuMemcpyHtoD(out, words, 68)));
    cuMemFree(out);
  });
  EXPECT_EQ(result.output, "0 1\n");
}
