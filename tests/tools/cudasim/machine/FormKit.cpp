//===- FormKit.cpp - what the generated tests of op forms share -----------===//

#include "tests/tools/cudasim/machine/FormKit.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

namespace cudasim::test {

Spelling::Spelling(const std::string &text) : text(text) {
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, '.');)
    words.push_back(word);
  for (size_t i = 1; i < words.size(); ++i)
    if (ptx::isTypeWord(words[i]))
      types.push_back(words[i]);
}

bool Spelling::has(const std::string &word) const {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string
Spelling::oneOf(std::initializer_list<const char *> candidates) const {
  for (const char *candidate : candidates)
    if (has(candidate))
      return candidate;
  return "";
}

unsigned Spelling::vector() const {
  return has("v2") ? 2 : has("v4") ? 4 : has("v8") ? 8 : 1;
}

namespace {

bool isHint(const std::string &word) {
  static const std::set<std::string> hints = {
      ".weak", ".volatile", ".relaxed", ".acquire", ".release", ".acq_rel",
      ".cta",  ".cluster",  ".gpu",     ".sys",     ".ca",      ".cg",
      ".cs",   ".lu",       ".cv",      ".wb",      ".wt",      ".nc"};
  return hints.count(word) || word.rfind(".L1::", 0) == 0 ||
         word.rfind(".L2::", 0) == 0;
}

struct Group {
  std::vector<std::string> choices;
  bool hints = false, scopes = false, strengths = false;
};

std::vector<Group> groupsOf(llvm::StringRef pattern) {
  std::vector<Group> groups;
  while (!pattern.empty()) {
    Group group;
    if (pattern.consume_front("{")) {
      auto [inside, rest] = pattern.split('}');
      pattern = rest;
      llvm::SmallVector<llvm::StringRef> choices;
      inside.split(choices, '|');
      for (llvm::StringRef choice : choices)
        group.choices.push_back(choice.str());
    } else {
      size_t end = std::min(pattern.find('{'), pattern.size());
      group.choices.push_back(pattern.take_front(end).str());
      pattern = pattern.drop_front(end);
    }
    group.hints = group.choices.size() > 1;
    for (const std::string &choice : group.choices) {
      group.hints &= choice.empty() || isHint(choice);
      group.scopes |= choice == ".gpu";
      group.strengths |= choice == ".relaxed";
    }
    // cp.async.cg copies other sizes than cp.async.ca.
    if (group.choices.size() == 2 && group.choices[0] == ".ca")
      group.hints = false;
    groups.push_back(std::move(group));
  }
  return groups;
}

} // namespace

std::vector<std::string> chosenSpellings(llvm::StringRef pattern) {
  std::vector<Group> groups = groupsOf(pattern);
  size_t combinations = 1;
  std::vector<std::pair<size_t, size_t>> hints = {{~size_t(0), 0}};
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].hints)
      combinations *= groups[g].choices.size();
    for (size_t c = 0; groups[g].hints && c < groups[g].choices.size(); ++c)
      if (!groups[g].choices[c].empty())
        hints.push_back({g, c});
  }
  std::vector<std::string> all;
  for (size_t i = 0; i < std::max(combinations, hints.size()); ++i) {
    auto [hintGroup, hint] = hints[i % hints.size()];
    bool scoped = false, strong = false, isVolatile = false;
    if (hintGroup != ~size_t(0)) {
      scoped = groups[hintGroup].scopes;
      strong = groups[hintGroup].strengths;
      isVolatile = strong && (groups[hintGroup].choices[hint] == ".volatile" ||
                              groups[hintGroup].choices[hint] == ".weak");
    }
    std::string text;
    size_t rest = i;
    for (size_t g = 0; g < groups.size(); ++g) {
      const std::vector<std::string> &choices = groups[g].choices;
      size_t pick = 0;
      if (!groups[g].hints) {
        pick = rest % choices.size();
        rest /= choices.size();
      } else if (g == hintGroup) {
        pick = hint;
      } else if (groups[g].scopes && strong && !isVolatile) {
        pick = choices.size() - 1 - i % (choices.size() - 1);
      } else if (groups[g].strengths && scoped) {
        pick = size_t(std::find(choices.begin(), choices.end(), ".relaxed") -
                      choices.begin());
      }
      text += choices[pick];
    }
    all.push_back(text);
  }
  return all;
}

std::string formKernel(const std::string &body, const std::string &before) {
  return std::string(kHeader) + before +
         ".visible .entry k(.param .u64 in, .param .u64 out, "
         ".param .align 16 .b8 rec[64])\n{\n"
         ".reg .pred %p<32>;\n.reg .b16 %h<32>;\n.reg .b32 %r<32>;\n"
         ".local .align 16 .b8 l[64];\n.reg .b64 %d<32>;\n.reg .b128 "
         "%q<8>;\n.reg .b32 %t;\n"
         ".reg .b64 %in, %out, %from, %to, %step;\n"
         "ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n"
         "mov.u32 %t, %tid.x;\nmul.wide.u32 %step, %t, 64;\n"
         "add.s64 %from, %in, %step;\nadd.s64 %to, %out, %step;\n" +
         body + "\nret;\n}\n";
}

Run runForm(const Spelling &form, const std::string &ptx, const Bytes &in,
            unsigned threads, bool mayFault) {
  struct Record {
    uint8_t bytes[kRecord];
  } record;
  Run run;
  Machine machine(ptx);
  if (!machine.good()) {
    ADD_FAILURE() << form.text << ": " << machine.problem;
    return run;
  }
  Bytes given = in, zeros(threads * kRecord);
  given.resize(std::max<size_t>(in.size(), threads * kRecord));
  memcpy(record.bytes, given.data(), kRecord);
  DevicePtr from = machine.put(given), to = machine.put(zeros);
  LaunchConfig config = shape(1, threads);
  config.instructionBudget = 1'000'000;
  run.fault = machine.run("k", config, from, to, record);
  if (run.fault && !mayFault) {
    ADD_FAILURE() << form.text << ": " << run.fault->str();
    return run;
  }
  run.out = machine.get<uint8_t>(to, zeros.size());
  return run;
}

Bytes randomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (uint8_t &byte : bytes)
    byte = uint8_t(random() >> 11);
  return bytes;
}

unsigned memoryBits(const std::string &type) {
  if (type == "f16x2" || type == "bf16x2")
    return 32;
  if (type == "e4m3" || type == "e5m2")
    return 8;
  size_t digit = type.find_first_of("0123456789");
  return unsigned(std::stoul(type.substr(digit)));
}

std::string str(uint64_t number) { return std::to_string(number); }

std::string reg(unsigned bits, unsigned index) {
  return (bits <= 16 ? "%h" : bits == 32 ? "%r" : "%d") + str(index);
}

namespace {
struct SmallFormat {
  int exponentBits, mantissaBits;
  bool hasInfinity = true;
};
SmallFormat formatOf(const std::string &type) {
  return type == "f16"    ? SmallFormat{5, 10}
         : type == "bf16" ? SmallFormat{8, 7}
         : type == "e4m3" ? SmallFormat{4, 3, false}
         : type == "e5m2" ? SmallFormat{5, 2}
                          : SmallFormat{8, 23};
}
} // namespace

double smallFloat(uint32_t bits, const std::string &type) {
  SmallFormat f = formatOf(type);
  int bias = (1 << (f.exponentBits - 1)) - 1;
  int top = (1 << f.exponentBits) - 1;
  int exponent = int(bits >> f.mantissaBits) & top;
  uint32_t mantissa = bits & ((1u << f.mantissaBits) - 1);
  double value;
  if (f.hasInfinity && exponent == top)
    value = mantissa ? NAN : INFINITY;
  else if (!f.hasInfinity && exponent == top &&
           mantissa == (1u << f.mantissaBits) - 1)
    value = NAN;
  else
    value = exponent ? std::ldexp(1 + std::ldexp(mantissa, -f.mantissaBits),
                                  exponent - bias)
                     : std::ldexp(double(mantissa), 1 - bias - f.mantissaBits);
  bool negative = bits >> (f.exponentBits + f.mantissaBits) & 1;
  return negative ? -value : value;
}

uint32_t smallBits(double value, const std::string &type) {
  SmallFormat f = formatOf(type);
  int bias = (1 << (f.exponentBits - 1)) - 1;
  uint32_t sign = uint32_t(std::signbit(value))
                  << (f.exponentBits + f.mantissaBits);
  uint32_t infinity = ((1u << f.exponentBits) - 1) << f.mantissaBits;
  double size = std::fabs(value);
  if (size == 0)
    return sign;
  int exponent;
  std::frexp(size, &exponent);
  exponent = std::max(exponent - 1, 1 - bias);
  // The default rounding is to nearest even; the step is exact.
  double units = std::nearbyint(std::ldexp(size, f.mantissaBits - exponent));
  double bits = units + std::ldexp(double(exponent + bias - 1), f.mantissaBits);
  return sign | (bits >= infinity ? infinity : uint32_t(bits));
}

} // namespace cudasim::test
