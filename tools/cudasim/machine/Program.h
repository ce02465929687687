//===- Program.h - a PTX module, checked and decoded ----------------------===//
//
// A Program is immutable, knows no device and may be shared by threads. An
// Instance places its variables in the memory of one device; a module loaded
// into two contexts is one Program with two Instances.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/machine/Memory.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cudasim {

struct Parameter {
  std::string name;
  uint32_t offset = 0, bytes = 0, align = 1; ///< within the parameter bytes
};

/// What the driver knows of a kernel (CUfunction).
struct KernelInfo {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0; ///< end of the last parameter
  /// .maxntid and .reqntid as product and as written; 0: not given.
  uint32_t maxThreads = 0;
  uint32_t maxBlock[3] = {0, 0, 0}, requiredBlock[3] = {0, 0, 0};
  uint32_t minBlocksPerMultiprocessor = 0;
  uint32_t staticSharedBytes = 0;
  uint32_t localBytes = 0;    ///< per thread
  uint32_t constantBytes = 0; ///< of the module's __constant__ variables
  /// Liveness-based estimate, not what ptxas would allocate.
  uint32_t registers = 0;
  bool usesDynamicShared = false;
  uint32_t index = 0; ///< within the Program
};

/// A .global or .const variable.
struct VariableInfo {
  std::string name;
  uint64_t bytes = 0;
  uint64_t align = 1;
  bool isConstant = false;
};

class Program {
public:
  /// Parses, checks and decodes a module. An error has the place in the PTX
  /// (line and column, with the line's text); `name` stands for the file.
  static llvm::Expected<std::unique_ptr<Program>> load(llvm::StringRef ptx,
                                                       llvm::StringRef name);
  ~Program();
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;

  llvm::ArrayRef<KernelInfo> kernels() const;
  llvm::ArrayRef<VariableInfo> variables() const;
  /// Null where there is none of that name.
  const KernelInfo *findKernel(llvm::StringRef name) const;
  /// The `.target`, such as 80 for sm_80 and 90 for sm_90a.
  unsigned target() const;
  llvm::StringRef name() const;

  struct Impl;
  const Impl &impl() const { return *body; }

private:
  Program();
  std::unique_ptr<Impl> body;
};

/// A Program's variables in the memory of one device. Memory and Program must
/// outlive it.
class Instance {
public:
  /// Allocates and initialises the variables; fails where the device is full.
  static llvm::Expected<std::unique_ptr<Instance>>
  create(std::shared_ptr<const Program> program, GlobalMemory &memory,
         int device);
  /// Frees the variables.
  ~Instance();
  Instance(const Instance &) = delete;
  Instance &operator=(const Instance &) = delete;

  const Program &program() const { return *source; }
  int device() const { return owner; }
  GlobalMemory &memory() const { return *store; }

  struct Placed {
    DevicePtr address = 0;
    uint64_t bytes = 0;
  };
  /// Where a variable lies (cuModuleGetGlobal).
  std::optional<Placed> find(llvm::StringRef variable) const;
  /// By index in Program::variables().
  DevicePtr addressOf(size_t index) const { return addresses[index]; }

private:
  Instance() = default;
  std::shared_ptr<const Program> source;
  GlobalMemory *store = nullptr;
  int owner = 0;
  std::vector<DevicePtr> addresses;
};

} // namespace cudasim
