//===- Compile.h - CUDA C++ to PTX with NVRTC, once a source --------------===//
#pragma once

#include <string>
#include <vector>

namespace corpus {

struct Compiled {
  std::string ptx;
  /// NVRTC's log where there is no PTX.
  std::string error;
};

/// Compiles the file `name` of `folder` for compute_<arch> with line
/// information. The result is kept for the life of the process, and so for
/// its children where the caller forks after the call.
const Compiled &compileKernel(const std::string &folder,
                              const std::string &name, int arch,
                              const std::vector<std::string> &options = {});

/// The text of a file; empty where it cannot be read.
std::string readText(const std::string &path);

} // namespace corpus
