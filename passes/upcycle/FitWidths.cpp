//===- FitWidths.cpp - how many neurons each expert has -------------------===//

#include "ir/ops/OpInfo.h"
#include "passes/upcycle/Scaling.h"
#include "passes/upcycle/Upcycle.h"

using namespace moec;

/// Copies of the dense FFN that one expert may be joined from.
static constexpr int64_t kMaxCopies = 256;

/// The divisors of `width` next to `number`, such as "4 or 8".
static std::string divisorsNear(int64_t width, int64_t number) {
  int64_t below = std::min(number, width), above = number;
  while (width % below)
    --below;
  while (above < width && width % above)
    ++above;
  std::string text = std::to_string(below);
  return above < width ? text + " or " + std::to_string(above) : text;
}

llvm::Error moec::fitWidths(DenseFfn &ffn) {
  const UpcycleOptions &options = ffn.options;
  auto cannot = [&] { return opError(ffn.op); };
  int64_t g = options.granularity;
  if (options.init == InitPolicy::virtual_group && ffn.width % g)
    return cannot() << "has " << ffn.width << " neurons, which granularity "
                    << g << " does not divide; take "
                    << divisorsNear(ffn.width, g);
  if (options.expertWidth)
    ffn.expertWidth = options.expertWidth;
  else if (options.init == InitPolicy::split)
    ffn.expertWidth = ffn.width / options.experts;
  else
    ffn.expertWidth = ffn.width / g;
  if (!ffn.expertWidth)
    return cannot() << "has " << ffn.width << " neurons, too few for experts "
                    << "of a width of their own";
  if (hasShared(options)) {
    bool slice = options.sharedInit == SharedInit::split;
    ffn.sharedWidth = options.sharedWidth;
    if (!ffn.sharedWidth && slice && options.init == InitPolicy::split)
      // Shared experts are as wide as the routed ones.
      ffn.sharedWidth = ffn.width / (options.experts + options.sharedExperts) *
                        options.sharedExperts;
    else if (!ffn.sharedWidth && slice)
      return cannot() << "is to give neurons to a shared FFN; shared_width "
                      << "says how many";
    else if (!ffn.sharedWidth)
      ffn.sharedWidth = options.sharedExperts * ffn.expertWidth;
    if (slice && ffn.sharedWidth >= ffn.width)
      return cannot() << "has " << ffn.width << " neurons, of which "
                      << ffn.sharedWidth << " cannot go to the shared FFN";
    ffn.firstRouted = slice ? ffn.sharedWidth : 0;
  }
  int64_t routed = ffn.routedWidth();
  if (options.init == InitPolicy::split ||
      options.init == InitPolicy::virtual_group) {
    int64_t parts = slicesOf(options);
    if (routed % parts)
      return cannot() << "has " << routed << " neurons for "
                      << (options.init == InitPolicy::split ? "" : "slices of ")
                      << parts << " experts, which do not divide them";
    ffn.expertWidth = routed / parts;
  } else if (options.init != InitPolicy::qwen2 &&
             options.init != InitPolicy::scratch) {
    ffn.expertWidth = routed;
  }
  for (auto [what, neurons] : {std::pair("an expert", ffn.expertWidth),
                               std::pair("a shared FFN", ffn.sharedWidth)})
    if (neurons / routed > kMaxCopies)
      return cannot() << "has " << routed << " neurons, but " << what << " is "
                      << "to have " << neurons << ", more than " << kMaxCopies
                      << " copies hold";
  return llvm::Error::success();
}
