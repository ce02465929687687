#include "runtime/cpu/jit/JitApi.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/jit/Compile.h"
#include "runtime/cpu/jit/Load.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/ErrorHandling.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

using namespace moec;

/// Bytes that the caller releases with free(); null where memory is short.
static uint8_t *copyOut(const void *bytes, size_t size) {
  auto *copy = static_cast<uint8_t *>(std::malloc(size ? size : 1));
  if (copy)
    std::memcpy(copy, bytes, size);
  return copy;
}

static int report(llvm::Error err, char **message) {
  // Of a Diagnostic the message alone: the caller adds the place.
  std::string text;
  llvm::handleAllErrors(
      std::move(err), [&](const Diagnostic &diag) { text = diag.message; },
      [&](const llvm::ErrorInfoBase &other) { text = other.message(); });
  *message = reinterpret_cast<char *>(copyOut(text.c_str(), text.size() + 1));
  return 1;
}

static llvm::StringRef view(MoecJitBytes bytes) {
  return {reinterpret_cast<const char *>(bytes.data), bytes.size};
}

static int compileBitcode(MoecJitBytes bitcode, const char *features,
                          MoecJitBytes *object, char **message) {
  auto compiled = jit::compile(view(bitcode), features);
  if (!compiled)
    return report(compiled.takeError(), message);
  object->data = copyOut(compiled->data(), compiled->size());
  object->size = compiled->size();
  return object->data ? 0 : report(error() << "memory is short", message);
}

static int loadObjects(const MoecJitBytes *objects, size_t count,
                       MoecJitCode **code, char **message) {
  llvm::SmallVector<llvm::StringRef> views;
  for (size_t i = 0; i < count; ++i)
    views.push_back(view(objects[i]));
  auto loaded = jit::LoadedCode::load(views);
  if (!loaded)
    return report(loaded.takeError(), message);
  *code = reinterpret_cast<MoecJitCode *>(loaded->release());
  return 0;
}

static int lookupFunctions(MoecJitCode *code, const char *const *names,
                           size_t count, void **addresses, char **message) {
  auto &loaded = *reinterpret_cast<jit::LoadedCode *>(code);
  if (llvm::Error err = loaded.lookup({names, count}, {addresses, count}))
    return report(std::move(err), message);
  return 0;
}

static void unloadCode(MoecJitCode *code) {
  delete reinterpret_cast<jit::LoadedCode *>(code);
}

static void releaseBytes(const void *bytes) {
  std::free(const_cast<void *>(bytes));
}

/// This LLVM's memory ends as the process' own does.
static void shareMemoryHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::install_bad_alloc_error_handler([](void *, const char *, bool) {
      if (std::new_handler handler = std::get_new_handler())
        handler();
      std::abort();
    });
  });
}

extern "C" __attribute__((visibility("default"))) const MoecJitApi *
moec_jit_api(void) {
  shareMemoryHandler();
  static const MoecJitApi api = {
      MOEC_JIT_ABI,    LLVM_VERSION_STRING, compileBitcode, loadObjects,
      lookupFunctions, unloadCode,          releaseBytes};
  return &api;
}
