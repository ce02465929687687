//===- Memory.h - the global memory of all simulated devices --------------===//
//
// One range of addresses is reserved for all devices; bits 38 and up of an
// address less the range's start name the device. The range itself is never
// mapped: the bytes lie elsewhere, so a host that dereferences a device
// pointer dies as it does on a real machine. Pinned and registered host memory
// keeps its host address (unified addressing), as managed memory does.
//
// Every allocation starts at a multiple of 256 bytes and has a redzone behind
// it that belongs to nobody. A freed range stays in quarantine until enough
// younger frees push it out; until then an access to it is reported as a use
// after free.
//
// All functions may be called from several threads at once. The bytes
// themselves are not locked: a kernel that runs while the host copies is a
// race, here as there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cudasim {

/// An address as a kernel or the driver API sees it.
using DevicePtr = uint64_t;

/// The driver's error codes that memory and launches answer with; the values
/// are those of CUresult.
enum class ErrorCode : int {
  InvalidValue = 1,
  OutOfMemory = 2,
  InvalidImage = 200,
  InvalidPtx = 218,
  NotFound = 500,
  IllegalAddress = 700,
  LaunchOutOfResources = 701,
  LaunchTimeout = 702,
  PeerAccessNotEnabled = 705,
  Assert = 710,
  HostMemoryAlreadyRegistered = 712,
  HostMemoryNotRegistered = 713,
  IllegalInstruction = 715,
  MisalignedAddress = 716,
  InvalidAddressSpace = 717,
  InvalidPc = 718,
  LaunchFailed = 719,
  CooperativeLaunchTooLarge = 720,
};

enum class MemoryKind : uint8_t {
  Device,         ///< cuMemAlloc: lives at one device
  Managed,        ///< cuMemAllocManaged: host bytes that all devices see
  PinnedHost,     ///< cuMemAllocHost, cuMemHostAlloc
  RegisteredHost, ///< cuMemHostRegister: the program's own bytes
};

/// What is known of one allocation.
struct Allocation {
  DevicePtr base = 0;
  uint64_t bytes = 0;
  MemoryKind kind = MemoryKind::Device;
  int device = -1;       ///< owner; -1 for host memory
  uint64_t id = 0;       ///< unique over the life of the memory (buffer id)
  bool readOnly = false; ///< kernels may not write (constant banks)
  bool freed = false;    ///< in quarantine
  std::string label;     ///< who asked: an API call or a variable's name

  DevicePtr end() const { return base + bytes; }
};

/// Why an access or a call was refused.
struct MemoryFault {
  ErrorCode code = ErrorCode::InvalidValue;
  std::string message;
};

/// The global memory of all devices and the host ranges they can see.
class GlobalMemory {
public:
  static constexpr uint64_t kAlignment = 256;
  /// An address less the range's start, shifted right by this, is a device.
  static constexpr unsigned kDeviceShift = 38;
  static constexpr int kMaxDevices = 16;

  struct Options {
    /// Capacity of each device, in device order; at most kMaxDevices, each at
    /// most 2^38 bytes. Pages are only backed when touched.
    llvm::SmallVector<uint64_t, 8> deviceBytes;
    uint64_t redzoneBytes = 256;
    uint64_t quarantineBytes = 64ull << 20;
    /// Keeps a byte of shadow per byte that says whether it was ever written;
    /// what launches with Checks::uninitialized need.
    bool trackInitialized = false;
  };

  static llvm::Expected<std::unique_ptr<GlobalMemory>> create(Options options);
  ~GlobalMemory();
  GlobalMemory(const GlobalMemory &) = delete;
  GlobalMemory &operator=(const GlobalMemory &) = delete;

  int deviceCount() const;

  //===--- allocation -----------------------------------------------------===//

  /// Bytes at `device`; the content is a fixed non-zero pattern and counts as
  /// uninitialised. Nothing where the device is full or `bytes` is 0.
  /// `align` is a power of two; at least kAlignment is used.
  std::optional<DevicePtr> allocate(int device, uint64_t bytes,
                                    llvm::StringRef label = "cuMemAlloc",
                                    uint64_t align = kAlignment);
  /// Frees what `allocate` returned; any other pointer, a second free too, is
  /// refused with InvalidValue.
  std::optional<MemoryFault> free(DevicePtr base);

  /// Page-aligned host bytes (zero-filled, counted as initialised) visible at
  /// their host address to host and devices; null where the host is out of
  /// memory or `bytes` is 0. `kind` is PinnedHost or Managed.
  void *allocateHost(uint64_t bytes, MemoryKind kind = MemoryKind::PinnedHost,
                     llvm::StringRef label = "cuMemHostAlloc");
  /// Frees what `allocateHost` returned.
  std::optional<MemoryFault> freeHost(void *base);
  /// Makes the program's own bytes visible to devices.
  std::optional<MemoryFault> registerHost(void *base, uint64_t bytes);
  std::optional<MemoryFault> unregisterHost(void *base);

  /// Live allocations of `device` (-1: of all devices, and host memory) in
  /// address order; what is left at the end has leaked.
  std::vector<Allocation> live(int device) const;
  uint64_t usedBytes(int device) const;
  uint64_t capacityBytes(int device) const;
  /// Highest value that usedBytes had.
  uint64_t peakBytes(int device) const;

  /// Kernels may not write to the allocation that starts at `base` any more.
  void setReadOnly(DevicePtr base);

  //===--- lookup ---------------------------------------------------------===//

  /// The allocation that holds `address`; a quarantined one is returned with
  /// `freed` set. Host memory that nobody pinned or registered is not found.
  std::optional<Allocation> find(DevicePtr address) const;
  /// True where `address` lies in the devices' reserved range, allocated or
  /// not.
  bool isDeviceAddress(DevicePtr address) const;
  /// The device whose range holds the address; -1 where none does.
  int deviceOf(DevicePtr address) const;

  /// Says why `bytes` at `address` may not be accessed by `device` (-1: by the
  /// driver on behalf of the host, which sees all devices). Nothing: they may.
  std::optional<MemoryFault> check(int device, DevicePtr address,
                                   uint64_t bytes, bool write) const;

  /// The bytes behind a device or pinned address, unchecked: `check` first.
  std::byte *hostView(DevicePtr address) const;

  //===--- peer access ----------------------------------------------------===//

  /// Kernels at `device` may access memory of `peer` (or no longer).
  void setPeerAccess(int device, int peer, bool enabled);
  bool peerAccess(int device, int peer) const;

  //===--- copies and fills -----------------------------------------------===//

  /// How `copy` reads an address that lies in no device, pinned or registered
  /// range: as the program's pageable memory, or as a mistake.
  enum class Pageable { Allow, Refuse };

  /// Copies bytes between any two places; overlapping ranges as memmove does.
  /// Initialised-ness travels with device bytes; host bytes are initialised.
  std::optional<MemoryFault> copy(DevicePtr to, DevicePtr from, uint64_t bytes,
                                  Pageable pageable = Pageable::Allow);
  /// Writes `count` elements of 1, 2 or 4 bytes.
  std::optional<MemoryFault> fill(DevicePtr to, uint32_t value,
                                  unsigned elementBytes, uint64_t count);

  //===--- uninitialised-byte shadow
  //----------------------------------------===//

  bool tracksInitialized() const;
  /// Notes a write by somebody who used `hostView`.
  void markInitialized(DevicePtr address, uint64_t bytes);
  /// The first byte in the range that nobody wrote; nothing where all are
  /// written or the shadow is off.
  std::optional<DevicePtr> firstUninitialized(DevicePtr address,
                                              uint64_t bytes) const;

  //===--- for the machine's fast paths
  //-------------------------------------===//

  /// A live range that one device may access, with the distance from its
  /// addresses to the host bytes behind them.
  struct Window {
    DevicePtr base = 0;
    uint64_t bytes = 0;
    uint64_t toHost = 0;   ///< host pointer = address + toHost (modulo 2^64)
    uint64_t toShadow = 0; ///< shadow byte likewise; 0: no shadow here
    bool writable = false;
  };
  /// The window around `address` for a kernel at `device`; bytes == 0 where
  /// there is none. Stays valid until `generation` changes.
  Window window(int device, DevicePtr address) const;
  /// Grows whenever an allocation, a free or a peer change happens.
  uint64_t generation() const;

private:
  GlobalMemory();
  struct State;
  std::unique_ptr<State> state;
};

} // namespace cudasim
