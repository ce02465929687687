//===- Executor.h - a plan on a device ------------------------------------===//
//
// LoadedPlan is what all users of a model share: code and packed weights of one
// variant. An Executor adds what one user needs, states and an arena, and runs
// programs: it takes the first program of a signature whose limits hold, binds
// addresses, evaluates sizes and grids, and walks the launches. Bindings are
// kept by symbol values, so that a decode step costs its launches only.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/hal/Device.h"
#include "runtime/program/Plan.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec::runtime {

class WeightProvider;

/// The variant of the plan that `device` runs: the first that it supports, as
/// plans list the best first; or, where `forced` is not empty, the one of that
/// name (its last parts are enough: `avx2`). Errors name what is missing.
llvm::Expected<unsigned> chooseVariant(const Plan &plan, const Device &device,
                                       llvm::StringRef forced = "");

/// Code and weights of one variant. Immutable after `load`.
class LoadedPlan {
public:
  static llvm::Expected<std::shared_ptr<const LoadedPlan>>
  load(std::shared_ptr<const Plan> plan, std::shared_ptr<Device> device,
       unsigned variant, WeightProvider &weights);

  const Plan &plan() const { return *contents; }
  const plan::Variant &variant() const;
  Device &device() const { return *home; }
  const Executable &executable() const { return *code; }
  /// Packed weights, in the variant's order.
  llvm::ArrayRef<std::unique_ptr<Buffer>> weights() const { return packed; }
  const Buffer *constants() const { return constantData.get(); }
  /// Bytes of all packed weights, and of those that were packed beforehand.
  uint64_t weightBytes() const;
  uint64_t packedBeforehandBytes() const { return beforehandBytes; }

private:
  LoadedPlan() = default;

  std::shared_ptr<const Plan> contents;
  std::shared_ptr<Device> home;
  unsigned variantIndex = 0;
  std::unique_ptr<Executable> code;
  std::vector<std::unique_ptr<Buffer>> packed;
  std::unique_ptr<Buffer> constantData;
  uint64_t beforehandBytes = 0;
};

/// One launch of the last run; see Executor::setProfile.
struct LaunchProfile {
  const plan::Program *program = nullptr;
  unsigned launch = 0;
  uint64_t runs = 0;
  double seconds = 0;
  double least = 0; ///< of one run
};

/// Inputs of a run in the signature's order; an empty one is as good as zero
/// elements.
struct RunRequest {
  unsigned signature = 0;
  /// In the order of the plan's symbols.
  llvm::ArrayRef<int64_t> symbols;
  llvm::ArrayRef<llvm::ArrayRef<uint8_t>> inputs;
  llvm::ArrayRef<llvm::MutableArrayRef<uint8_t>> outputs;
};

class Executor {
public:
  /// States are made, as zeros, with the sizes that they have at
  /// `stateSymbols`; later runs use states of that size.
  static llvm::Expected<std::unique_ptr<Executor>>
  create(std::shared_ptr<const LoadedPlan> loaded,
         llvm::ArrayRef<int64_t> stateSymbols);
  ~Executor();

  const LoadedPlan &loaded() const { return *shared; }
  const Plan &plan() const { return shared->plan(); }

  /// Runs the signature once. Inputs and outputs have exactly the sizes that
  /// their types have at the symbols.
  llvm::Error run(const RunRequest &request);

  /// The program that a run at `symbols` takes.
  llvm::Expected<const plan::Program *>
  chooseProgram(unsigned signature, llvm::ArrayRef<int64_t> symbols) const;

  /// Bytes of states, and of the arena so far.
  uint64_t stateBytes() const;
  uint64_t arenaBytes() const { return arena ? arena->bytes() : 0; }

  llvm::Error readState(unsigned state, llvm::MutableArrayRef<uint8_t> out);
  llvm::Error zeroState(unsigned state);
  uint64_t stateSize(unsigned state) const { return states[state].bytes; }

  /// Measures each launch; the list is cleared by switching it on.
  void setProfile(bool on);
  std::vector<LaunchProfile> profile() const;
  /// Stops at the first launch after which a buffer that the plan declares
  /// floating-point holds NaN.
  void setCheckNan(bool on) { checkNan = on; }

private:
  struct Binding;
  struct BoundLaunch;
  struct ProfileTable;

  Executor();
  llvm::Expected<Binding *> bind(const RunRequest &request);
  llvm::Error fillBinding(Binding &binding, const RunRequest &request);
  llvm::Error launchAll(Binding &binding);
  llvm::Error findNan(const Binding &binding, unsigned index);

  std::shared_ptr<const LoadedPlan> shared;
  std::unique_ptr<Stream> stream;
  std::vector<int64_t> stateSymbols;
  struct State {
    DevicePtr address{};
    uint64_t bytes = 0;
  };
  std::vector<State> states;
  /// All states together, since a layer's is small for a page table.
  std::unique_ptr<Buffer> stateMemory;
  std::unique_ptr<Buffer> arena;
  /// Staging for inputs and outputs, by signature, then inputs, then outputs.
  std::vector<std::vector<std::unique_ptr<Buffer>>> staging;
  /// Most recently used first.
  std::list<std::unique_ptr<Binding>> bindings;
  std::unique_ptr<ProfileTable> profileTable;
  bool checkNan = false;
};

} // namespace moec::runtime
