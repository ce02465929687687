//===- TestData.h - real models, where the machine has them ---------------===//
#pragma once

#include "llvm/Support/FileSystem.h"

#include <cstdlib>
#include <string>

namespace moec {

/// The folder of real data: MOEC_TEST_DATA, or `../shared/data` beside the
/// project; empty where there is none.
inline std::string testData() {
  const char *chosen = std::getenv("MOEC_TEST_DATA");
  std::string folder =
      chosen ? chosen : std::string(MOEC_SOURCE_DIR) + "/../shared/data";
  return llvm::sys::fs::is_directory(folder) ? folder : std::string();
}

} // namespace moec

/// Skips a test where the real data is absent.
#define MOEC_REQUIRE_TEST_DATA()                                               \
  if (moec::testData().empty())                                                \
  GTEST_SKIP() << "no test data; set MOEC_TEST_DATA to its folder"
