//===- Scope.cpp - names of one function body while it is parsed ----------===//

#include "tools/cudasim/ptx/Scope.h"

#include "llvm/ADT/StringExtras.h"

using namespace cudasim::ptx;
using llvm::StringRef;

void ScopeStack::pop() {
  Scope &closing = scopes.back();
  std::vector<LabelUse> &outer =
      scopes.size() > 1 ? scopes[scopes.size() - 2].uses : leftover;
  for (const LabelUse &use : closing.uses) {
    auto found = closing.labels.find(use.name);
    if (found == closing.labels.end()) {
      outer.push_back(use);
      continue;
    }
    Operand &target = function.body[use.instruction].operands[use.operand];
    target.kind = OperandKind::Label;
    target.index = found->second;
  }
  scopes.pop_back();
}

bool ScopeStack::declareRegister(StringRef name, Type type) {
  if (function.registers.size() >= kMaxRegisters)
    return false;
  uint32_t index = uint32_t(function.registers.size());
  if (!scopes.back().registers.try_emplace(name, index).second)
    return false;
  function.registers.push_back({name.str(), type});
  return true;
}

bool ScopeStack::declareRange(StringRef prefix, uint32_t count, Type type) {
  return scopes.back().ranges.try_emplace(prefix, Range{count, type}).second;
}

bool ScopeStack::declareVariable(StringRef name, uint32_t index) {
  return scopes.back().variables.try_emplace(name, index).second;
}

std::optional<uint32_t> ScopeStack::defineLabel(StringRef name, uint32_t at) {
  uint32_t index = uint32_t(function.labels.size());
  if (!scopes.back().labels.try_emplace(name, index).second)
    return std::nullopt;
  function.labels.push_back(at);
  function.labelNames.push_back(name.str());
  return index;
}

uint32_t ScopeStack::findRegister(StringRef name) {
  // %r17 of the range %r<100>: the digits, without leading zero.
  size_t digitsAt = name.find_last_not_of("0123456789") + 1;
  StringRef prefix = name.take_front(digitsAt);
  StringRef digits = name.drop_front(digitsAt);
  uint32_t number = 0;
  bool inRange = !digits.empty() && (digits == "0" || digits[0] != '0') &&
                 !digits.getAsInteger(10, number);
  for (size_t i = scopes.size(); i-- > 0;) {
    Scope &scope = scopes[i];
    if (auto found = scope.registers.find(name); found != scope.registers.end())
      return found->second;
    if (!inRange)
      continue;
    auto range = scope.ranges.find(prefix);
    if (range == scope.ranges.end() || number >= range->second.count)
      continue;
    if (function.registers.size() >= kMaxRegisters)
      return kNone;
    // Registers of a range come into being with their first use.
    uint32_t index = uint32_t(function.registers.size());
    scope.registers[name] = index;
    function.registers.push_back({name.str(), range->second.type});
    return index;
  }
  return kNone;
}

uint32_t ScopeStack::findVariable(StringRef name) const {
  for (size_t i = scopes.size(); i-- > 0;)
    if (auto found = scopes[i].variables.find(name);
        found != scopes[i].variables.end())
      return found->second;
  return kNone;
}
