//===- Device.h - the driver API as the corpus uses it --------------------===//
//
// Thin owners over <cuda.h>. A call that fails is a failure of the running
// test, with the call's text and the driver's name for the error.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <cuda.h>
#include <string>
#include <type_traits>
#include <vector>

namespace corpus {

/// True where `result` is success; otherwise the test has failed.
bool succeeded(CUresult result, const char *call, const char *file, int line);
#define CU_CHECK(call) ::corpus::succeeded((call), #call, __FILE__, __LINE__)

/// The simulated architecture that this process runs: 80, 90 or 100.
int currentArch();
/// For the program's main, before the first use of the device.
void setCurrentArch(int arch);

/// The first device with its primary context current; released at the end of
/// the process by `releaseDevice`.
CUdevice device();
void releaseDevice();

/// A function of a corpus file, compiled for the current architecture. Modules
/// stay loaded until `releaseDevice`.
CUfunction kernel(const std::string &file, const std::string &name);
/// Whether compiling `file` for the current architecture gave this kernel.
bool hasKernel(const std::string &file, const std::string &name);

/// Device memory for a vector.
template <typename T> class Buffer {
public:
  /// Without content, as the driver gives it.
  explicit Buffer(size_t count) : count(count) {
    device();
    CU_CHECK(cuMemAlloc(&address, count * sizeof(T)));
  }
  explicit Buffer(const std::vector<T> &content) : Buffer(content.size()) {
    upload(content);
  }
  Buffer(size_t count, T value) : Buffer(std::vector<T>(count, value)) {}
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { CU_CHECK(cuMemFree(address)); }

  void upload(const std::vector<T> &content) {
    CU_CHECK(cuMemcpyHtoD(address, content.data(), count * sizeof(T)));
  }
  std::vector<T> download() const {
    std::vector<T> content(count);
    CU_CHECK(cuMemcpyDtoH(content.data(), address, count * sizeof(T)));
    return content;
  }
  CUdeviceptr pointer() const { return address; }

private:
  CUdeviceptr address = 0;
  size_t count = 0;
};

struct Shape {
  unsigned x = 1, y = 1, z = 1;
};

/// Launches and waits.
void launchRaw(CUfunction function, Shape grid, Shape block,
               unsigned sharedBytes, void **arguments, bool cooperative);

namespace detail {
template <typename T> CUdeviceptr argument(const Buffer<T> &buffer) {
  return buffer.pointer();
}
template <typename T>
  requires std::is_arithmetic_v<T>
T argument(T value) {
  return value;
}
template <typename... Values>
void launchWith(CUfunction function, Shape grid, Shape block,
                unsigned sharedBytes, bool cooperative, Values... values) {
  void *arguments[] = {&values..., nullptr};
  launchRaw(function, grid, block, sharedBytes, arguments, cooperative);
}
} // namespace detail

/// Buffers become their addresses; numbers must have the parameter's type.
template <typename... Arguments>
void launch(CUfunction function, Shape grid, Shape block, unsigned sharedBytes,
            const Arguments &...arguments) {
  detail::launchWith(function, grid, block, sharedBytes, false,
                     detail::argument(arguments)...);
}
template <typename... Arguments>
void launchCooperative(CUfunction function, Shape grid, Shape block,
                       unsigned sharedBytes, const Arguments &...arguments) {
  detail::launchWith(function, grid, block, sharedBytes, true,
                     detail::argument(arguments)...);
}

} // namespace corpus
