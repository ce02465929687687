#include "runtime/cpu/CpuMemory.h"

#include "ir/support/Diagnostic.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

using namespace moec;
using namespace moec::runtime;

static constexpr uint64_t kHugePage = uint64_t(2) << 20;

namespace {

class HeapBuffer final : public Buffer {
public:
  HeapBuffer(void *memory, uint64_t bytes)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(memory)), bytes) {}
  ~HeapBuffer() override { std::free(hostAddress(start)); }
};

/// A mapping of its own; the buffer lies at a huge page's start inside it.
class MappedBuffer final : public Buffer {
public:
  MappedBuffer(void *mapping, uint64_t mappingBytes, uint64_t offset,
               uint64_t bytes)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(mapping) + offset), bytes),
        mapping(mapping), mappingBytes(mappingBytes) {}
  ~MappedBuffer() override { munmap(mapping, mappingBytes); }

private:
  void *mapping;
  uint64_t mappingBytes;
};

class AdoptedBuffer final : public Buffer {
public:
  AdoptedBuffer(llvm::ArrayRef<uint8_t> bytes,
                std::shared_ptr<const void> owner)
      : Buffer(DevicePtr(reinterpret_cast<uintptr_t>(bytes.data())),
               bytes.size()),
        owner(std::move(owner)) {}

private:
  std::shared_ptr<const void> owner;
};

} // namespace

llvm::Expected<std::unique_ptr<Buffer>>
runtime::allocateCpuBuffer(uint64_t bytes) {
  auto fail = [&] {
    return error() << "cannot allocate " << bytes << " bytes of memory";
  };
  if (bytes > uint64_t(INT64_MAX) - 2 * kHugePage)
    return fail();
  if (bytes < kHugePage) {
    // At least one byte, so that every buffer has an address of its own.
    uint64_t rounded = (std::max<uint64_t>(bytes, 1) + 63) / 64 * 64;
    void *memory = std::aligned_alloc(64, rounded);
    if (!memory)
      return fail();
    std::memset(memory, 0, rounded);
    return std::make_unique<HeapBuffer>(memory, bytes);
  }
  uint64_t mappingBytes = bytes + kHugePage;
  void *mapping = mmap(nullptr, mappingBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED)
    return fail();
  uint64_t address = reinterpret_cast<uintptr_t>(mapping);
  uint64_t offset = (kHugePage - address % kHugePage) % kHugePage;
  // A hint: without huge pages everything works, a little slower.
  madvise(static_cast<char *>(mapping) + offset, bytes, MADV_HUGEPAGE);
  return std::make_unique<MappedBuffer>(mapping, mappingBytes, offset, bytes);
}

std::unique_ptr<Buffer>
runtime::adoptCpuMemory(llvm::ArrayRef<uint8_t> bytes,
                        std::shared_ptr<const void> owner) {
  return std::make_unique<AdoptedBuffer>(bytes, std::move(owner));
}
