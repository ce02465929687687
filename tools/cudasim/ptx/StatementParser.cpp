//===- StatementParser.cpp - what stands in a function's body -------------===//

#include "tools/cudasim/ptx/ParserImpl.h"

using namespace cudasim::ptx;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

Error Parser::parseLoc() {
  ++at;
  MOEC_ASSIGN(location.file, expectCount("a file number", 1 << 20));
  MOEC_ASSIGN(location.line, expectCount("a line number", ~0u >> 1));
  MOEC_ASSIGN(uint32_t column, expectCount("a column number", ~0u >> 1));
  (void)column; // messages name the line
  // `, function_name $L__info_string0, inlined_at 1 20 3`: the inlined body is
  // the place that helps; where it was inlined is not kept.
  while (acceptPunct(',')) {
    bool named = now().isWord("function_name");
    if (!named && !now().isWord("inlined_at"))
      return expected("'function_name' or 'inlined_at'");
    ++at;
    if (named) {
      if (next().kind != TokenKind::Word)
        return expected("a label");
      if (acceptPunct('+'))
        MOEC_TRY(expectCount("an offset", ~0u >> 1).takeError());
    } else {
      for (int i = 0; i < 3; ++i)
        MOEC_TRY(expectCount("an integer", ~0u >> 1).takeError());
    }
  }
  return Error::success();
}

Error Parser::parseStatement() {
  const Token &first = now();
  if (first.is('{')) {
    if (scopes->depth() >= ScopeStack::kMaxDepth)
      return module.source.error(first) << "scopes are nested more than "
                                        << ScopeStack::kMaxDepth << " deep";
    ++at;
    scopes->push();
    return Error::success();
  }
  if (first.is('}')) {
    ++at;
    scopes->pop();
    return Error::success();
  }
  if (acceptPunct(';'))
    return Error::success();
  if (first.kind == TokenKind::DotWord)
    return parseBodyDirective();
  if (first.kind == TokenKind::Word && tokens[at + 1].is(':')) {
    if (!scopes->defineLabel(first.text, uint32_t(current->body.size())))
      return module.source.error(first)
             << "label '" << first.text << "' is defined twice";
    at += 2;
    return Error::success();
  }
  return parseInstruction();
}

Error Parser::parseBodyDirective() {
  const Token word = now();
  if (word.text == "loc")
    return parseLoc();
  if (word.text == "reg")
    return parseRegisters();
  if (word.text == "shared" || word.text == "local" || word.text == "param")
    return parseBodyVariable();
  if (word.text == "pragma") {
    at += 2;
    return expectPunct(';');
  }
  if (word.text == "branchtargets" || word.text == "callprototype" ||
      word.text == "calltargets")
    return module.source.error(word)
           << "'." << word.text << "' needs a label in front of it";
  return module.source.error(word)
         << "directive '." << word.text << "' is not supported in a function";
}

Error Parser::parseRegisters() {
  ++at;
  if (now().isDot("v2") || now().isDot("v4"))
    return module.source.error(now()) << "vector registers are not supported";
  Type type =
      now().kind == TokenKind::DotWord ? parseType(now().text) : Type::None;
  if (type == Type::None || bitsOf(type) == 8)
    return expected("a register type");
  ++at;
  do {
    const Token name = now();
    if (name.kind != TokenKind::Word)
      return expected("a register's name");
    ++at;
    bool fresh;
    if (acceptPunct('<')) {
      MOEC_ASSIGN(uint32_t count,
                  expectCount("a number of registers", 1 << 24));
      MOEC_TRY(expectPunct('>'));
      fresh = scopes->declareRange(name.text, count, type);
    } else {
      fresh = scopes->declareRegister(name.text, type);
    }
    if (!fresh)
      return module.source.error(name)
             << "register '" << name.text << "' is declared twice";
  } while (acceptPunct(','));
  return expectPunct(';');
}

Error Parser::parseInstruction() {
  Instruction instruction;
  instruction.loc = location;
  const Token first = now();
  instruction.line = first.line;
  instruction.offset = first.offset;
  if (acceptPunct('@')) {
    instruction.guardNegated = acceptPunct('!');
    if (now().kind != TokenKind::Word)
      return expected("a predicate register");
    uint32_t guard = scopes->findRegister(now().text);
    if (guard == kNone || current->registers[guard].type != Type::Pred)
      return expected("a predicate register");
    instruction.guard = guard;
    ++at;
  }
  if (now().kind != TokenKind::Word)
    return expected("an instruction");
  // The mnemonic and its modifiers.
  instruction.op.push_back(next().text);
  while (now().kind == TokenKind::DotWord)
    instruction.op.push_back(next().text);

  current->body.push_back(std::move(instruction));
  uint32_t index = uint32_t(current->body.size() - 1);
  if (current->body[index].op[0] == "call") {
    MOEC_TRY(parseCallOperands(index));
  } else if (!now().is(';')) {
    MOEC_TRY(parseOperands(index));
  }
  const Token last = now();
  MOEC_TRY(expectPunct(';'));
  StringRef all(module.source.text);
  current->body[index].text =
      all.slice(first.offset, last.offset).take_front(400);
  return Error::success();
}

Error Parser::parseOperands(uint32_t index) {
  do {
    MOEC_ASSIGN(Operand operand, parseOperand(index, /*depth=*/0));
    current->body[index].operands.push_back(std::move(operand));
  } while (acceptPunct(','));
  return Error::success();
}

/// `call (retval0), name, (param0, param1);` with results and parameters
/// optional.
Error Parser::parseCallOperands(uint32_t index) {
  auto parseList = [&]() -> Error {
    MOEC_TRY(expectPunct('('));
    if (acceptPunct(')'))
      return Error::success();
    do {
      MOEC_ASSIGN(Operand operand, parseOperand(index, 0));
      if (operand.kind != OperandKind::Symbol || operand.moduleScope ||
          operand.bits != 0 ||
          current->variables[operand.index].space != Space::Param)
        return module.source.error(now().line, operand.offset)
               << "expected a .param variable in a call";
      current->body[index].operands.push_back(std::move(operand));
    } while (acceptPunct(','));
    return expectPunct(')');
  };
  if (now().is('(')) {
    MOEC_TRY(parseList());
    current->body[index].callResults =
        uint32_t(current->body[index].operands.size());
    MOEC_TRY(expectPunct(','));
  }
  const Token name = now();
  if (name.kind != TokenKind::Word)
    return expected("the name of a function");
  auto found = module.functionByName.find(name.text);
  if (found == module.functionByName.end()) {
    if (scopes->findRegister(name.text) != kNone)
      return module.source.error(name)
             << "calls through a register are not supported";
    return expected("the name of a function");
  }
  ++at;
  Operand callee;
  callee.kind = OperandKind::Function;
  callee.index = found->second;
  callee.offset = name.offset;
  callee.text = name.text;
  current->body[index].operands.push_back(callee);
  if (acceptPunct(','))
    MOEC_TRY(parseList());

  const Function &target = module.functions[found->second];
  const Instruction &call = current->body[index];
  size_t arguments = call.operands.size() - 1 - call.callResults;
  if (target.isEntry)
    return module.source.error(name) << "a kernel cannot be called";
  if (arguments != target.parameterCount ||
      call.callResults != target.returnCount)
    return module.source.error(name)
           << "'" << name.text << "' takes " << target.parameterCount
           << " parameters and returns " << target.returnCount << ", found "
           << arguments << " and " << call.callResults;
  return Error::success();
}

Expected<Operand> Parser::parseNumber() {
  Operand operand;
  operand.offset = now().offset;
  bool negative = false, complement = false;
  if (acceptPunct('-'))
    negative = true;
  else if (acceptPunct('~'))
    complement = true;
  else
    acceptPunct('+');
  const Token &token = now();
  switch (token.kind) {
  case TokenKind::Integer:
    operand.kind = OperandKind::Integer;
    operand.isUnsigned = token.isUnsigned;
    operand.bits = negative     ? 0 - token.value
                   : complement ? ~token.value
                                : token.value;
    break;
  case TokenKind::Float32:
    operand.kind = OperandKind::Float32;
    operand.bits = token.value ^ (negative ? 0x80000000ull : 0);
    break;
  case TokenKind::Float64:
    operand.kind = OperandKind::Float64;
    operand.bits = token.value ^ (negative ? uint64_t(1) << 63 : 0);
    break;
  default:
    return expected("a number");
  }
  ++at;
  return operand;
}

Expected<Operand> Parser::parseName(uint32_t instruction) {
  const Token name = now();
  Operand operand;
  operand.offset = name.offset;
  operand.text = name.text;
  ++at;
  if (name.text == "_") {
    operand.kind = OperandKind::Sink;
    return operand;
  }
  if (uint32_t found = scopes->findRegister(name.text); found != kNone) {
    operand.kind = OperandKind::Register;
    operand.index = found;
    return operand;
  }
  if (uint32_t found = scopes->findVariable(name.text); found != kNone) {
    operand.kind = OperandKind::Symbol;
    operand.index = found;
    return operand;
  }
  if (auto found = module.variableByName.find(name.text);
      found != module.variableByName.end()) {
    operand.kind = OperandKind::Symbol;
    operand.moduleScope = true;
    operand.index = found->second;
    return operand;
  }
  if (name.text.starts_with("%")) {
    operand.kind = OperandKind::Special;
    StringRef all(module.source.text);
    if (now().kind == TokenKind::DotWord &&
        now().offset == name.offset + name.text.size()) {
      operand.text =
          all.substr(name.offset, name.text.size() + 1 + now().text.size());
      ++at;
    }
    return operand;
  }
  if (module.functionByName.count(name.text))
    return module.source.error(name)
           << "the address of a function is not supported";
  if (name.text == "WARP_SZ") {
    operand.kind = OperandKind::Integer;
    operand.bits = 32;
    return operand;
  }
  // A label, which may come later.
  operand.kind = OperandKind::Flag;
  scopes->useLabel({name.text, instruction,
                    uint32_t(current->body[instruction].operands.size()),
                    name.line, name.offset});
  return operand;
}

Expected<Operand> Parser::parseAddress(uint32_t instruction) {
  const Token open = next();
  Operand address;
  address.kind = OperandKind::Address;
  address.offset = open.offset;
  if (now().kind == TokenKind::Word) {
    const Token name = now();
    MOEC_ASSIGN(Operand base, parseName(instruction));
    if (base.kind != OperandKind::Register && base.kind != OperandKind::Symbol)
      return module.source.error(name)
             << "expected a register or a variable that is declared, found "
             << describe(name);
    address.base = base.kind;
    address.index = base.index;
    address.moduleScope = base.moduleScope;
    if (now().is('+') || now().is('-')) {
      bool minus = next().is('-');
      MOEC_ASSIGN(Operand offset, parseNumber());
      if (offset.kind != OperandKind::Integer)
        return expected("an integer offset");
      address.bits = minus ? 0 - offset.bits : offset.bits;
    }
  } else {
    MOEC_ASSIGN(Operand number, parseNumber());
    if (number.kind != OperandKind::Integer)
      return expected("an address");
    address.bits = number.bits;
  }
  MOEC_TRY(expectPunct(']'));
  return address;
}

Expected<Operand> Parser::parseOperand(uint32_t instruction, unsigned depth) {
  const Token first = now();
  Operand operand;
  if (first.is('[')) {
    // Tensor maps, [map, {x, y}], come with instructions that the table of
    // forms refuses; here they are an address of several parts.
    return parseAddress(instruction);
  }
  if (first.is('{')) {
    if (depth > 0)
      return expected("a register or a number");
    ++at;
    operand.kind = OperandKind::Vector;
    operand.offset = first.offset;
    do {
      MOEC_ASSIGN(Operand element, parseOperand(instruction, depth + 1));
      operand.elements.push_back(std::move(element));
      if (operand.elements.size() > 256)
        return module.source.error(first) << "vector of more than 256 elements";
    } while (acceptPunct(','));
    MOEC_TRY(expectPunct('}'));
    return operand;
  }
  if (acceptPunct('!')) {
    if (now().kind != TokenKind::Word)
      return expected("a predicate register");
    MOEC_ASSIGN(operand, parseName(instruction));
    if (operand.kind != OperandKind::Register)
      return module.source.error(first) << "expected a register after '!'";
    operand.negated = true;
    return operand;
  }
  if (first.kind != TokenKind::Word)
    return parseNumber();
  MOEC_ASSIGN(operand, parseName(instruction));
  if (now().is('|') && depth == 0) {
    ++at;
    if (now().kind != TokenKind::Word)
      return expected("a register");
    Operand pair;
    pair.kind = OperandKind::Pair;
    pair.offset = first.offset;
    pair.elements.push_back(std::move(operand));
    MOEC_ASSIGN(Operand second, parseName(instruction));
    pair.elements.push_back(std::move(second));
    return pair;
  }
  if ((now().is('+') || now().is('-')) && operand.kind == OperandKind::Symbol) {
    bool minus = next().is('-');
    MOEC_ASSIGN(Operand offset, parseNumber());
    if (offset.kind != OperandKind::Integer)
      return expected("an integer offset");
    operand.bits = minus ? 0 - offset.bits : offset.bits;
  }
  return operand;
}
