//===- JitApi.h - the C interface of the JIT plug-in ----------------------===//
//
// LLVM's code generator is large, so it lives in a library of its own,
// libmoec_jit.so, which is opened when code must be compiled or loaded. All of
// LLVM is hidden inside it; this is the one symbol that it exports.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Changes with this interface and with the code that `compile` makes.
#define MOEC_JIT_ABI 1

typedef struct MoecJitBytes {
  const uint8_t *data;
  size_t size;
} MoecJitBytes;

typedef struct MoecJitCode MoecJitCode;

/// Functions return 0 for success. Otherwise `*message` is a text that the
/// caller releases with `release`. All may be called from several threads.
typedef struct MoecJitApi {
  uint32_t abi;
  /// `19.1.7`
  const char *llvmVersion;

  /// Compiles a module of LLVM bitcode to a relocatable object for the host's
  /// architecture and `features` (`+avx2,+fma`). The object's data is released
  /// with `release`.
  int (*compile)(MoecJitBytes bitcode, const char *features,
                 MoecJitBytes *object, char **message);
  /// Loads objects into executable memory, together.
  int (*load)(const MoecJitBytes *objects, size_t count, MoecJitCode **code,
              char **message);
  /// The addresses of `count` functions.
  int (*lookup)(MoecJitCode *code, const char *const *names, size_t count,
                void **addresses, char **message);
  void (*unload)(MoecJitCode *code);
  void (*release)(const void *bytes);
} MoecJitApi;

typedef const MoecJitApi *(*MoecJitEntry)(void);

/// The name of the exported function, a MoecJitEntry.
#define MOEC_JIT_ENTRY "moec_jit_api"

#ifdef __cplusplus
}
#endif
