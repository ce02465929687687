//===- Plan.h - a compiled model, read and checked ------------------------===//
//
// A plan comes from a file that somebody else may have made. `Plan` checks the
// container and everything in it that the runtime will follow: indices, sizes,
// arena ranges, grids. After that the flatbuffer's accessors can be used
// without further checks. What it cannot check is the code itself, nor whether
// a launch gives a kernel what that one reads: a plan is a program. Digests
// tell whether it is still what was written (runtime/schema/PlanDigest.h, and
// `checkCode` for code).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec::plan {
struct Plan;
struct Program;
struct Variant;
} // namespace moec::plan

namespace moec::runtime {

struct PlanVersion {
  uint16_t major = 0;
  uint16_t minor = 0;
};

/// The version of a plan of any version; reads the head only.
llvm::Expected<PlanVersion> readPlanVersion(llvm::ArrayRef<uint8_t> bytes,
                                            llvm::StringRef name);
llvm::Expected<PlanVersion> readPlanVersion(llvm::StringRef path);

/// Whether bytes start as a plan does.
bool looksLikePlan(llvm::ArrayRef<uint8_t> bytes);

/// A plan whose contents have been checked. Immutable; for any thread.
class Plan {
public:
  /// Maps and checks a file.
  static llvm::Expected<std::shared_ptr<const Plan>> open(llvm::StringRef path);
  /// Checks bytes in memory; `name` stands for the path in messages, and its
  /// folder is where relative weight files are looked for.
  static llvm::Expected<std::shared_ptr<const Plan>>
  fromBytes(std::vector<uint8_t> bytes, llvm::StringRef name);

  const plan::Plan &root() const { return *contents; }
  const plan::Plan *operator->() const { return contents; }
  const std::string &path() const { return name; }

  /// The value of a fact (runtime/schema/Facts.h), if the plan has it.
  std::optional<llvm::StringRef> fact(llvm::StringRef key) const;
  /// A fact that must be there and a number of at least `minimum`.
  llvm::Expected<int64_t> integerFact(llvm::StringRef key,
                                      int64_t minimum = 0) const;
  /// The numbers of a list; empty where the fact is missing.
  llvm::Expected<std::vector<int64_t>> integerList(llvm::StringRef key) const;

  std::optional<unsigned> findSymbol(llvm::StringRef symbol) const;
  std::optional<unsigned> findSignature(llvm::StringRef signature) const;
  /// The largest values, in the order of the plan's symbols.
  llvm::ArrayRef<int64_t> symbolMaxima() const { return maxima; }
  /// The maxima within which `program` is valid.
  std::vector<int64_t> limitsOf(const plan::Program &program) const;

  /// Compares the SHA-256 of each code blob of a variant. Nothing else looks
  /// at code before this has passed.
  llvm::Error checkCode(const plan::Variant &variant) const;

  /// `plan.moep: object`.
  Location at(std::string object) const;

private:
  Plan() = default;
  static llvm::Expected<std::shared_ptr<const Plan>>
  check(std::shared_ptr<Plan> plan, llvm::ArrayRef<uint8_t> bytes);

  /// Keeps the bytes alive: a MappedFile or a vector.
  std::shared_ptr<const void> owner;
  const plan::Plan *contents = nullptr;
  std::string name;
  std::vector<int64_t> maxima;
};

/// What a message calls launch `index` of a program: `program 'decode', launch
/// 12 (model.layers.3.mlp)`.
std::string launchName(const plan::Program &program, unsigned index);

} // namespace moec::runtime
