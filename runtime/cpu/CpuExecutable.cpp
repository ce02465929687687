#include "runtime/cpu/CpuExecutable.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Parallel.h"
#include "runtime/cpu/CpuDevice.h"
#include "runtime/cpu/CpuMemory.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringExtras.h"

#include <algorithm>
#include <mutex>

using namespace moec;
using namespace moec::runtime;

/// `+avx2,+fma`: what LLVM is told of the host.
static std::string featureString(const plan::Variant &variant) {
  std::vector<std::string> features;
  if (variant.features())
    for (const flatbuffers::String *feature : *variant.features())
      features.push_back("+" + feature->str());
  return llvm::join(features, ",");
}

/// Everything that decides what `compile` returns.
static Digest cacheKey(llvm::ArrayRef<uint8_t> bitcode,
                       const std::string &features, const JitLibrary &jit) {
  Sha256 hash;
  hash.updateSized("moec object");
  hash.updateU64(MOEC_JIT_ABI);
  hash.updateSized(jit.llvmVersion());
  hash.updateSized(features);
  hash.updateU64(bitcode.size());
  hash.update(bitcode);
  return hash.finish();
}

llvm::Expected<std::unique_ptr<CpuExecutable>>
CpuExecutable::load(const plan::Variant &variant, const JitLibrary &jit,
                    const ObjectCache &cache, unsigned threads,
                    CodeStatistics &statistics) {
  std::string features = featureString(variant);
  unsigned blobs = variant.code() ? variant.code()->size() : 0;
  std::vector<std::vector<uint8_t>> compiled(blobs);
  std::vector<llvm::ArrayRef<uint8_t>> objects(blobs);
  std::mutex mutex; // guards `statistics`
  MOEC_TRY(parallelFor(blobs, threads, [&](uint64_t i) -> llvm::Error {
    const plan::CodeBlob &blob = *variant.code()->Get(unsigned(i));
    llvm::ArrayRef<uint8_t> bytes(blob.code()->data(), blob.code()->size());
    if (blob.kind() == plan::CodeKind::native_object) {
      objects[i] = bytes;
      return llvm::Error::success();
    }
    if (blob.kind() != plan::CodeKind::llvm_bitcode)
      return error() << "code " << i << " is "
                     << plan::EnumNameCodeKind(blob.kind())
                     << ", a CPU expects llvm_bitcode or native_object";
    Digest key = cacheKey(bytes, features, jit);
    if (std::optional<std::vector<uint8_t>> object = cache.find(key)) {
      compiled[i] = std::move(*object);
      std::lock_guard<std::mutex> lock(mutex);
      ++statistics.cacheHits;
    } else {
      llvm::Expected<std::vector<uint8_t>> built = jit.compile(bytes, features);
      if (!built)
        return error() << "code " << i << ": " << toText(built.takeError());
      compiled[i] = std::move(*built);
      llvm::Error stored = cache.store(key, compiled[i]);
      std::lock_guard<std::mutex> lock(mutex);
      ++statistics.compiled;
      if (stored)
        statistics.cacheProblem = toText(std::move(stored));
    }
    objects[i] = compiled[i];
    return llvm::Error::success();
  }));

  auto executable = std::make_unique<CpuExecutable>();
  std::vector<std::string> names;
  uint64_t scratchBytes = 0;
  if (variant.kernels())
    for (const plan::Kernel *kernel : *variant.kernels()) {
      executable->table.push_back({nullptr, kernel->name()->str(),
                                   kernel->buffers(), kernel->extents()});
      names.push_back(kernel->name()->str());
      scratchBytes = std::max(scratchBytes, kernel->scratch_bytes());
    }
  MOEC_ASSIGN(executable->code, jit.load(objects));
  MOEC_ASSIGN(std::vector<void *> addresses, executable->code->lookup(names));
  for (size_t i = 0; i < addresses.size(); ++i)
    executable->table[i].function = reinterpret_cast<MoecKernel>(addresses[i]);
  // A page apart, so that no two threads share a cache line.
  executable->scratchStride = (scratchBytes + 4095) / 4096 * 4096;
  MOEC_ASSIGN(executable->scratch,
              allocateCpuBuffer(executable->scratchStride * threads));
  return executable;
}

void *CpuExecutable::scratchOf(unsigned thread) const {
  return hostAddress(advance(scratch->address(), scratchStride * thread));
}
