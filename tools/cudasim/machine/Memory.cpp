//===- Memory.cpp - the global memory of all simulated devices ------------===//
//
// Long because: it is one table of allocations under one lock.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/machine/Memory.h"

#include "ir/support/Diagnostic.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <shared_mutex>

#include <sys/mman.h>

using namespace cudasim;
using llvm::StringRef;

namespace {

constexpr uint64_t kDeviceRange = uint64_t(1) << GlobalMemory::kDeviceShift;
constexpr uint64_t kPage = 4096;
/// What fresh bytes hold: a signalling pattern in every float format, and an
/// address that nobody maps.
constexpr int kFreshByte = 0xFB;

void *reserve(uint64_t bytes, void *hint = nullptr) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (hint)
    flags |= MAP_FIXED_NOREPLACE;
  void *at = mmap(hint, bytes, PROT_NONE, flags, -1, 0);
  if (at == MAP_FAILED)
    return nullptr;
  if (hint && at != hint) { // kernels before 4.17 take the hint as a wish
    munmap(at, bytes);
    return nullptr;
  }
  return at;
}

std::string describeAddress(DevicePtr address) {
  return "0x" + llvm::utohexstr(address, /*LowerCase=*/true);
}

} // namespace

struct GlobalMemory::State {
  mutable std::shared_mutex lock;
  Options options;
  uint64_t rangeBase = 0, rangeBytes = 0; ///< never mapped
  std::byte *bytes = nullptr;             ///< what lies behind it
  uint8_t *shadow = nullptr;              ///< 1: written
  struct Record {
    Allocation allocation;
    /// A registered or pinned range's host bytes were mapped by us.
    bool ownsHost = false;
  };
  /// By base; live and quarantined ones.
  std::map<DevicePtr, Record> records;
  std::deque<DevicePtr> quarantine;
  uint64_t quarantined = 0;
  /// Free ranges of each device by base.
  std::vector<std::map<uint64_t, uint64_t>> holes;
  std::vector<uint64_t> used, peak;
  bool peers[kMaxDevices][kMaxDevices] = {};
  std::atomic<uint64_t> generation{1};
  uint64_t nextId = 1;

  ~State() {
    for (auto &[base, record] : records)
      if (record.ownsHost)
        munmap(reinterpret_cast<void *>(base), record.allocation.bytes);
    if (rangeBase)
      munmap(reinterpret_cast<void *>(rangeBase), rangeBytes);
    if (bytes)
      munmap(bytes, rangeBytes);
    if (shadow)
      munmap(shadow, rangeBytes);
  }

  bool inRange(DevicePtr address) const {
    return address - rangeBase < rangeBytes;
  }
  int deviceOf(DevicePtr address) const {
    return inRange(address) ? int((address - rangeBase) >> kDeviceShift) : -1;
  }
  const Record *find(DevicePtr address) const {
    auto after = records.upper_bound(address);
    if (after == records.begin())
      return nullptr;
    const Record &record = std::prev(after)->second;
    return address - record.allocation.base < record.allocation.bytes ? &record
                                                                      : nullptr;
  }
  /// Bytes that an allocation takes, redzone included, in whole alignments.
  uint64_t footprint(uint64_t size) const {
    return llvm::alignTo(size + options.redzoneBytes, kAlignment);
  }

  void release(const Allocation &allocation) {
    auto &free = holes[allocation.device];
    uint64_t from = allocation.base, size = footprint(allocation.bytes);
    auto next = free.lower_bound(from);
    if (next != free.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == from) {
        from = before->first;
        size += before->second;
        free.erase(before);
      }
    }
    if (next != free.end() && from + size == next->first) {
      size += next->second;
      free.erase(next);
    }
    free[from] = size;
    // Whole pages go back to the host.
    uint64_t start = llvm::alignTo(allocation.base - rangeBase, kPage);
    uint64_t end = llvm::alignDown(allocation.end() - rangeBase, kPage);
    if (end > start) {
      madvise(bytes + start, end - start, MADV_DONTNEED);
      if (shadow)
        madvise(shadow + start, end - start, MADV_DONTNEED);
    }
  }
  void drainQuarantine(uint64_t keep) {
    while (quarantined > keep && !quarantine.empty()) {
      auto found = records.find(quarantine.front());
      quarantine.pop_front();
      quarantined -= found->second.allocation.bytes;
      release(found->second.allocation);
      records.erase(found);
    }
  }
  std::optional<DevicePtr> take(int device, uint64_t size, uint64_t align) {
    auto &free = holes[device];
    for (auto hole = free.begin(); hole != free.end(); ++hole) {
      uint64_t base = llvm::alignTo(hole->first, align);
      uint64_t end = hole->first + hole->second;
      if (base > end || end - base < size)
        continue;
      uint64_t before = base - hole->first, after = end - base - size;
      uint64_t holeBase = hole->first;
      free.erase(hole);
      if (before)
        free[holeBase] = before;
      if (after)
        free[base + size] = after;
      return base;
    }
    return std::nullopt;
  }
  /// Where bytes can be read or written by the host side of the simulator.
  std::byte *view(DevicePtr address) const {
    return inRange(address) ? bytes + (address - rangeBase)
                            : reinterpret_cast<std::byte *>(address);
  }

  std::optional<MemoryFault> check(int device, DevicePtr address, uint64_t size,
                                   bool write) const;
};

GlobalMemory::GlobalMemory() = default;
GlobalMemory::~GlobalMemory() = default;

llvm::Expected<std::unique_ptr<GlobalMemory>>
GlobalMemory::create(Options options) {
  if (options.deviceBytes.empty() || options.deviceBytes.size() > kMaxDevices)
    return moec::error() << "expected 1 to " << kMaxDevices
                         << " devices, found " << options.deviceBytes.size();
  std::unique_ptr<GlobalMemory> memory(new GlobalMemory());
  memory->state = std::make_unique<State>();
  State &state = *memory->state;
  state.rangeBytes = options.deviceBytes.size() * kDeviceRange;
  // A place that neither programs nor sanitizers use; elsewhere if taken.
  for (uint64_t base = uint64_t(1) << 45;
       base < uint64_t(1) << 46 && state.rangeBase == 0;
       base += uint64_t(1) << 42)
    if (reserve(state.rangeBytes, reinterpret_cast<void *>(base)))
      state.rangeBase = base;
  state.bytes = static_cast<std::byte *>(reserve(state.rangeBytes));
  if (options.trackInitialized)
    state.shadow = static_cast<uint8_t *>(reserve(state.rangeBytes));
  if (!state.rangeBase || !state.bytes ||
      (options.trackInitialized && !state.shadow))
    return moec::error() << "cannot reserve " << state.rangeBytes
                         << " bytes of address space for simulated devices";
  for (size_t i = 0; i < options.deviceBytes.size(); ++i) {
    uint64_t capacity = options.deviceBytes[i];
    if (capacity == 0 || capacity > kDeviceRange - kAlignment)
      return moec::error() << "device " << i << " has " << capacity
                           << " bytes, expected 1 to "
                           << kDeviceRange - kAlignment;
    // Half a redzone's worth at the front keeps neighbours apart.
    uint64_t base = state.rangeBase + i * kDeviceRange + kAlignment;
    // Redzones do not count against the capacity.
    state.holes.push_back({{base, kDeviceRange - 2 * kAlignment}});
  }
  state.used.resize(options.deviceBytes.size());
  state.peak.resize(options.deviceBytes.size());
  state.options = std::move(options);
  return std::move(memory);
}

int GlobalMemory::deviceCount() const { return int(state->used.size()); }

//===--- allocation ---------------------------------------------------------//

std::optional<DevicePtr> GlobalMemory::allocate(int device, uint64_t bytes,
                                                StringRef label,
                                                uint64_t align) {
  if (device < 0 || device >= deviceCount() || bytes == 0 ||
      !llvm::isPowerOf2_64(align))
    return std::nullopt;
  std::unique_lock guard(state->lock);
  uint64_t capacity = state->options.deviceBytes[device];
  if (bytes > capacity || state->used[device] > capacity - bytes)
    return std::nullopt;
  align = std::max(align, kAlignment);
  uint64_t size = state->footprint(bytes);
  std::optional<DevicePtr> base = state->take(device, size, align);
  if (!base) {
    state->drainQuarantine(0);
    base = state->take(device, size, align);
    if (!base)
      return std::nullopt;
  }
  uint64_t offset = *base - state->rangeBase;
  uint64_t first = llvm::alignDown(offset, kPage);
  uint64_t last = llvm::alignTo(offset + bytes, kPage);
  if (mprotect(state->bytes + first, last - first, PROT_READ | PROT_WRITE) ||
      (state->shadow &&
       mprotect(state->shadow + first, last - first, PROT_READ | PROT_WRITE))) {
    Allocation refused;
    refused.base = *base;
    refused.bytes = bytes;
    refused.device = device;
    state->release(refused);
    return std::nullopt;
  }
  // Large allocations are often sparse: whole pages are made fresh without
  // touching them.
  uint64_t wholeFirst = llvm::alignTo(offset, kPage);
  uint64_t wholeLast = llvm::alignDown(offset + bytes, kPage);
  bool large = bytes > (1 << 20);
  uint64_t headEnd = large ? wholeFirst : offset + bytes;
  uint64_t tail = large ? wholeLast : offset + bytes;
  if (large)
    madvise(state->bytes + wholeFirst, wholeLast - wholeFirst, MADV_DONTNEED);
  memset(state->bytes + offset, kFreshByte, headEnd - offset);
  memset(state->bytes + tail, kFreshByte, offset + bytes - tail);
  if (state->shadow) {
    if (large)
      madvise(state->shadow + wholeFirst, wholeLast - wholeFirst,
              MADV_DONTNEED);
    memset(state->shadow + offset, 0, headEnd - offset);
    memset(state->shadow + tail, 0, offset + bytes - tail);
  }

  Allocation allocation;
  allocation.base = *base;
  allocation.bytes = bytes;
  allocation.device = device;
  allocation.id = state->nextId++;
  allocation.label = label.str();
  state->records[*base] = {std::move(allocation), false};
  state->used[device] += bytes;
  state->peak[device] = std::max(state->peak[device], state->used[device]);
  ++state->generation;
  return base;
}

std::optional<MemoryFault> GlobalMemory::free(DevicePtr base) {
  std::unique_lock guard(state->lock);
  auto found = state->records.find(base);
  if (found == state->records.end() ||
      found->second.allocation.kind != MemoryKind::Device)
    return MemoryFault{ErrorCode::InvalidValue,
                       "free of " + describeAddress(base) +
                           ", which starts no allocation"};
  Allocation &allocation = found->second.allocation;
  if (allocation.freed)
    return MemoryFault{ErrorCode::InvalidValue,
                       "second free of " + describeAddress(base)};
  allocation.freed = true;
  state->used[allocation.device] -= allocation.bytes;
  state->quarantine.push_back(base);
  state->quarantined += allocation.bytes;
  state->drainQuarantine(state->options.quarantineBytes);
  ++state->generation;
  return std::nullopt;
}

void *GlobalMemory::allocateHost(uint64_t bytes, MemoryKind kind,
                                 StringRef label) {
  if (bytes == 0 || bytes > uint64_t(1) << 46)
    return nullptr;
  uint64_t size = llvm::alignTo(bytes, kPage);
  void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    return nullptr;
  std::unique_lock guard(state->lock);
  Allocation allocation;
  allocation.base = reinterpret_cast<uint64_t>(at);
  allocation.bytes = bytes;
  allocation.kind = kind;
  allocation.id = state->nextId++;
  allocation.label = label.str();
  state->records[allocation.base] = {allocation, true};
  ++state->generation;
  return at;
}

std::optional<MemoryFault> GlobalMemory::freeHost(void *base) {
  std::unique_lock guard(state->lock);
  auto found = state->records.find(reinterpret_cast<uint64_t>(base));
  if (found == state->records.end() || !found->second.ownsHost)
    return MemoryFault{ErrorCode::InvalidValue,
                       "free of " +
                           describeAddress(reinterpret_cast<uint64_t>(base)) +
                           ", which starts no host allocation"};
  munmap(base, llvm::alignTo(found->second.allocation.bytes, kPage));
  state->records.erase(found);
  ++state->generation;
  return std::nullopt;
}

std::optional<MemoryFault> GlobalMemory::registerHost(void *base,
                                                      uint64_t bytes) {
  uint64_t from = reinterpret_cast<uint64_t>(base);
  if (!base || bytes == 0 || from + bytes < from)
    return MemoryFault{ErrorCode::InvalidValue, "empty host range"};
  std::unique_lock guard(state->lock);
  auto after = state->records.lower_bound(from);
  bool overlaps =
      (after != state->records.end() && after->first < from + bytes) ||
      state->find(from);
  if (overlaps)
    return MemoryFault{ErrorCode::HostMemoryAlreadyRegistered,
                       "host range at " + describeAddress(from) +
                           " is pinned or registered already"};
  if (state->inRange(from) || state->inRange(from + bytes - 1))
    return MemoryFault{ErrorCode::InvalidValue,
                       "device memory cannot be registered as host memory"};
  Allocation allocation;
  allocation.base = from;
  allocation.bytes = bytes;
  allocation.kind = MemoryKind::RegisteredHost;
  allocation.id = state->nextId++;
  allocation.label = "cuMemHostRegister";
  state->records[from] = {std::move(allocation), false};
  ++state->generation;
  return std::nullopt;
}

std::optional<MemoryFault> GlobalMemory::unregisterHost(void *base) {
  std::unique_lock guard(state->lock);
  auto found = state->records.find(reinterpret_cast<uint64_t>(base));
  if (found == state->records.end() ||
      found->second.allocation.kind != MemoryKind::RegisteredHost)
    return MemoryFault{ErrorCode::HostMemoryNotRegistered,
                       "host range at " +
                           describeAddress(reinterpret_cast<uint64_t>(base)) +
                           " is not registered"};
  state->records.erase(found);
  ++state->generation;
  return std::nullopt;
}

std::vector<Allocation> GlobalMemory::live(int device) const {
  std::shared_lock guard(state->lock);
  std::vector<Allocation> all;
  for (const auto &[base, record] : state->records)
    if (!record.allocation.freed &&
        (device < 0 || record.allocation.device == device))
      all.push_back(record.allocation);
  return all;
}

uint64_t GlobalMemory::usedBytes(int device) const {
  std::shared_lock guard(state->lock);
  return state->used[device];
}
uint64_t GlobalMemory::peakBytes(int device) const {
  std::shared_lock guard(state->lock);
  return state->peak[device];
}
uint64_t GlobalMemory::capacityBytes(int device) const {
  return state->options.deviceBytes[device];
}

void GlobalMemory::setReadOnly(DevicePtr base) {
  std::unique_lock guard(state->lock);
  auto found = state->records.find(base);
  if (found != state->records.end())
    found->second.allocation.readOnly = true;
  ++state->generation;
}

//===--- lookup -------------------------------------------------------------//

std::optional<Allocation> GlobalMemory::find(DevicePtr address) const {
  std::shared_lock guard(state->lock);
  const State::Record *record = state->find(address);
  return record ? std::optional<Allocation>(record->allocation) : std::nullopt;
}
bool GlobalMemory::isDeviceAddress(DevicePtr address) const {
  return state->inRange(address);
}
int GlobalMemory::deviceOf(DevicePtr address) const {
  return state->deviceOf(address);
}
std::byte *GlobalMemory::hostView(DevicePtr address) const {
  return state->view(address);
}

std::optional<MemoryFault> GlobalMemory::State::check(int device,
                                                      DevicePtr address,
                                                      uint64_t size,
                                                      bool write) const {
  auto fault = [&](ErrorCode code, std::string what) {
    return MemoryFault{code, std::string(write ? "write" : "read") + " of " +
                                 std::to_string(size) + " bytes at " +
                                 describeAddress(address) + ": " + what};
  };
  if (size == 0)
    return std::nullopt;
  const Record *record = find(address);
  if (!record) {
    int owner = deviceOf(address);
    if (owner < 0)
      return fault(ErrorCode::IllegalAddress,
                   address < kPage ? "a null pointer"
                                   : "an address that no device maps (host "
                                     "memory that is not pinned, or no memory "
                                     "at all)");
    // Say which allocation was missed, and by how much.
    std::string what = "no allocation of device " + std::to_string(owner);
    auto after = records.upper_bound(address);
    if (after != records.begin()) {
      const Allocation &before = std::prev(after)->second.allocation;
      if (before.device == owner)
        what += "; " + std::to_string(address - before.end()) +
                " bytes behind the end of the " + std::to_string(before.bytes) +
                " bytes at " + describeAddress(before.base) + " (" +
                before.label + ")";
    }
    if (after != records.end() && after->second.allocation.device == owner &&
        after->first - address < 4096)
      what += "; " + std::to_string(after->first - address) +
              " bytes before the " +
              std::to_string(after->second.allocation.bytes) + " bytes at " +
              describeAddress(after->first) + " (" +
              after->second.allocation.label + ")";
    return fault(ErrorCode::IllegalAddress, what);
  }
  const Allocation &allocation = record->allocation;
  if (allocation.freed)
    return fault(ErrorCode::IllegalAddress,
                 "use after free of the " + std::to_string(allocation.bytes) +
                     " bytes at " + describeAddress(allocation.base) + " (" +
                     allocation.label + ")");
  if (size > allocation.end() - address)
    return fault(ErrorCode::IllegalAddress,
                 std::to_string(size - (allocation.end() - address)) +
                     " bytes beyond the end of the " +
                     std::to_string(allocation.bytes) + " bytes at " +
                     describeAddress(allocation.base) + " (" +
                     allocation.label + ")");
  if (device >= 0 && allocation.device >= 0 && allocation.device != device &&
      !peers[device][allocation.device])
    return fault(ErrorCode::IllegalAddress,
                 "memory of device " + std::to_string(allocation.device) +
                     ", to which device " + std::to_string(device) +
                     " has no peer access");
  if (device >= 0 && write && allocation.readOnly)
    return fault(ErrorCode::IllegalAddress,
                 "constant memory (" + allocation.label + ")");
  return std::nullopt;
}

std::optional<MemoryFault> GlobalMemory::check(int device, DevicePtr address,
                                               uint64_t bytes,
                                               bool write) const {
  std::shared_lock guard(state->lock);
  return state->check(device, address, bytes, write);
}

//===--- peer access --------------------------------------------------------//

void GlobalMemory::setPeerAccess(int device, int peer, bool enabled) {
  std::unique_lock guard(state->lock);
  state->peers[device][peer] = enabled;
  ++state->generation;
}
bool GlobalMemory::peerAccess(int device, int peer) const {
  std::shared_lock guard(state->lock);
  return device == peer || state->peers[device][peer];
}

//===--- copies and fills ---------------------------------------------------//

std::optional<MemoryFault> GlobalMemory::copy(DevicePtr to, DevicePtr from,
                                              uint64_t bytes,
                                              Pageable pageable) {
  if (bytes == 0)
    return std::nullopt;
  std::unique_lock guard(state->lock);
  auto known = [&](DevicePtr address,
                   bool write) -> std::optional<MemoryFault> {
    bool mapped = state->inRange(address) || state->find(address);
    if (!mapped && pageable == Pageable::Allow && address >= kPage)
      return std::nullopt;
    return state->check(-1, address, bytes, write);
  };
  if (auto fault = known(from, false))
    return fault;
  if (auto fault = known(to, true))
    return fault;
  memmove(state->view(to), state->view(from), bytes);
  if (state->shadow && state->inRange(to)) {
    uint8_t *shadow = state->shadow + (to - state->rangeBase);
    if (state->inRange(from))
      memmove(shadow, state->shadow + (from - state->rangeBase), bytes);
    else
      memset(shadow, 1, bytes);
  }
  return std::nullopt;
}

std::optional<MemoryFault> GlobalMemory::fill(DevicePtr to, uint32_t value,
                                              unsigned elementBytes,
                                              uint64_t count) {
  bool overflow = false;
  uint64_t bytes =
      llvm::SaturatingMultiply(count, uint64_t(elementBytes), &overflow);
  if (overflow || (elementBytes != 1 && elementBytes != 2 && elementBytes != 4))
    return MemoryFault{ErrorCode::InvalidValue, "fill of no valid size"};
  if (to % elementBytes)
    return MemoryFault{ErrorCode::InvalidValue,
                       "fill at an address that is not a multiple of its "
                       "element size"};
  if (bytes == 0)
    return std::nullopt;
  std::unique_lock guard(state->lock);
  if (auto fault = state->check(-1, to, bytes, true))
    return fault;
  std::byte *at = state->view(to);
  if (elementBytes == 1) {
    memset(at, int(value), bytes);
  } else {
    for (uint64_t i = 0; i < count; ++i)
      memcpy(at + i * elementBytes, &value, elementBytes);
  }
  if (state->shadow && state->inRange(to))
    memset(state->shadow + (to - state->rangeBase), 1, bytes);
  return std::nullopt;
}

//===--- uninitialised-byte shadow ------------------------------------------//

bool GlobalMemory::tracksInitialized() const { return state->shadow; }

void GlobalMemory::markInitialized(DevicePtr address, uint64_t bytes) {
  if (state->shadow && state->inRange(address))
    memset(state->shadow + (address - state->rangeBase), 1, bytes);
}
std::optional<DevicePtr>
GlobalMemory::firstUninitialized(DevicePtr address, uint64_t bytes) const {
  if (!state->shadow || !state->inRange(address))
    return std::nullopt;
  const uint8_t *shadow = state->shadow + (address - state->rangeBase);
  const void *first = memchr(shadow, 0, bytes);
  if (!first)
    return std::nullopt;
  return address + uint64_t(static_cast<const uint8_t *>(first) - shadow);
}

//===--- fast paths ---------------------------------------------------------//

GlobalMemory::Window GlobalMemory::window(int device, DevicePtr address) const {
  std::shared_lock guard(state->lock);
  const State::Record *record = state->find(address);
  if (!record || record->allocation.freed)
    return {};
  const Allocation &allocation = record->allocation;
  if (allocation.device >= 0 && allocation.device != device &&
      !state->peers[device][allocation.device])
    return {};
  Window window;
  window.base = allocation.base;
  window.bytes = allocation.bytes;
  window.writable = !allocation.readOnly;
  if (state->inRange(allocation.base)) {
    window.toHost = reinterpret_cast<uint64_t>(state->bytes) - state->rangeBase;
    if (state->shadow)
      window.toShadow =
          reinterpret_cast<uint64_t>(state->shadow) - state->rangeBase;
  }
  return window;
}

uint64_t GlobalMemory::generation() const { return state->generation; }
