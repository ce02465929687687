//===- WeightsToCome.h - which weight a launch may prepare ----------------===//
#pragma once

#include <optional>
#include <vector>

namespace moec::plan {
struct Program;
struct Variant;
} // namespace moec::plan

namespace moec::runtime {

class Plan;

/// By launch, the buffer of the weight that the next launch with one reads; a
/// step's last launches look at the beginning of the next step. None where it
/// is a bank, of which nobody knows the experts that will be read.
std::vector<std::optional<unsigned>>
weightsToCome(const Plan &plan, const plan::Variant &variant,
              const plan::Program &program);

} // namespace moec::runtime
