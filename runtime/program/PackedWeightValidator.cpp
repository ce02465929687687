#include "runtime/program/PackedWeightValidator.h"

#include "ir/support/Diagnostic.h"
#include "runtime/program/Fields.h"
#include "runtime/program/PackedWeights.h"
#include "runtime/program/Polynomial.h"

using namespace moec;
using namespace moec::runtime;
using namespace moec::runtime::fields;

// Far above what plans need.
static constexpr uint16_t kMaxPanel = 1024;

static ErrorBuilder failAt(const std::string &path, const std::string &object) {
  Location place = Location::inFile(path);
  place.object = object;
  return error(place);
}

/// Begins the message about one packed weight.
using Fail = llvm::function_ref<ErrorBuilder()>;

llvm::Error runtime::validateWeightFiles(const plan::Plan &plan,
                                         const std::string &path) {
  auto fail = [&](const std::string &object) { return failAt(path, object); };
  for (unsigned i = 0; i < count(plan.weight_files()); ++i) {
    const plan::WeightFile &file = *plan.weight_files()->Get(i);
    std::string object = "weight file " + std::to_string(i);
    // A system's call would read no further than a zero byte.
    if (file.file()->size() == 0 || text(file.file()).contains('\0'))
      return fail(object) << "expects a file's name without zero bytes";
    if (file.id()->size() != 32)
      return fail(object) << "expects an id of 32 bytes, got "
                          << file.id()->size() << " bytes";
    if (file.bytes() < kWeightFileStart)
      return fail(object) << "expects at least " << kWeightFileStart
                          << " bytes, got " << file.bytes();
  }
  return llvm::Error::success();
}

static llvm::Error checkLayout(const plan::Plan &plan,
                               const plan::PackedWeight &packed,
                               const Fail &fail) {
  if (packed.layout() > plan::LayoutKind::MAX)
    return fail() << "expects a layout of at most "
                  << unsigned(plan::LayoutKind::MAX) << ", got "
                  << unsigned(packed.layout());
  unsigned expected = packed.layout() == plan::LayoutKind::gated_panels ? 2 : 1;
  if (count(packed.weights()) != expected)
    return fail() << "expects " << expected << " weights, got "
                  << count(packed.weights());
  for (unsigned i = 0; i < expected; ++i)
    if (packed.weights()->Get(i) >= count(plan.weights()))
      return fail() << "packs weight " << packed.weights()->Get(i) << " of "
                    << count(plan.weights());
  if (unsigned(packed.element()) >= kElementTypes)
    return fail() << "expects an element type below " << kElementTypes
                  << ", got " << unsigned(packed.element());
  const plan::TensorType &type =
      *plan.weights()->Get(packed.weights()->Get(0))->type();
  ElementType element = ElementType(packed.element());
  if (packed.layout() == plan::LayoutKind::row_major) {
    unsigned rank = count(type.shape());
    int64_t row = rank ? evaluate(type.shape()->Get(rank - 1), {}) : 1;
    if (row % blockElements(element) != 0)
      return fail() << "has rows of " << row << " elements, no whole number of "
                    << elementTypeName(element) << " blocks";
    return llvm::Error::success();
  }
  if (element != ElementType::f32 && element != ElementType::bf16 &&
      element != ElementType::f16 && element != ElementType::q8_0)
    return fail() << "expects panels of f32, bf16, f16 or q8_0, got "
                  << elementTypeName(element);
  if (count(type.shape()) < 2)
    return fail() << "expects a weight of at least 2 dimensions for "
                     "panels, got "
                  << count(type.shape());
  if (packed.panel() < 1 || packed.panel() > kMaxPanel || packed.group() < 1 ||
      packed.group() > kMaxPanel)
    return fail() << "expects a panel and a group in [1, " << kMaxPanel
                  << "], got " << packed.panel() << " and " << packed.group();
  if (element == ElementType::q8_0 && 32 % packed.group() != 0)
    return fail() << "expects a group that divides 32 for q8_0, got "
                  << packed.group();
  if (expected == 2) {
    const plan::TensorType &other =
        *plan.weights()->Get(packed.weights()->Get(1))->type();
    bool equal = count(other.shape()) == count(type.shape());
    for (unsigned d = 0; equal && d < count(type.shape()); ++d)
      equal = evaluate(other.shape()->Get(d), {}) ==
              evaluate(type.shape()->Get(d), {});
    if (!equal)
      return fail() << "expects two weights of one shape";
  }
  return llvm::Error::success();
}

/// Of a packed weight whose layout has been checked.
static llvm::Error checkRange(const plan::Plan &plan,
                              const plan::PackedWeight &packed,
                              const plan::PackedRange &range,
                              const Fail &fail) {
  if (range.file() >= count(plan.weight_files()))
    return fail() << "lies in weight file " << range.file() << " of "
                  << count(plan.weight_files());
  uint64_t fileBytes = plan.weight_files()->Get(range.file())->bytes();
  std::optional<uint64_t> bytes = packedBytes(
      layoutOf(packed),
      constantShape(*plan.weights()->Get(packed.weights()->Get(0))->type()));
  if (!bytes || range.bytes() != *bytes)
    return fail() << "has " << range.bytes() << " bytes, but its layout "
                  << (bytes ? "takes " + std::to_string(*bytes)
                            : std::string("exceeds 64 bits"));
  std::optional<uint64_t> end = checkedAdd(range.offset(), range.bytes());
  if (range.offset() < kWeightFileStart ||
      range.offset() % kWeightAlignment != 0 || !end || *end > fileBytes)
    return fail() << "has " << range.bytes() << " bytes at byte "
                  << range.offset() << " of a file of " << fileBytes
                  << " bytes, expects a multiple of " << kWeightAlignment
                  << " of at least " << kWeightFileStart
                  << " and an end inside the file";
  if (unsigned digest = count(range.sha256()); digest != 0 && digest != 32)
    return fail() << "expects a SHA-256 of 32 bytes or none, got " << digest
                  << " bytes";
  return llvm::Error::success();
}

llvm::Error runtime::validatePackedWeight(const plan::Plan &plan,
                                          const plan::PackedWeight &packed,
                                          const std::string &path,
                                          const std::string &object) {
  auto fail = [&] { return failAt(path, object); };
  MOEC_TRY(checkLayout(plan, packed, fail));
  if (const plan::PackedRange *range = packed.packed())
    MOEC_TRY(checkRange(plan, packed, *range, fail));
  return llvm::Error::success();
}
