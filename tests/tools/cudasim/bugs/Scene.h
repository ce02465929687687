//===- Scene.h - one buggy kernel and its correct twin --------------------===//
#pragma once

#include <cuda.h>

#include <functional>
#include <string>
#include <vector>

namespace bugs {

/// What a bug's host code works with, inside the child process.
class Scene {
public:
  /// Makes the context and loads the kernel of `file` from PTX.
  Scene(const std::string &ptx, const std::string &kernelName, bool correct);

  /// Set for the twin that must run clean.
  const bool correct;

  /// Device memory for `count` words that hold 0, 1, 2, ...; the first
  /// `written` of them are written. Freed at the end.
  CUdeviceptr floats(size_t count, size_t written = SIZE_MAX);
  CUdeviceptr integers(size_t count, size_t written = SIZE_MAX);
  /// Likewise, of zeros.
  CUdeviceptr zeros(size_t count);
  /// No longer freed at the end.
  void forget(CUdeviceptr pointer);

  /// Launches and waits.
  template <typename... Values>
  void launch(unsigned blocks, unsigned threads, Values... values) {
    void *arguments[] = {&values..., nullptr};
    launchRaw(blocks, threads, arguments);
  }
  unsigned sharedBytes = 0;

  /// Remembers the first error; true where there is none yet.
  bool check(CUresult result);
  CUresult firstError() const { return error; }
  /// Frees what was allocated, where the context still works.
  void close();

private:
  void launchRaw(unsigned blocks, unsigned threads, void **arguments);
  CUdeviceptr words(const std::vector<unsigned> &content, size_t written);

  CUresult error = CUDA_SUCCESS;
  CUdevice device = 0;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  std::vector<CUdeviceptr> owned;
};

struct Bug {
  /// The file in kernels/, without .cu; the kernel is called the same with a
  /// small first letter.
  const char *name;
  /// What the driver must answer.
  CUresult code;
  /// The report has one of these words.
  std::vector<const char *> says;
  /// The thread (x) and block (x) that the report names; -1: any.
  int thread, block;
  std::function<void(Scene &)> run;
  /// More options for MOEC_CUDASIM.
  const char *options = "";
};

/// All of them, in no particular order.
const std::vector<Bug> &allBugs();

} // namespace bugs
