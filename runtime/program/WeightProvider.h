//===- WeightProvider.h - where a plan's weights come from ----------------===//
#pragma once

#include "runtime/hal/Device.h"
#include "runtime/program/PackedWeights.h"
#include "llvm/ADT/FunctionExtras.h"
#include "llvm/ADT/StringMap.h"

#include <memory>

namespace moec {
class MappedFile;
} // namespace moec

namespace moec::plan {
struct WeightSource;
} // namespace moec::plan

namespace moec::runtime {

class Plan;

/// Delivers weights, one at a time and each once or more: logical ones,
/// row-major, and those that were packed beforehand.
class WeightProvider {
public:
  virtual ~WeightProvider() = default;
  /// Weight `index` of the plan. Its shape is the plan's; its bytes are exactly
  /// those of its encoding.
  virtual llvm::Expected<HostTensor> get(const Plan &plan, unsigned index) = 0;
  /// A weight that was packed beforehand: exactly the bytes of a range of the
  /// plan, at a multiple of kWeightAlignment.
  virtual llvm::Expected<HostBytes>
  getPacked(const Plan &plan, const plan::PackedRange &range) = 0;
};

/// Makes a weight that has no source file: by name, from the module that the
/// plan embeds. A tool that holds the compiler injects it.
using Materializer =
    llvm::unique_function<llvm::Expected<HostTensor>(llvm::StringRef name)>;

/// Maps the files that the plan names, relative to the plan's folder, and
/// checks their sizes and each range against its file. Digests are compared
/// where `verify` is set. Weights without a source go to the materializer, if
/// there is one.
class FileWeightProvider final : public WeightProvider {
public:
  explicit FileWeightProvider(Materializer materializer = nullptr,
                              bool verify = false)
      : materializer(std::move(materializer)), verify(verify), packed(verify) {}

  llvm::Expected<HostTensor> get(const Plan &plan, unsigned index) override;
  llvm::Expected<HostBytes> getPacked(const Plan &plan,
                                      const plan::PackedRange &range) override {
    return packed.get(plan, range);
  }

private:
  llvm::Expected<std::shared_ptr<const MappedFile>>
  openFile(const Plan &plan, llvm::StringRef file);
  llvm::Expected<HostTensor::Piece> getPiece(const Plan &plan,
                                             const plan::WeightSource &source,
                                             const std::string &name);

  Materializer materializer;
  bool verify;
  WeightFiles packed;
  llvm::StringMap<std::shared_ptr<const MappedFile>> files;
};

} // namespace moec::runtime
