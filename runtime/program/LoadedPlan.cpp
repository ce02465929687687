#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "runtime/program/Executor.h"
#include "runtime/program/PackedWeights.h"
#include "runtime/program/WeightProvider.h"
#include "runtime/schema/plan_generated.h"

using namespace moec;
using namespace moec::runtime;

/// Gives a device's error, which knows nothing of plans, its place.
static llvm::Error atPlace(llvm::Error err, Location place) {
  return llvm::handleErrors(
      std::move(err), [&](std::unique_ptr<Diagnostic> diag) -> llvm::Error {
        if (!diag->loc.isKnown())
          diag->loc = std::move(place);
        return llvm::Error(std::move(diag));
      });
}

llvm::Expected<unsigned> runtime::chooseVariant(const Plan &plan,
                                                const Device &device,
                                                llvm::StringRef forced) {
  unsigned variants = plan->variants() ? plan->variants()->size() : 0;
  std::string names, reasons;
  for (unsigned i = 0; i < variants; ++i) {
    const plan::Variant &variant = *plan->variants()->Get(i);
    llvm::StringRef name(variant.name()->data(), variant.name()->size());
    names += (i ? ", '" : "'") + name.str() + "'";
    if (!forced.empty() && name != forced &&
        !name.ends_with(("-" + forced).str()))
      continue;
    llvm::Error unsupported = device.supports(variant);
    if (!unsupported)
      return i;
    if (!forced.empty())
      return atPlace(std::move(unsupported), plan.at(""));
    llvm::handleAllErrors(
        std::move(unsupported), [&](const llvm::ErrorInfoBase &info) {
          std::string text;
          llvm::raw_string_ostream os(text);
          info.log(os);
          llvm::StringRef reason(text);
          reason.consume_front("error: ");
          reasons += (reasons.empty() ? "" : "; ") + reason.str();
        });
  }
  if (!forced.empty())
    return error(plan.at("")) << "has no variant '" << forced << "', it has "
                              << (variants ? names : "none");
  return error(plan.at("")) << "has no variant for device '" << device.name()
                            << "': " << (variants ? reasons : "it has none");
}

/// Says what would make files of weights dispensable, where other variants of
/// the plan can do without them.
static llvm::Error explain(llvm::Error err, const Plan &plan,
                           const plan::Variant &variant, Location place) {
  if (!plan->weight_files() || isInterrupted(err))
    return err;
  return withNote(std::move(err), std::move(place),
                  "this variant's weights were not packed beforehand; compile "
                  "with --pack=" +
                      variant.name()->str() + " or --pack=all");
}

llvm::Expected<std::shared_ptr<const LoadedPlan>>
LoadedPlan::load(std::shared_ptr<const Plan> plan,
                 std::shared_ptr<Device> device, unsigned variantIndex,
                 WeightProvider &provider) {
  std::shared_ptr<LoadedPlan> loaded(new LoadedPlan());
  loaded->contents = std::move(plan);
  loaded->home = std::move(device);
  loaded->variantIndex = variantIndex;
  const plan::Variant &variant = loaded->variant();
  std::string object = "variant '" + variant.name()->str() + "'";
  const Plan &contents = *loaded->contents;

  MOEC_TRY(contents.checkCode(variant));
  llvm::Expected<std::unique_ptr<Executable>> code =
      loaded->home->load(variant);
  if (!code)
    return atPlace(code.takeError(), contents.at(object));
  loaded->code = std::move(*code);

  unsigned weights = variant.weights() ? variant.weights()->size() : 0;
  for (unsigned i = 0; i < weights; ++i) {
    MOEC_TRY(checkInterrupt());
    const plan::PackedWeight &packed = *variant.weights()->Get(i);
    std::string names;
    for (uint16_t index : *packed.weights())
      names += (names.empty() ? "'" : ", '") +
               contents->weights()->Get(index)->name()->str() + "'";
    Location place = contents.at(object + ", weight " + names);
    if (const plan::PackedRange *range = packed.packed()) {
      MOEC_ASSIGN(HostBytes bytes, provider.getPacked(contents, *range));
      llvm::Expected<std::unique_ptr<Buffer>> buffer =
          loaded->home->adoptWeight(bytes);
      if (!buffer)
        return atPlace(buffer.takeError(), place);
      loaded->packed.push_back(std::move(*buffer));
      loaded->beforehandBytes += bytes.bytes.size();
      continue;
    }
    std::vector<HostTensor> sources;
    for (uint16_t index : *packed.weights()) {
      llvm::Expected<HostTensor> source = provider.get(contents, index);
      if (!source)
        return explain(source.takeError(), contents, variant, place);
      sources.push_back(std::move(*source));
    }
    llvm::Expected<std::unique_ptr<Buffer>> buffer =
        loaded->home->loadWeight(layoutOf(packed), sources);
    if (!buffer)
      return atPlace(buffer.takeError(), place);
    loaded->packed.push_back(std::move(*buffer));
  }

  if (variant.constants() && variant.constants()->size()) {
    MOEC_ASSIGN(loaded->constantData,
                loaded->home->allocate(variant.constants()->size()));
    MOEC_ASSIGN(std::unique_ptr<Stream> stream, loaded->home->createStream());
    MOEC_TRY(stream->copyToDevice(
        loaded->constantData->address(),
        {variant.constants()->data(), variant.constants()->size()}));
    MOEC_TRY(stream->synchronize());
  }
  return std::shared_ptr<const LoadedPlan>(std::move(loaded));
}

const plan::Variant &LoadedPlan::variant() const {
  return *contents->root().variants()->Get(variantIndex);
}

uint64_t LoadedPlan::weightBytes() const {
  uint64_t total = 0;
  for (const std::unique_ptr<Buffer> &buffer : packed)
    total += buffer->bytes();
  return total;
}
