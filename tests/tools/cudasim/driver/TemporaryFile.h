//===- TemporaryFile.h - a file of one test -------------------------------===//
#pragma once

#include "gtest/gtest.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

namespace cudasim::test {

/// Made new and empty, so that tests may run beside each other; removed at the
/// end.
class TemporaryFile {
public:
  explicit TemporaryFile(const std::string &ending = "")
      : name(testing::TempDir() + "cudasim-test-XXXXXX" + ending) {
    int file = mkstemps(name.data(), int(ending.size()));
    EXPECT_GE(file, 0) << name;
    close(file);
  }
  ~TemporaryFile() { unlink(name.c_str()); }
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;

  const std::string &path() const { return name; }
  void write(const std::string &text) const { std::ofstream(name) << text; }
  std::string read() const {
    std::stringstream text;
    text << std::ifstream(name).rdbuf();
    return text.str();
  }

private:
  std::string name;
};

} // namespace cudasim::test
