//===- JitLibrary.h - the host's side of the JIT plug-in ------------------===//
#pragma once

#include "runtime/cpu/jit/JitApi.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec::runtime {

/// Executable code in memory; unmapped with the object.
class JitCode {
public:
  JitCode(const MoecJitApi &api, MoecJitCode *code) : api(api), code(code) {}
  ~JitCode() { api.unload(code); }
  JitCode(const JitCode &) = delete;
  JitCode &operator=(const JitCode &) = delete;

  /// The addresses of functions by name; fails unless all are there.
  llvm::Expected<std::vector<void *>>
  lookup(llvm::ArrayRef<std::string> names) const;

private:
  const MoecJitApi &api;
  MoecJitCode *code;
};

/// The opened plug-in. It is never closed: LLVM does not support that.
class JitLibrary {
public:
  /// Opens `path`, or else $MOEC_JIT_LIBRARY, or else libmoec_jit.so beside
  /// this library, in ../lib of its folder, or where the system looks.
  static llvm::Expected<JitLibrary> open(llvm::StringRef path = "");

  const std::string &path() const { return filePath; }
  llvm::StringRef llvmVersion() const { return api->llvmVersion; }

  /// Object code for a module of bitcode; from any thread.
  llvm::Expected<std::vector<uint8_t>>
  compile(llvm::ArrayRef<uint8_t> bitcode, const std::string &features) const;
  llvm::Expected<std::unique_ptr<JitCode>>
  load(llvm::ArrayRef<llvm::ArrayRef<uint8_t>> objects) const;

private:
  JitLibrary(std::string filePath, const MoecJitApi *api)
      : filePath(std::move(filePath)), api(api) {}

  std::string filePath;
  const MoecJitApi *api;
};

} // namespace moec::runtime
