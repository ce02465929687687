#include "tests/tools/cudasim/driver/Fixture.h"
#include "tests/tools/cudasim/driver/TemporaryFile.h"

#include <cstring>
#include <string>

using namespace cudasim::test;

namespace {

class ModuleTest : public DriverTest {};

TEST_F(ModuleTest, FunctionsAndTheirAttributes) {
  CUfunction shared = function("shared");
  int value = 0;
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, shared));
  EXPECT_EQ(value, 1024);
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        shared));
  EXPECT_EQ(value, 48 * 1024 - 1024);
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                        function("small")));
  EXPECT_EQ(value, 64);
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, shared));
  EXPECT_GT(value, 0);
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, shared));
  EXPECT_EQ(value, 80);
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_BINARY_VERSION, shared));
  EXPECT_EQ(value, 90);
  const char *name = nullptr;
  OK(cuFuncGetName(&name, shared));
  EXPECT_STREQ(name, "shared");
  CUmodule owner = nullptr;
  OK(cuFuncGetModule(&owner, shared));
  EXPECT_EQ(owner, module);
  unsigned count = 0;
  OK(cuModuleGetFunctionCount(&count, module));
  EXPECT_EQ(count, 8u);
}

TEST_F(ModuleTest, Parameters) {
  CUfunction fill = function("fill");
  size_t offset = 0;
  size_t size = 0;
  OK(cuFuncGetParamInfo(fill, 0, &offset, &size));
  EXPECT_EQ(offset, 0u);
  EXPECT_EQ(size, 8u);
  OK(cuFuncGetParamInfo(fill, 2, &offset, &size));
  EXPECT_EQ(offset, 12u);
  EXPECT_EQ(size, 4u);
  EXPECT_EQ(cuFuncGetParamInfo(fill, 3, &offset, &size),
            CUDA_ERROR_INVALID_VALUE);
}

TEST_F(ModuleTest, Variables) {
  CUdeviceptr out = words(1);
  CUfunction globals = function("globals");
  CUdeviceptr counter = 0;
  size_t bytes = 0;
  OK(cuModuleGetGlobal(&counter, &bytes, module, "counter"));
  EXPECT_EQ(bytes, 4u);
  EXPECT_EQ(readOne(counter), 7u);
  void *params[] = {&out};
  OK(cuLaunchKernel(globals, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_EQ(readOne(out), 10u);
  OK(cuMemsetD32(counter, 20, 1));
  OK(cuLaunchKernel(globals, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_EQ(readOne(out), 23u);
  EXPECT_EQ(cuModuleGetGlobal(&counter, &bytes, module, "nobody"),
            CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(cuMemFree(counter), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(ModuleTest, WhatIsNotThere) {
  function("fill");
  CUfunction none = nullptr;
  EXPECT_EQ(cuModuleGetFunction(&none, module, "nobody"), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(cuModuleGetFunction(&none, module, ""), CUDA_ERROR_INVALID_VALUE);
  CUmodule bad = nullptr;
  EXPECT_EQ(cuModuleLoad(&bad, "/nonexistent/kernel.ptx"),
            CUDA_ERROR_FILE_NOT_FOUND);
  EXPECT_EQ(cuModuleLoadData(&bad, nullptr), CUDA_ERROR_INVALID_VALUE);
  OK(cuModuleUnload(module));
  EXPECT_EQ(cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
  module = nullptr;
}

TEST_F(ModuleTest, BadPtxIsLocatedInTheLog) {
  std::string text = ".version 8.0\n.target sm_80\n.address_size 64\n"
                     ".visible .entry k()\n{\n  frobnicate.u32 %r1;\n}\n";
  char errors[1024] = "";
  CUjit_option keys[] = {CU_JIT_ERROR_LOG_BUFFER,
                         CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {errors, reinterpret_cast<void *>(sizeof errors)};
  CUmodule bad = nullptr;
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuModuleLoadDataEx(&bad, text.c_str(), 2, keys, values),
            CUDA_ERROR_INVALID_PTX);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(std::string(errors).find(":6:"), std::string::npos) << errors;
  EXPECT_NE(std::string(errors).find("frobnicate"), std::string::npos);
  EXPECT_NE(said.find("frobnicate"), std::string::npos);
  EXPECT_EQ(reinterpret_cast<size_t>(values[1]), std::strlen(errors));
  // Cut, but terminated, where there is little room.
  char few[8];
  values[0] = few;
  values[1] = reinterpret_cast<void *>(sizeof few);
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuModuleLoadDataEx(&bad, text.c_str(), 2, keys, values),
            CUDA_ERROR_INVALID_PTX);
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::strlen(few), 7u);
}

TEST_F(ModuleTest, OtherImagesAreNamed) {
  CUmodule bad = nullptr;
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuModuleLoadData(&bad, "\x7f"
                                   "ELF and so on"),
            CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("cubin"),
            std::string::npos);
  std::string newer = kKernels;
  newer.replace(newer.find("sm_80"), 5, "sm_100");
  testing::internal::CaptureStderr();
  EXPECT_EQ(cuModuleLoadData(&bad, newer.c_str()),
            CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("sm_100"),
            std::string::npos);
}

TEST_F(ModuleTest, FromAFile) {
  TemporaryFile file;
  file.write(kKernels);
  OK(cuModuleLoad(&module, file.path().c_str()));
  CUdeviceptr a = words(64);
  OK(fill(nullptr, a, 4, 64));
  EXPECT_EQ(readOne(a), 4u);
}

TEST_F(ModuleTest, Libraries) {
  CUlibrary library = nullptr;
  OK(cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, nullptr,
                       nullptr, 0));
  CUkernel kernel = nullptr;
  OK(cuLibraryGetKernel(&kernel, library, "fill"));
  EXPECT_EQ(cuLibraryGetKernel(&kernel, library, "nobody"),
            CUDA_ERROR_NOT_FOUND);
  unsigned count = 0;
  OK(cuLibraryGetKernelCount(&count, library));
  EXPECT_EQ(count, 8u);
  CUdeviceptr a = words(64);
  unsigned value = 12;
  unsigned n = 64;
  void *params[] = {&a, &value, &n};
  // A kernel is launched where a function is.
  OK(cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 64, 1, 1, 0,
                    nullptr, params, nullptr));
  EXPECT_EQ(readOne(a), 12u);
  CUkernel shared = nullptr;
  OK(cuLibraryGetKernel(&shared, library, "shared"));
  OK(cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                          100000, shared, 0));
  CUfunction function = nullptr;
  OK(cuKernelGetFunction(&function, shared));
  int bytes = 0;
  OK(cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        function));
  EXPECT_EQ(bytes, 100000);
  OK(cuKernelGetAttribute(
      &bytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared, 1));
  EXPECT_EQ(bytes, 48 * 1024 - 1024);
  CUdeviceptr counter = 0;
  OK(cuLibraryGetGlobal(&counter, nullptr, library, "counter"));
  EXPECT_EQ(readOne(counter), 7u);
  OK(cuLibraryUnload(library));
  EXPECT_EQ(cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_NUM_REGS, function),
            CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(ModuleTest, TheLinkerPassesOneModuleThrough) {
  CUlinkState state = nullptr;
  OK(cuLinkCreate(0, nullptr, nullptr, &state));
  std::string text = kKernels;
  OK(cuLinkAddData(state, CU_JIT_INPUT_PTX, text.data(), text.size() + 1,
                   "kernels.ptx", 0, nullptr, nullptr));
  EXPECT_EQ(cuLinkAddData(state, CU_JIT_INPUT_PTX, text.data(), text.size() + 1,
                          "again.ptx", 0, nullptr, nullptr),
            CUDA_ERROR_NOT_SUPPORTED);
  void *image = nullptr;
  size_t bytes = 0;
  OK(cuLinkComplete(state, &image, &bytes));
  OK(cuModuleLoadData(&module, image));
  OK(cuLinkDestroy(state));
  CUdeviceptr a = words(64);
  OK(fill(nullptr, a, 4, 64));
  EXPECT_EQ(readOne(a), 4u);
}

} // namespace
