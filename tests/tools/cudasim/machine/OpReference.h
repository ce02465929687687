//===- OpReference.h - what an op form means, one value at a time ---------===//
//
// Written from the PTX ISA alone and by other means than the machine: host
// arithmetic in the processor's rounding modes, 128-bit integers and floats.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cudasim::test {

struct Answer {
  uint64_t bits = 0;
  /// Not 0: a float result may differ by this many units in the last place.
  double ulps = 0;
  /// Any not-a-number will do.
  bool anyNan = false;
};

/// The result of `mnemonic.words` for one lane; nothing where the form is not
/// known here. Inputs are registers' bits, a predicate 0 or 1.
std::optional<Answer> answer(const std::vector<std::string> &words,
                             const std::vector<std::string> &types,
                             const uint64_t *in);

/// Bits of a register that holds the type.
unsigned bitsOfType(const std::string &type);
bool isFloatType(const std::string &type);

} // namespace cudasim::test
