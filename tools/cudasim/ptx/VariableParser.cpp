//===- VariableParser.cpp - declarations of variables ---------------------===//

#include "tools/cudasim/ptx/ParserImpl.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace cudasim::ptx;
using llvm::Error;
using llvm::StringRef;

namespace {
constexpr uint64_t kMaxVariableBytes = uint64_t(1) << 31;
constexpr uint64_t kMaxInitializedBytes = uint64_t(1) << 28;
} // namespace

Error Parser::parseDeclarator(Variable &into, bool isParameter) {
  bool aligned = false;
  while (now().kind == TokenKind::DotWord) {
    if (now().isDot("attribute")) {
      return module.source.error(now())
             << "variable attributes are not supported";
    }
    if (acceptDot("ptr")) { // what a pointer parameter points to
      while (now().kind == TokenKind::DotWord && !now().isDot("align"))
        ++at;
      if (acceptDot("align"))
        MOEC_TRY(expectCount("an alignment", 1 << 20).takeError());
      continue;
    }
    if (acceptDot("align")) {
      const Token where = now();
      MOEC_ASSIGN(into.align, expectCount("an alignment", 1 << 16));
      if (!llvm::isPowerOf2_32(into.align))
        return module.source.error(where)
               << "expected a power of two, found " << into.align;
      aligned = true;
      continue;
    }
    if (now().isDot("v2") || now().isDot("v4"))
      return module.source.error(now())
             << "variables of vector type are not supported";
    into.type = parseType(now().text);
    if (into.type == Type::None || into.type == Type::Pred)
      return expected("the variable's type");
    ++at;
  }
  if (into.type == Type::None)
    return expected("the variable's type");
  uint64_t elementBytes = bytesOf(into.type);
  if (!aligned)
    into.align = uint32_t(elementBytes);
  const Token name = now();
  into.line = name.line;
  into.offset = name.offset;
  if (name.kind != TokenKind::Word)
    return expected("the variable's name");
  into.name = next().text.str();

  uint64_t count = 1;
  bool first = true;
  while (acceptPunct('[')) {
    if (first && acceptPunct(']')) {
      count = 0; // size comes from the initialiser or the launch
      first = false;
      continue;
    }
    if (now().kind != TokenKind::Integer)
      return expected("the array's size");
    uint64_t size = next().value;
    MOEC_TRY(expectPunct(']'));
    bool overflow = false;
    count =
        llvm::SaturatingMultiply(first ? uint64_t(1) : count, size, &overflow);
    if (overflow || count > kMaxVariableBytes / elementBytes)
      return module.source.error(name)
             << "variable '" << into.name << "' is larger than "
             << kMaxVariableBytes << " bytes";
    first = false;
  }
  into.bytes = count * elementBytes;
  return Error::success();
}

Error Parser::parseInitialValue(Variable &into, uint64_t &offset) {
  const uint64_t elementBytes = bytesOf(into.type);
  auto room = [&](const Token &token) -> Error {
    if (into.bytes != 0 && offset + elementBytes > into.bytes)
      return module.source.error(token)
             << "more values than '" << into.name << "' has elements";
    if (offset + elementBytes > kMaxInitializedBytes)
      return module.source.error(token)
             << "initialiser of more than " << kMaxInitializedBytes << " bytes";
    if (into.initial.size() < offset + elementBytes)
      into.initial.resize(offset + elementBytes);
    return Error::success();
  };
  if (acceptPunct('{')) {
    // Nested braces only group; elements stand in memory order.
    if (acceptPunct('}'))
      return Error::success();
    unsigned depth = 1;
    while (depth > 0) {
      if (acceptPunct('{')) {
        ++depth;
        continue;
      }
      if (acceptPunct('}')) {
        --depth;
        if (depth > 0)
          acceptPunct(',');
        continue;
      }
      MOEC_TRY(parseInitialValue(into, offset));
      if (!now().is('}') && !acceptPunct(','))
        return expected("',' or '}'");
    }
    return Error::success();
  }
  const Token first = now();
  MOEC_TRY(room(first));

  // An address: name, name+4, generic(name)+4, 0xFF00(name).
  Relocation relocation;
  relocation.offset = offset;
  relocation.bytes = unsigned(elementBytes);
  bool isAddress = false, parenthesis = false;
  if (first.kind == TokenKind::Integer && tokens[at + 1].is('(')) {
    // A mask of eight bits says which byte of the address is meant.
    uint64_t mask = first.value;
    unsigned shift = mask ? unsigned(llvm::countr_zero(mask)) : 0;
    if (elementBytes != 1 || shift % 8 != 0 || mask != uint64_t(0xFF) << shift)
      return module.source.error(first)
             << "expected a mask of one byte, found '" << first.text << "'";
    relocation.shift = shift;
    isAddress = parenthesis = true;
    at += 2;
  } else if (first.isWord("generic") && tokens[at + 1].is('(')) {
    isAddress = parenthesis = true;
    at += 2;
  } else if (first.kind == TokenKind::Word) {
    isAddress = true;
  }
  if (isAddress) {
    if (acceptPunct('(')) // 0xFF(generic(name))
      return expected("a variable's name");
    bool nested = false;
    if (now().isWord("generic") && tokens[at + 1].is('(')) {
      nested = true;
      at += 2;
    }
    const Token name = now();
    auto found = module.variableByName.find(name.text);
    if (name.kind != TokenKind::Word || found == module.variableByName.end())
      return expected("the name of a variable declared before");
    ++at;
    relocation.variable = found->second;
    Space space = module.variables[found->second].space;
    if (space != Space::Global && space != Space::Const)
      return module.source.error(name)
             << "expected a variable in global or constant memory";
    auto addend = [&]() -> Error {
      while (now().is('+') || now().is('-')) {
        bool minus = next().is('-');
        MOEC_ASSIGN(Operand number, parseNumber());
        if (number.kind != OperandKind::Integer)
          return expected("an integer");
        relocation.addend += int64_t(minus ? 0 - number.bits : number.bits);
      }
      return Error::success();
    };
    MOEC_TRY(addend());
    if (nested) {
      MOEC_TRY(expectPunct(')'));
      MOEC_TRY(addend());
    }
    if (parenthesis) {
      MOEC_TRY(expectPunct(')'));
      MOEC_TRY(addend());
    }
    if (relocation.shift == 0 && elementBytes != 8 && elementBytes != 1)
      return module.source.error(first)
             << "expected elements of 8 bytes to hold an address";
    into.relocations.push_back(relocation);
    offset += elementBytes;
    return Error::success();
  }

  MOEC_ASSIGN(Operand number, parseNumber());
  uint64_t bits = number.bits;
  if (number.kind == OperandKind::Float64 && into.type == Type::F32)
    bits = llvm::bit_cast<uint32_t>(float(llvm::bit_cast<double>(bits)));
  if (number.kind == OperandKind::Float32 && into.type == Type::F64)
    bits =
        llvm::bit_cast<uint64_t>(double(llvm::bit_cast<float>(uint32_t(bits))));
  for (uint64_t i = 0; i < elementBytes && i < 8; ++i)
    into.initial[offset + i] = uint8_t(bits >> (8 * i));
  offset += elementBytes;
  return Error::success();
}

Error Parser::parseInitializer(Variable &into) {
  uint64_t offset = 0;
  MOEC_TRY(parseInitialValue(into, offset));
  if (into.bytes == 0)
    into.bytes = offset;
  return Error::success();
}

Error Parser::parseModuleVariable(bool isExtern) {
  Variable variable;
  variable.isExtern = isExtern;
  variable.space = llvm::StringSwitch<Space>(next().text)
                       .Case("global", Space::Global)
                       .Case("const", Space::Const)
                       .Default(Space::Shared);
  MOEC_TRY(parseDeclarator(variable, false));
  if (now().is('=')) {
    if (variable.space == Space::Shared)
      return module.source.error(now())
             << "shared variables cannot have a value";
    ++at;
    MOEC_TRY(parseInitializer(variable));
  }
  if (variable.bytes == 0 && !(isExtern && variable.space == Space::Shared))
    return module.source.error(variable.line, variable.offset)
           << "variable '" << variable.name << "' has no size";
  if (isExtern && variable.space != Space::Shared)
    return module.source.error(variable.line, variable.offset)
           << "variable '" << variable.name
           << "' is extern, and modules are not linked";
  uint32_t index = uint32_t(module.variables.size());
  if (module.functionByName.count(variable.name) ||
      !module.variableByName.try_emplace(variable.name, index).second)
    return module.source.error(variable.line, variable.offset)
           << "'" << variable.name << "' is declared twice";
  module.variables.push_back(std::move(variable));
  return expectPunct(';');
}

Error Parser::parseBodyVariable() {
  Space space = llvm::StringSwitch<Space>(next().text)
                    .Case("shared", Space::Shared)
                    .Case("local", Space::Local)
                    .Default(Space::Param);
  Variable variable;
  variable.space = space;
  MOEC_TRY(parseDeclarator(variable, false));
  if (variable.bytes == 0)
    return module.source.error(variable.line, variable.offset)
           << "variable '" << variable.name << "' has no size";
  uint32_t index = uint32_t(current->variables.size());
  if (!scopes->declareVariable(variable.name, index))
    return module.source.error(variable.line, variable.offset)
           << "'" << variable.name << "' is declared twice";
  current->variables.push_back(std::move(variable));
  return expectPunct(';');
}
