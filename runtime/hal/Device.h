//===- Device.h - what the runtime asks of a device -----------------------===//
//
// One interface for CPUs and GPUs, small enough that each backend implements
// all of it. A device makes buffers, streams, events and executables; the
// executor (runtime/program/Executor.h) needs nothing else. Objects of one
// device are used with that device only, and not after it is gone.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "runtime/hal/WeightLayout.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace moec::plan {
struct Variant;
} // namespace moec::plan

namespace moec::runtime {

/// An address that kernels of the device understand.
enum class DevicePtr : uintptr_t {};

inline DevicePtr advance(DevicePtr base, uint64_t bytes) {
  return DevicePtr(uintptr_t(base) + uintptr_t(bytes));
}

/// A range of the device's memory, freed with the object. Aligned to 64 bytes,
/// except for an adopted one, which lies where its owner put it.
class Buffer {
public:
  virtual ~Buffer() = default;
  uint64_t bytes() const { return byteCount; }
  DevicePtr address() const { return start; }

protected:
  Buffer(DevicePtr start, uint64_t byteCount)
      : start(start), byteCount(byteCount) {}
  DevicePtr start;
  uint64_t byteCount;
};

/// The kernels of one variant, ready to be launched.
class Executable {
public:
  virtual ~Executable() = default;
};

/// A point in a stream.
class Event {
public:
  virtual ~Event() = default;
  /// Blocks the host until the stream has passed the last `record`.
  virtual llvm::Error synchronize() = 0;
};

/// One launch; the arrays are read before `launch` returns.
struct LaunchRequest {
  /// Index into the variant's kernels.
  unsigned kernel = 0;
  llvm::ArrayRef<DevicePtr> buffers;
  llvm::ArrayRef<int64_t> extents;
  int64_t tasks = 0;
  /// The weight that the next launch with one reads, from its beginning to its
  /// end: a hint, none where `soonBytes` is 0.
  DevicePtr soon{};
  uint64_t soonBytes = 0;
};

/// Work in order. Calls may return before the work is done; host memory that
/// they name stays valid and unchanged until `synchronize`.
class Stream {
public:
  virtual ~Stream() = default;
  virtual llvm::Error launch(const Executable &executable,
                             const LaunchRequest &request) = 0;
  virtual llvm::Error copyToDevice(DevicePtr target,
                                   llvm::ArrayRef<uint8_t> source) = 0;
  virtual llvm::Error copyToHost(llvm::MutableArrayRef<uint8_t> target,
                                 DevicePtr source) = 0;
  virtual llvm::Error fillZero(DevicePtr target, uint64_t bytes) = 0;
  virtual llvm::Error record(Event &event) = 0;
  /// Later work of this stream waits for the event.
  virtual llvm::Error wait(const Event &event) = 0;
  virtual llvm::Error synchronize() = 0;
};

/// A logical weight as the host has it: row-major, in one piece of some
/// encoding, or in pieces.
struct HostTensor {
  /// A whole number of rows (of a vector: of blocks); pieces follow one another
  /// along the first dimension.
  struct Piece {
    llvm::ArrayRef<uint8_t> bytes;
    ElementType encoding = ElementType::f32;
    /// Keeps `bytes` alive.
    std::shared_ptr<const void> owner;
    /// As in plan.fbs: above 0, rows are taken in another order.
    uint32_t rotaryHeads = 0;
  };

  llvm::ArrayRef<uint8_t> bytes;
  ElementType encoding = ElementType::f32;
  std::vector<int64_t> shape;
  std::shared_ptr<const void> owner;
  /// Where not empty, these instead of `bytes`, `encoding` and `owner`.
  std::vector<Piece> pieces = {};
};

/// Bytes that somebody keeps.
struct HostBytes {
  llvm::ArrayRef<uint8_t> bytes;
  /// Keeps `bytes` alive.
  std::shared_ptr<const void> owner;
};

class Device {
public:
  virtual ~Device() = default;

  /// A name for messages: `cpu`, `cuda:0`.
  virtual llvm::StringRef name() const = 0;
  /// Threads or multiprocessors that run the tasks of a launch.
  virtual unsigned parallelism() const = 0;

  /// Success if this device can run the variant, else an error that names what
  /// is missing.
  virtual llvm::Error supports(const plan::Variant &variant) const = 0;

  /// Memory that reads as zero.
  virtual llvm::Expected<std::unique_ptr<Buffer>> allocate(uint64_t bytes) = 0;
  virtual llvm::Expected<std::unique_ptr<Stream>> createStream() = 0;
  virtual llvm::Expected<std::unique_ptr<Event>> createEvent() = 0;

  /// Compiles or fetches a variant's code, whose digests the caller has
  /// checked.
  virtual llvm::Expected<std::unique_ptr<Executable>>
  load(const plan::Variant &variant) = 0;

  /// A weight (gatedPanels: two of one shape) in the layout asked for. Where
  /// nothing changes, the buffer may be the host's own bytes.
  virtual llvm::Expected<std::unique_ptr<Buffer>>
  loadWeight(const WeightLayout &layout,
             llvm::ArrayRef<HostTensor> weights) = 0;

  /// A weight that was packed beforehand: bytes in the layout that kernels
  /// want, at a multiple of 64. The buffer may be those bytes; here it is a
  /// copy of them.
  virtual llvm::Expected<std::unique_ptr<Buffer>>
  adoptWeight(const HostBytes &packed);
};

} // namespace moec::runtime
