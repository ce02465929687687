//===- Pass.h - one step of the compiler ----------------------------------===//
//
// A pass turns a valid module into a valid module. Its options are a struct
// with a field list (ir/core/Attribute.h), so that a printed pipeline replays
// exactly:
//
//   struct FuseQkv final : Pass {
//     llvm::Error run(Module &module, PassContext &context) override;
//   };
//   struct Upcycle final : PassWith<UpcycleOptions> { ... options().experts };
//
// A pass does not know its name; the registry gives it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Attribute.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <string>

namespace llvm {
class Twine;
}

namespace moec {

class Module;
class Operation;
class TargetQueries;
class TensorReader;

/// What a running pass may use and say.
class PassContext {
public:
  virtual ~PassContext();

  /// Adds to a statistic of the running pass, such as "fused".
  virtual void count(llvm::StringRef statistic, uint64_t by = 1) = 0;
  /// Says why something was not done to `op`; the reason names what stood in
  /// the way, as in "its result has 2 readers".
  virtual void remark(const Operation &op, const llvm::Twine &reason) = 0;

  /// What the target supports; null where no target is chosen. Tools set it.
  const TargetQueries *target = nullptr;
  /// Reads the module's files; null where their numbers may not matter. Tools
  /// set it.
  TensorReader *reader = nullptr;
};

class Pass {
public:
  virtual ~Pass();

  virtual llvm::Error run(Module &module, PassContext &context) = 0;
  /// The options as fields; null for a pass that has none.
  virtual Attributes *optionFields() { return nullptr; }

  /// The name that pipelines use.
  const std::string &name() const { return nameText; }
  void setName(llvm::StringRef name) { nameText = name.str(); }

private:
  std::string nameText;
};

/// A pass with options.
template <typename Options> class PassWith : public Pass {
public:
  PassWith() = default;
  explicit PassWith(Options options) : values(std::move(options)) {}

  Attributes *optionFields() override { return &values; }
  Options &options() { return values; }
  const Options &options() const { return values; }

private:
  Options values;
};

} // namespace moec
