#include "tests/tools/cudasim/bugs/Scene.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace bugs {

Scene::Scene(const std::string &ptx, const std::string &kernelName,
             bool correct)
    : correct(correct) {
  CUcontext context = nullptr;
  check(cuInit(0));
  check(cuDeviceGet(&device, 0));
  check(cuDevicePrimaryCtxRetain(&context, device));
  check(cuCtxSetCurrent(context));
  check(cuModuleLoadData(&module, ptx.c_str()));
  check(cuModuleGetFunction(&function, module, kernelName.c_str()));
}

bool Scene::check(CUresult result) {
  if (error == CUDA_SUCCESS)
    error = result;
  return error == CUDA_SUCCESS;
}

CUdeviceptr Scene::words(const std::vector<unsigned> &content, size_t written) {
  CUdeviceptr pointer = 0;
  check(cuMemAlloc(&pointer, content.size() * 4));
  check(cuMemcpyHtoD(pointer, content.data(),
                     std::min(content.size(), written) * 4));
  owned.push_back(pointer);
  return pointer;
}

CUdeviceptr Scene::floats(size_t count, size_t written) {
  std::vector<unsigned> content(count);
  for (size_t i = 0; i < count; ++i)
    content[i] = std::bit_cast<unsigned>(float(i));
  return words(content, written);
}

CUdeviceptr Scene::integers(size_t count, size_t written) {
  std::vector<unsigned> content(count);
  for (size_t i = 0; i < count; ++i)
    content[i] = unsigned(i);
  return words(content, written);
}

CUdeviceptr Scene::zeros(size_t count) {
  return words(std::vector<unsigned>(count), SIZE_MAX);
}

void Scene::forget(CUdeviceptr pointer) { std::erase(owned, pointer); }

void Scene::launchRaw(unsigned blocks, unsigned threads, void **arguments) {
  if (check(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, sharedBytes,
                           nullptr, arguments, nullptr)))
    check(cuCtxSynchronize());
}

void Scene::close() {
  if (error != CUDA_SUCCESS)
    return;
  for (CUdeviceptr pointer : owned)
    check(cuMemFree(pointer));
  check(cuModuleUnload(module));
  check(cuDevicePrimaryCtxRelease(device));
}

} // namespace bugs
