#include "runtime/cpu/CpuMemory.h"

#include "ir/support/Diagnostic.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

using namespace moec;
using namespace moec::runtime;

static constexpr uint64_t kHugePage = uint64_t(2) << 20;
/// What a pool maps at once. Pages that nobody touches are none.
static constexpr uint64_t kPoolBytes = uint64_t(64) << 20;

/// A whole number of huge pages, zeroed.
class moec::runtime::CpuMapping {
public:
  static std::shared_ptr<const CpuMapping> create(uint64_t bytes);
  CpuMapping(void *start, uint64_t mappedBytes)
      : start(start), mappedBytes(mappedBytes) {}
  CpuMapping(const CpuMapping &) = delete;
  CpuMapping &operator=(const CpuMapping &) = delete;
  ~CpuMapping() { munmap(start, mappedBytes); }

  uint8_t *memory() const {
    return reinterpret_cast<uint8_t *>(
        llvm::alignTo(reinterpret_cast<uintptr_t>(start), kHugePage));
  }
  uint64_t bytes() const { return mappedBytes - kHugePage; }

private:
  void *start;
  uint64_t mappedBytes;
};

std::shared_ptr<const CpuMapping> CpuMapping::create(uint64_t bytes) {
  uint64_t mappedBytes = llvm::alignTo(bytes, kHugePage) + kHugePage;
  void *start = mmap(nullptr, mappedBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED)
    return nullptr;
  auto mapping = std::make_shared<const CpuMapping>(start, mappedBytes);
  // A hint: without huge pages everything works, a little slower.
  madvise(mapping->memory(), mapping->bytes(), MADV_HUGEPAGE);
  return mapping;
}

namespace {

class HeapBuffer final : public Buffer {
public:
  HeapBuffer(void *memory, uint64_t bytes)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(memory)), bytes) {}
  ~HeapBuffer() override { std::free(hostAddress(start)); }
};

/// Memory that goes with its owner.
class OwnedBuffer final : public Buffer {
public:
  OwnedBuffer(const void *memory, uint64_t bytes,
              std::shared_ptr<const void> owner)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(memory)), bytes),
        owner(std::move(owner)) {}

private:
  std::shared_ptr<const void> owner;
};

} // namespace

static llvm::Error cannotAllocate(uint64_t bytes) {
  return error() << "cannot allocate " << bytes << " bytes of memory";
}

llvm::Expected<std::unique_ptr<Buffer>>
runtime::allocateCpuBuffer(uint64_t bytes) {
  if (bytes > uint64_t(INT64_MAX) - 2 * kHugePage)
    return cannotAllocate(bytes);
  if (bytes < kHugePage) {
    // At least one byte, so that every buffer has an address of its own.
    uint64_t rounded = llvm::alignTo(std::max<uint64_t>(bytes, 1), 64);
    void *memory = std::aligned_alloc(64, rounded);
    if (!memory)
      return cannotAllocate(bytes);
    std::memset(memory, 0, rounded);
    return std::make_unique<HeapBuffer>(memory, bytes);
  }
  std::shared_ptr<const CpuMapping> mapping = CpuMapping::create(bytes);
  if (!mapping)
    return cannotAllocate(bytes);
  return std::make_unique<OwnedBuffer>(mapping->memory(), bytes, mapping);
}

llvm::Expected<std::unique_ptr<Buffer>>
CpuMemoryPool::allocate(uint64_t bytes) {
  if (bytes > kPoolBytes / 4)
    return allocateCpuBuffer(bytes);
  uint64_t rounded = llvm::alignTo(std::max<uint64_t>(bytes, 1), 64);
  if (!mapping || rounded > mapping->bytes() - used) {
    mapping = CpuMapping::create(kPoolBytes);
    used = 0;
    if (!mapping)
      return cannotAllocate(bytes);
  }
  auto buffer =
      std::make_unique<OwnedBuffer>(mapping->memory() + used, bytes, mapping);
  used += rounded;
  return buffer;
}

std::unique_ptr<Buffer>
runtime::adoptCpuMemory(llvm::ArrayRef<uint8_t> bytes,
                        std::shared_ptr<const void> owner) {
  return std::make_unique<OwnedBuffer>(bytes.data(), bytes.size(),
                                       std::move(owner));
}
