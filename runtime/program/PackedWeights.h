//===- PackedWeights.h - weights that were packed beforehand --------------===//
//
// A plan may bring its weights in the layouts that its variants want, in a file
// beside it. Loading then maps the file: nothing is copied, what the system's
// cache holds is there at once, and processes share the memory.
//
// The file begins with a head of 56 bytes, numbers little-endian:
//
//   0   "moecwgts"
//   8   u32 version, 1
//   12  u32 0
//   16  u64 bytes of the file
//   24  id, 32 bytes: the SHA-256 of its ranges' digests, in order, each with
//       offset and size before it
//
// The plan repeats size and id, and so knows its file; ranges lie behind the
// first page. See WeightFile and PackedRange in plan.fbs.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Hash.h"
#include "runtime/hal/Device.h"

#include <array>
#include <vector>

namespace moec {
class MappedFile;
} // namespace moec

namespace moec::plan {
struct PackedRange;
struct PackedWeight;
struct TensorType;
} // namespace moec::plan

namespace moec::runtime {

class Plan;

/// Of a packed weight of a plan whose enumerators have been checked.
WeightLayout layoutOf(const plan::PackedWeight &packed);
/// Of a type whose dimensions are constants.
std::vector<int64_t> constantShape(const plan::TensorType &type);

/// Where ranges of a weight file may begin: behind the head, and at multiples
/// of what kernels assume.
inline constexpr uint64_t kWeightFileStart = 4096;
inline constexpr uint64_t kWeightAlignment = 64;

struct WeightFileHead {
  static constexpr uint64_t kBytes = 56;
  uint64_t fileBytes = 0;
  Digest id{};

  std::array<uint8_t, kBytes> encode() const;
};

/// The weight files of one plan, mapped when they are first asked for.
class WeightFiles {
public:
  /// With `verify`, digests of ranges are compared.
  explicit WeightFiles(bool verify) : verify(verify) {}

  /// Bytes of a range of `plan`, whose file has the size and id that the plan
  /// states; read into memory, unless there are more of them than it holds.
  llvm::Expected<HostBytes> get(const Plan &plan,
                                const plan::PackedRange &range);

private:
  llvm::Expected<std::shared_ptr<const MappedFile>> open(const Plan &plan,
                                                         unsigned index);
  bool fitsIntoMemory(uint64_t bytes);

  bool verify;
  uint64_t asked = 0;
  std::vector<std::shared_ptr<const MappedFile>> files;
};

} // namespace moec::runtime
