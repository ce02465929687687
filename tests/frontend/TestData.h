//===- TestData.h - files of real models, where the machine has them ------===//
#pragma once

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

namespace moec {

/// A path inside the folder of test data: MOEC_TEST_DATA, or `../shared/data`
/// beside the project.
inline std::string testDataPath(const std::string &path) {
  const char *folder = std::getenv("MOEC_TEST_DATA");
  std::string root = folder ? folder : MOEC_SOURCE_DIR "/../shared/data";
  return root + "/" + path;
}

inline std::string testFile(const std::string &path) {
  auto file = llvm::MemoryBuffer::getFile(testDataPath(path));
  if (file)
    return (*file)->getBuffer().str();
  ADD_FAILURE() << "cannot read " << testDataPath(path);
  return {};
}

} // namespace moec

/// Skips a test where the data is absent; another folder of that name does not
/// count.
#define MOEC_REQUIRE_TEST_DATA()                                               \
  if (!llvm::sys::fs::exists(moec::testDataPath("goldens.json")))              \
  GTEST_SKIP() << "no test data in " << moec::testDataPath("")                 \
               << "; set MOEC_TEST_DATA to its folder"
