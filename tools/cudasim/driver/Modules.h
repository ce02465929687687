//===- Modules.h - from PTX to functions ----------------------------------===//
#pragma once

#include "tools/cudasim/driver/Driver.h"

namespace cudasim::driver {

/// The logs and times that the caller of a just-in-time compilation wants.
class JitOptions {
public:
  JitOptions(unsigned count, CUjit_option *options, void **values)
      : count(options && values ? count : 0), options(options), values(values) {
  }
  /// Fills the caller's buffers; cut where they are too small.
  void finish(llvm::StringRef info, llvm::StringRef errors, float millis) const;

private:
  void fill(CUjit_option buffer, CUjit_option size, llvm::StringRef text) const;
  unsigned count;
  CUjit_option *options;
  void **values;
};

/// The program in an image, which is PTX text. What it is named for messages is
/// `name`. The same text gives the same program.
CUresult loadProgram(const void *image, const JitOptions &jit,
                     llvm::StringRef name,
                     std::shared_ptr<const Program> &program);
/// The text of a file, zero-terminated.
CUresult readImage(const char *path, std::string &text);
/// Whether code for that `.target` runs on the part.
CUresult checkTarget(const Program &program, const DeviceModel &model);
/// Places a program in a context.
CUresult makeModule(CUctx_st &ctx, std::shared_ptr<const Program> program,
                    CUmodule &module);
/// The library's module in a context, made when it is first wanted.
CUresult moduleOf(CUlibrary library, CUctx_st &ctx, CUmodule &module);
CUresult functionOf(CUkernel kernel, CUctx_st &ctx, CUfunction &function);

/// What cuFuncGetAttribute and cuKernelGetAttribute answer.
CUresult functionAttribute(const KernelInfo &info, const Program &program,
                           const DeviceModel &model, unsigned maxDynamicShared,
                           CUfunction_attribute attribute, int &value);
/// Checks a new value of MAX_DYNAMIC_SHARED_SIZE_BYTES.
CUresult checkDynamicShared(const KernelInfo &info, const DeviceModel &model,
                            int value);
/// The threads that one block of the kernel may have.
int maxThreadsOf(const KernelInfo &info, const DeviceModel &model);

} // namespace cudasim::driver
